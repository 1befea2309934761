-- Made by `ocisite server-config lighttpd-script`; the same for every site.
--
-- The configuration of lighttpd tells paths apart by regular expressions. For each path it sets OCISITE_FIND (how to find the
-- file) and `OCISITE_HEADER NAME` (the headers) in the request's environment, and this script finds the file. A path without
-- OCISITE_FIND does not belong to the site.

local request = lighty.r
local environment, headers = request.req_env, request.resp_header
local root, path = request.req_attr["physical.doc-root"], request.req_attr["uri.path"]
local method = request.req_attr["request.method"]

local function fail(status, code, message)
    headers["Content-Type"] = "application/json; charset=utf-8"
    headers["Cache-Control"] = "no-store"
    request.resp_body.set('{"errors":[{"code":"' .. code .. '","message":"' .. message .. '"}]}')
    return status
end

local function is_file(candidate)
    local found = lighty.c.stat(root .. candidate)
    return found and found.is_file
end

-- For each value of OCISITE_FIND, a function that returns the path of the file, and the media type if it depends on the file.
local find = {}

function find.path()
    return is_file(path) and path
end

-- The same file for every path.
function find.file()
    local file = environment["OCISITE_FILE"]
    return is_file(file) and file
end

-- The ending of the file's name gives a manifest's media type.
function find.manifest()
    local name, reference = path:match("^/v2/(.+)/manifests/([^/]+)$")
    for ending, media_type in environment["OCISITE_TYPES"]:gmatch("(%S+)=(%S+)") do
        local typed = "/v2/" .. name .. "/_manifests/" .. reference .. "." .. ending
        if is_file(typed) then
            return typed, media_type
        end
    end
    return find.path()
end

find.blob = find.path

-- The tags: those after ?last=TAG, if TAG can be a tag, or all.
function find.tags()
    local query = "&" .. (request.req_attr["uri.query"] or "")
    local last = query:match("&last=([%w_][%w._-]*)&") or query:match("&last=([%w_][%w._-]*)$")
    if last and #last <= 128 then
        local after = path:match("^(.*)list$") .. "_last/" .. last
        if is_file(after) then
            return after
        end
    end
    return find.path()
end

-- The referrers of a digest. A missing list is an empty one.
function find.referrers()
    return find.path() or find.file()
end

local missing = {
    manifest = { "MANIFEST_UNKNOWN", "the repository has no such manifest" },
    blob = { "BLOB_UNKNOWN", "the repository has no such blob" },
    tags = { "NAME_UNKNOWN", "there is no such repository" },
}

local function set_headers()
    for name, value in pairs(environment) do
        local header = name:match("^OCISITE_HEADER (.+)$")
        if header then
            headers[header] = value
        end
    end
end

if environment["OCISITE_FIND"] == "preflight" and request.req_header["Access-Control-Request-Method"] then
    set_headers()
    return 204
end
if method ~= "GET" and method ~= "HEAD" then
    headers["Allow"] = "GET, HEAD"
    return fail(405, "UNSUPPORTED", "this site is static: only GET and HEAD are supported")
end

-- lighttpd accepts a percent sign without two digits; this script does not.
local target = request.req_attr["request.orig-uri"]:match("^[^?]*")
if target:gsub("%%%x%x", ""):find("%", 1, true) then
    return fail(400, "NAME_INVALID", "the path is malformed")
end

local what = environment["OCISITE_FIND"]
local file, media_type
if what then
    file, media_type = find[what]()
end
if not file then
    local reason = missing[what] or { "NOT_FOUND", "nothing is at this path" }
    return fail(404, reason[1], reason[2])
end

set_headers()
if media_type then
    headers["Content-Type"] = media_type
end
if what == "manifest" or what == "blob" then
    local digest = path:match("/([^/]+:[^/]+)$")
    if digest then
        headers["Docker-Content-Digest"] = digest
    end
end
if not environment["OCISITE_MAY_BE_COMPRESSED"] then
    -- Bytes are sent unchanged: compressing would break digests, ranges and lengths.
    request.req_header["Accept-Encoding"] = nil
end
-- lighttpd sends the first ten ranges of a request, as if there were no others.
local _, commas = (request.req_header["Range"] or ""):gsub(",", "")
if commas >= 10 then
    request.req_header["Range"] = nil
end
request.req_attr["physical.path"] = root .. file
