//! The table of rules: what each rule checks, its severity, and what to do about a finding.
//!
//! Ids are stable, because scripts and users silence rules by id; the id of a removed rule is not used again.
//! [`markdown`] makes the README's table, and a test compares them. Each example is the finding of the rule's test.

use serde::Serialize;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A consumer that follows the specifications fails.
    Error,
    /// The site works, but not for all consumers, or not well.
    Warning,
    /// Needs no action.
    Note,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// The kinds of site to which a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Any site.
    Site,
    /// A directory or bucket, whose files can be read.
    Directory,
    /// A live server.
    Server,
}

impl Scope {
    fn words(self) -> &'static str {
        match self {
            Scope::Site => "both",
            Scope::Directory => "directory",
            Scope::Server => "URL",
        }
    }
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Reports name the rule by it, and no other rule ever has it.
    pub id: &'static str,
    /// How grave a finding is.
    pub severity: Severity,
    /// Which sites the rule is checked on.
    pub scope: Scope,
    /// What is wrong with the site.
    pub what: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// The text of one finding.
    pub example: &'static str,
}

/// An id stands for one rule.
impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.id == other.id
    }
}

impl Eq for Rule {}

macro_rules! rules {
    ($($name:ident = $id:literal, $severity:ident, $scope:ident, $what:literal, $advice:literal, $example:literal;)*) => {
        $(
            #[doc = $what]
            pub const $name: Rule = Rule {
                id: $id,
                severity: Severity::$severity,
                scope: Scope::$scope,
                what: $what,
                advice: $advice,
                example: $example,
            };
        )*
        /// All rules, in the order of the checks.
        pub static ALL: &[Rule] = &[$($name),*];
    };
}

rules! {
    // The ref-engines object.
    WELL_KNOWN_MISSING = "well-known-missing", Error, Site,
        "There is no ref-engines object.",
        "publish to the site again, and make the server serve .well-known/",
        "`.well-known/oci-host-ref-engines`: expected the ref-engines object, found nothing";
    WELL_KNOWN_FORM = "well-known-form", Error, Site,
        "The ref-engines object is not a JSON object.",
        "publish to the site again, or write the document again",
        "`.well-known/oci-host-ref-engines`: expected a JSON object, found an array";
    ENGINE_FORM = "engine-form", Error, Site,
        "`refEngines` or `casEngines` is not an array of objects with a `protocol`, or has more entries than \
         consumers read.",
        "publish to the site again; by hand, write an array of objects, each with \"protocol\" and \"uri\", 16 at most",
        r#"`.well-known/oci-host-ref-engines, refEngines[1]`: expected "protocol" to be a string, found nothing"#;
    ENGINE_PROTOCOL = "engine-protocol", Note, Site,
        "An engine has a protocol that ocisite does not know; it was not checked.",
        "nothing to do if the intended consumers know the protocol",
        r#"`.well-known/oci-host-ref-engines, refEngines[1]`: expected a known protocol, found "docker""#;
    REF_ENGINE_MISSING = "ref-engine-missing", Error, Site,
        "The ref-engines object has no ref engine that consumers know.",
        "publish to the site again; by hand, add one with the protocol oci-index-template-v1",
        "`.well-known/oci-host-ref-engines`: expected a ref engine with the protocol oci-index-template-v1, found none";
    DESCRIPTION_FORM = "description-form", Error, Site,
        "`ocisite.json` is unreadable, so the images of the site are unknown.",
        "restore a copy of the file; to check a site without the file, give the names of its images",
        "`ocisite.json`: expected a description by ocisite publish, found invalid JSON: EOF while parsing an \
         object at line 1 column 1";
    DESCRIPTION_DIFFERS = "description-differs", Error, Directory,
        "The ref-engines object and `ocisite.json` give different templates.",
        "publish to the site again, which writes the ref-engines object again",
        "`.well-known/oci-host-ref-engines`: expected https://{host}/oci-index/{path}, found \
         https://{host}/oci-index/{+path}";

    // Templates.
    TEMPLATE_SYNTAX = "template-syntax", Error, Site,
        "An engine has no `uri`, or its `uri` is not an RFC 6570 template.",
        "publish to the site again, or correct the template: consumers expand it differently, or not at all",
        r#"`.well-known/oci-host-ref-engines, casEngines`: expected a URI template (RFC 6570), found template "/{digest", column 2: the expression that starts here is not closed; add `}`, or write `%7B` for a brace"#;
    TEMPLATE_VARIABLE = "template-variable", Warning, Site,
        "A template has a variable that consumers do not know and expand to nothing.",
        "publish to the site again; by hand, use name, host, path and fragment for an index, and digest, algorithm \
         and encoded for a blob",
        "`.well-known/oci-host-ref-engines, casEngines`: expected only digest, algorithm, encoded, found {tag} in \
         /oci-cas/{algorithm}/{encoded:2}/{encoded}{tag}";
    TEMPLATE_NAME_IN_CAS = "template-name-in-cas", Warning, Site,
        "A CAS template has a variable of the image's name, which a strict consumer expands to nothing.",
        "publish to the site again; by hand, write the name itself in the casEngines of each index entry",
        "`.well-known/oci-host-ref-engines, casEngines`: expected digest, algorithm and encoded only, found \
         {fragment} in /{fragment}oci-cas/{algorithm}/{encoded:2}/{encoded}";
    TEMPLATE_ENCODED_SLASH = "template-encoded-slash", Warning, Directory,
        "`{path}` encodes a slash as `%2F`, and an image's path contains a slash: not every server finds the file.",
        "use {+path}, or check the live site: verify URL requests such a path",
        "`.well-known/oci-host-ref-engines, refEngines`: expected a path without %2F, found \
         https://{host}/oci-index/{path}, which leads to /oci-index/team%2Fapp";
    TEMPLATE_URL = "template-url", Error, Site,
        "A template does not expand to an http or https URL.",
        "publish to the site again; by hand, begin the template with a slash, or with https://",
        "`.well-known/oci-host-ref-engines, refEngines`: expected an http or https URL, found \
         ftp://example.com/team/app";
    TEMPLATE_INSECURE = "template-insecure", Warning, Site,
        "A template expands to plain http, so anyone on the network can change the documents.",
        "publish to the site again; by hand, use https, or a template that begins with a slash",
        "`.well-known/oci-host-ref-engines, casEngines`: expected https, or a path, found \
         http://example.com/oci-cas/{algorithm}/{encoded:2}/{encoded}";
    TEMPLATE_ELSEWHERE = "template-elsewhere", Warning, Site,
        "A template names another origin, which consumers need, too.",
        "nothing to do if this is intended; to check its files, too, use ocisite verify DIR --store ORIGIN=DIR",
        "`.well-known/oci-host-ref-engines, casEngines`: expected a part of the site, found \
         https://cdn.example.net/{digest}, which leads to https://cdn.example.net";

    // Indexes.
    INDEX_MISSING = "index-missing", Error, Site,
        "An image has no index.",
        "publish the image again, or remove it with ocisite remove",
        "`oci-index/app`: expected the index, found nothing";
    NAME_UNLISTED = "name-unlisted", Error, Site,
        "A name to check is not a name of an image of the site.",
        "give the name of an image of the site, as ocisite list shows them, or publish the image",
        "`oci-index/nope`: expected example.com/nope in ocisite.json, found no such name";
    INDEX_FORM = "index-form", Error, Site,
        "An index is not an image index.",
        "publish the image again with --recheck, which creates the index again",
        r#"`oci-index/app`: expected "manifests" to be an array, found an object"#;
    INDEX_UNLISTED = "index-unlisted", Note, Directory,
        "`ocisite.json` does not list an image that has an index, or a ref has an index of its own and is missing from the index of its image: a publish or a removal was interrupted.",
        "publish the image again, or remove it with ocisite remove",
        "`oci-index/team/app`: expected example.com/team/app in ocisite.json, found no such name";
    REF_INDEX_DIFFERS = "ref-index-differs", Warning, Site,
        "The index of a ref does not have the entries that the index of its image has for it: a publish is running, or was interrupted.",
        "publish the ref again",
        "`ref/example.com/app#1.0`: expected the entries of 1.0 in the index of example.com/app, found others";
    INDEX_EMPTY = "index-empty", Warning, Site,
        "An index has no entries.",
        "publish the image again, or remove it with ocisite remove",
        "`oci-index/team/app`: expected one entry or more, found none";
    REF_MISSING = "ref-missing", Error, Site,
        "An index has no entry for the given ref.",
        "publish the ref, or give an existing one",
        r#"`oci-index/app`: expected an entry with the ref "4.0", found none"#;
    DESCRIPTOR_FORM = "descriptor-form", Error, Site,
        "An entry of an index is not a descriptor.",
        "publish the image again with --recheck, which creates the index again",
        r#"`oci-index/app, entry 4`: expected a descriptor, found none: a descriptor has no "digest""#;
    DESCRIPTOR_MEDIA_TYPE = "descriptor-media-type", Warning, Site,
        "A descriptor has no media type, so consumers have to guess.",
        "create the layout again with a current tool, and publish it",
        "`oci-index/app, entry 1`: expected a mediaType, found none";
    DESCRIPTOR_DATA = "descriptor-data", Error, Site,
        "The bytes in the `data` of a descriptor do not match its digest.",
        "create the layout again, and publish it",
        r#"`sha256:ab96f260a705…`: expected the 551 bytes themselves, found "data" of 2 bytes with the digest sha256:44136fa355b3…"#;
    DIGEST_ALGORITHM = "digest-algorithm", Error, Site,
        "A digest has an unregistered algorithm, so consumers cannot verify the blob.",
        "publish the image with sha256, sha512 or blake3, and with --recheck, which creates the index again",
        "`oci-index/app, entry 4`: expected sha256, sha512 or blake3, found md5";
    REF_AMBIGUOUS = "ref-ambiguous", Error, Site,
        "Two entries have the same ref, and no platform distinguishes them.",
        "publish the ref again, which replaces its entries",
        r#"`oci-index/app, entry 2`: expected one entry for each ref and platform, found a second one with the ref "1.0" and no platform"#;
    REF_UNSPELLABLE = "ref-unspellable", Warning, Site,
        "A ref cannot be the fragment of an image name, so no name selects it.",
        "publish the image under another ref, with --replace",
        r#"`oci-index/app, entry 1`: expected characters of a URI fragment (RFC 3986), found "one zero""#;
    CAS_ENGINE_MISSING = "cas-engine-missing", Error, Site,
        "An entry has no CAS engine that consumers know, so they cannot find its blobs.",
        "publish the image again; by hand, add casEngines with the protocol oci-cas-template-v1 to the entry, or to \
         the ref-engines object",
        "`oci-index/app, entry 1`: expected a CAS engine, found none";
    CAS_ENGINE_INCOMPLETE = "cas-engine-incomplete", Warning, Site,
        "A CAS engine is missing a blob that a later one has.",
        "publish the image again, or remove the engine",
        "`old/sha256:65cb7c531640…`: expected 22 bytes, for sha256:ab96f260a705…, found nothing; it is at \
         oci-cas/sha256/65/65cb7c531640…";

    // The graph.
    BLOB_MISSING = "blob-missing", Error, Site,
        "A blob is missing.",
        "publish the image again",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected 7 bytes, for sha256:ab96f260a705…, found nothing";
    BLOB_FOREIGN = "blob-foreign", Note, Site,
        "A non-distributable layer is missing; its descriptor gives other URLs.",
        "nothing to do: consumers fetch the layer from those URLs",
        r#"`oci-cas/sha256/00/000000000000…`: expected 7 bytes, for sha256:870550638e9f…, found nothing here; its descriptor has "urls""#;
    BLOB_ELSEWHERE = "blob-elsewhere", Note, Directory,
        "Blobs or indexes are at another origin, which was not checked.",
        "give the other origin's directory with --store ORIGIN=DIR, or check the live site",
        "`example.com/app`: expected objects in the directory, found 4 at another origin";
    BLOB_SIZE = "blob-size", Error, Site,
        "The size of a blob differs from its descriptor.",
        "publish the image again with --recheck, which repairs it",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected 7 bytes, found 16 bytes";
    BLOB_DIGEST = "blob-digest", Error, Site,
        "The bytes of a blob do not match its digest (manifests are always checked, other blobs with `--deep`).",
        "publish the image again with --recheck, which repairs it",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected sha256:ed7002b439e9…, found sha256:65f23e22a9bf…";
    MANIFEST_FORM = "manifest-form", Error, Site,
        "A manifest is malformed: not JSON, or invalid for its media type.",
        "create the layout again, and publish it",
        r#"`oci-cas/sha256/47/47cb9aece92b…`: expected a manifest, found none: expected "layers" to be an array, found an object"#;
    MANIFEST_MEDIA_TYPE = "manifest-media-type", Error, Site,
        "A manifest and its descriptor give different media types.",
        "correct the descriptor in the layout, and publish it",
        "`oci-cas/sha256/ab/ab4a2c56d9dd…`: expected application/vnd.oci.image.manifest.v1+json, found \
         application/vnd.docker.distribution.manifest.v2+json";
    PLATFORM_DIFFERS = "platform-differs", Error, Site,
        "A descriptor and the image's config give different platforms.",
        "correct the platform in the layout, and publish it",
        "`oci-cas/sha256/9d/9d99a75171ae…`: expected linux/riscv64, found linux/amd64";
    SUBJECT_MISSING = "subject-missing", Note, Site,
        "The subject of a manifest is missing.",
        "nothing to do if the subject is on another site; publish --replace removes every ref that is not in the \
         layout",
        "`oci-cas/sha256/00/000000000000…`: expected 551 bytes, for sha256:5cb2675f2aa3…, found nothing";
    GRAPH_DEPTH = "graph-depth", Error, Site,
        "Indexes are nested deeper than consumers follow.",
        "create the layout again, with two or three levels, and publish the image with --replace",
        "`oci-cas/sha256/99/991c81dfea8a…`: expected at most 32 levels, found more";

    // Any object.
    UNREADABLE = "unreadable", Error, Site,
        "An object exists but is unreadable.",
        "correct the error that the system or the server reports",
        "`oci-index/app`: expected the index, found status 500";
    TOO_LARGE = "too-large", Error, Site,
        "A document is larger than consumers read.",
        "publish to the site again, which writes its documents again, or publish fewer refs under the name",
        "`.well-known/oci-host-ref-engines`: expected a document within the limits of consumers, found more than \
         65536 bytes";
    NOT_A_FILE = "not-a-file", Error, Directory,
        "The path of an object is not a regular file.",
        "move it away, and publish again",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected 7 bytes, for sha256:ab96f260a705…, found a directory";

    // The directory.
    PERMISSIONS = "permissions", Error, Directory,
        "The mode of a file or directory keeps web servers from reading it.",
        "chmod a+r the file, or a+rx the directory",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected mode 0644, found mode 0640";
    SYMLINK = "symlink", Warning, Directory,
        "The site contains a symbolic link, which breaks when the site is copied, and which some servers do not \
         follow.",
        "replace the link with the file",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected a file, found a link to ../../../../elsewhere";
    LEFTOVER = "leftover", Note, Directory,
        "The site has temporary files: a publish was interrupted, or is running.",
        "nothing to do: the next publish or gc removes them",
        "`.ocisite/tmp/`: expected no temporary files, found 1 of them";
    ORPHANS = "orphans", Note, Directory,
        "The CAS has blobs that no index reaches.",
        "remove them with ocisite gc",
        "`oci-cas/`: expected blobs that an index reaches, found 1 unreachable, of 16 bytes";
    NAME_UNUSABLE = "name-unusable", Warning, Directory,
        "The bucket has an object whose key is not a valid path, so ocisite neither copies nor removes it.",
        "remove the object with the tools of the object store, if nothing else needs it",
        r#"`"oci-cas//x"`: expected a key that is a path, found a key with a segment of dots, an empty segment, or a control character"#;
    CATALOGUE_DIFFERS = "catalogue-differs", Warning, Directory,
        "The catalogue differs from the indexes.",
        "publish the image again with --recheck, which creates its part of the catalogue again; for a list of the site, any \
         image will do",
        "`catalogue.json`: expected the content of the indexes, found other content";

    // The static host of --host-kind.
    HOST_LIMIT = "host-limit", Error, Directory,
        "A file, the number of files or the list of headers exceeds a limit of the host that `--host-kind` names.",
        "publish fewer or smaller images to the site, keep the blobs at another origin (--cas-template), or use another host",
        "`large`: expected at most 26214400 bytes for Cloudflare Pages, found 26214401 bytes";
    HOST_HIDDEN = "host-hidden", Error, Directory,
        "The host of `--host-kind` omits files whose names begin with a dot or an underscore.",
        "create an empty file .nojekyll in the root of the site; a workflow that uploads the site has to include hidden files",
        "`.nojekyll`: expected an empty file, found none, so names that begin with a dot or an underscore are omitted";
    HOST_MEDIA_TYPE = "host-media-type", Warning, Directory,
        "The host of `--host-kind` chooses media types by the endings of names: ocisite accepts the documents, with warnings, and \
         stricter consumers refuse them.",
        "use an index template that ends in .json, such as that of --preset layout; for the other documents, use another host",
        "`the indexes`: expected names that end in .json, found names like https://{host}/oci-index/{+path}, with \
         application/octet-stream from GitHub Pages";
    HOST_REGISTRY = "host-registry", Error, Directory,
        "The host of `--host-kind` cannot send the media types of manifests, so registry clients (docker, podman, skopeo) cannot \
         pull from the registry view.",
        "use a host that accepts a list of headers, or a bucket, for registry clients; no layout of the files helps",
        "`v2`: expected the media types of manifests, found application/octet-stream from GitHub Pages";

    // The registry view.
    REGISTRY_PING = "registry-ping", Error, Site,
        "The site does not answer `/v2/`, the first request of registry clients.",
        "publish to the site again; on a server, use the configuration that ocisite server-config renders",
        "`v2/_ping.json`: expected the response to registry clients, found nothing";
    REGISTRY_TAGS_LIST = "registry-tags-list", Error, Site,
        "A repository of the registry view has no list of its tags.",
        "publish the image again",
        "`v2/app/tags/list`: expected a list of tags, found nothing";
    REGISTRY_TAG = "registry-tag", Error, Site,
        "The manifest of a listed tag is missing.",
        "publish the image again",
        "`v2/app/manifests/1.0`: expected sha256:ab96f260a705…, which is listed as a tag, found nothing";
    REGISTRY_BLOB = "registry-blob", Error, Site,
        "A manifest or blob is missing from the registry view, or has the wrong size there.",
        "publish the image again",
        "`v2/app/blobs/sha256:ed7002b439e9…`: expected 7 bytes, found nothing";
    REGISTRY_DIFFERS = "registry-differs", Warning, Site,
        "The registry view differs from the index: a publish or a removal was interrupted, or is running.",
        "publish the image again",
        "`v2/app/manifests/1.0`: expected sha256:ab96f260a705…, as in the index, found sha256:44136fa355b3…";
    REGISTRY_MEDIA_TYPE = "registry-media-type", Error, Server,
        "The registry view serves a manifest or referrers list with a wrong media type, which clients refuse.",
        "use the configuration that ocisite server-config renders",
        "`v2/app/manifests/1.0`: expected application/vnd.oci.image.manifest.v1+json, found application/octet-stream";
    REGISTRY_DIGEST_HEADER = "registry-digest-header", Error, Server,
        "The response to a request for a digest does not repeat the digest in `Docker-Content-Digest`.",
        "use the configuration that ocisite server-config renders",
        "`v2/app/manifests/sha256:0067dbb12c7f…`: expected Docker-Content-Digest: sha256:0067dbb12c7f…, found none";

    // The server.
    MEDIA_TYPE = "media-type", Error, Server,
        "A document is served with a wrong media type.",
        "set the type in the server's configuration",
        "`oci-index/app`: expected application/vnd.oci.image.index.v1+json, found application/json";
    CHARSET = "charset", Warning, Server,
        "A discovery document is served without `charset=utf-8`; the Python resolver refuses it.",
        "add ; charset=utf-8 to the type in the server's configuration",
        "`oci-index/app`: expected charset=utf-8, found no charset";
    CONTENT_ENCODING = "content-encoding", Error, Server,
        "The server compresses a response without a request for compression.",
        "turn compression off for the site, or make the server obey Accept-Encoding",
        "`oci-index/app`: expected no Content-Encoding, found Content-Encoding: gzip";
    REDIRECT_REFUSED = "redirect-refused", Error, Server,
        "A redirect that consumers do not follow: in a circle, from https to http, or to another scheme.",
        "correct the redirect",
        r#"`oci-index/app`: expected the index, found a redirect to "ftp://example.com/app", which is not followed: only http and https are supported"#;
    REDIRECT = "redirect", Note, Server,
        "The server redirects requests.",
        "nothing to do, but each redirect costs consumers another request",
        "`an index`: expected no redirect, found a redirect to http://example.com/moved/app";
    TLS = "tls", Error, Server,
        "There is no trustworthy TLS connection.",
        "renew or complete the certificate; for a private authority, set SSL_CERT_FILE to its certificate",
        "`.well-known/oci-host-ref-engines`: expected the ref-engines object, found io: invalid peer certificate: \
         UnknownIssuer";
    NOT_FOUND = "not-found", Error, Server,
        "A request for a missing object does not get status 404.",
        "turn off fallback pages and redirects for missing files",
        "`a missing index, a missing blob`: expected status 404, found status 200";
    HEAD_DIFFERS = "head-differs", Error, Server,
        "The responses to HEAD and GET differ.",
        "make the server answer HEAD with the status and headers of GET",
        r#"`the ref-engines object, an index, a blob`: expected etag: "sha256:ac0f72e70e80…", found no etag"#;
    RANGES = "ranges", Warning, Server,
        "The server does not support ranges of a blob, so an interrupted download starts again.",
        "serve blobs as plain files, for which every server supports ranges",
        "`a blob`: expected status 206 with bytes 0-0/574, found status 200 with no Content-Range";
    VALIDATOR = "validator", Warning, Server,
        "A document has neither ETag nor Last-Modified, so caches fetch it again each time.",
        "turn on ETags",
        "`the ref-engines object, an index, a blob`: expected an ETag or a Last-Modified, found neither";
    NOT_MODIFIED = "not-modified", Warning, Server,
        "A request with the current ETag or date of a document does not get status 304.",
        "make the server obey If-None-Match and If-Modified-Since",
        "`the ref-engines object, an index, a blob`: expected status 304, found status 200";
    CACHE_BLOB = "cache-blob", Warning, Server,
        "Blobs are not served as immutable, although their bytes never change.",
        "send Cache-Control: public, max-age=31536000, immutable with them",
        "`a blob`: expected public, max-age=31536000, immutable, found public, max-age=60";
    CACHE_DOCUMENT = "cache-document", Warning, Server,
        "Caches may keep the ref-engines object or an index for too long or without a limit, so clients do not see a \
         new publish.",
        "send Cache-Control: public, max-age=60 with them",
        "`the ref-engines object, an index`: expected public, max-age=60, found no Cache-Control";
    NOSNIFF = "nosniff", Warning, Server,
        "Responses have no `X-Content-Type-Options: nosniff`, so a browser may display a blob as a page.",
        "send the header with every response",
        "`the ref-engines object, an index, a blob`: expected X-Content-Type-Options: nosniff, found none";
    ENCODED_SLASH = "encoded-slash", Error, Server,
        "The index template encodes a slash as `%2F`, and the server does not find the file.",
        "use {+path} in the template, or make the server decode %2F (Apache: AllowEncodedSlashes NoDecode or On)",
        "`oci-index/team%2Fapp`: expected the index, found nothing; the same path with slashes exists";
    PRIVATE_SERVED = "private-served", Error, Server,
        "The server serves `.ocisite/`, the private state of ocisite.",
        "refuse requests for /.ocisite/ in the server's configuration",
        "`.ocisite/lock`: expected status 404, found status 200";
}

/// The rule with an id.
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().find(|rule| rule.id == id)
}

/// The table of all rules in Markdown, as the README has it.
pub fn markdown() -> String {
    let mut text = String::from("| rule | severity | on | what | an example |\n| --- | --- | --- | --- | --- |\n");
    for Rule { id, severity, scope, what, example, .. } in ALL {
        text.push_str(&format!("| `{id}` | {severity} | {} | {what} | {example} |\n", scope.words()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_kebab_case_and_stand_for_one_rule_each() {
        let ids: BTreeSet<&str> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for id in ids {
            assert!(id.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase())), "{id}");
        }
    }

    #[test]
    fn every_rule_says_what_is_wrong_what_to_do_and_gives_an_example() {
        for Rule { id, what, advice, example, .. } in ALL {
            assert!(what.ends_with('.') && !advice.is_empty() && !example.contains('|'), "{id}");
            assert!(example.contains("expected ") && example.contains("found "), "{id}: {example}");
        }
    }
}
