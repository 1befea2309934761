//! The table of rules: what is looked for, how much it matters, and what to do about it.
//!
//! An id is stable: scripts and people who silence a rule rely on it. A rule is never reused for something else, and new ones
//! are added. The README's table is made from this one, by [`markdown`], and a test compares them; each example is what the
//! test of the rule really finds.

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A consumer that follows the specifications fails.
    Error,
    /// It works, for some consumers or at some price.
    Warning,
    /// Worth knowing; nothing has to be done.
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

/// What a rule can be broken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Any site.
    Site,
    /// A directory, whose files are there to be looked at.
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
    /// The stable id.
    pub id: &'static str,
    /// How much a finding of it matters.
    pub severity: Severity,
    /// Where it is looked for.
    pub scope: Scope,
    /// What is wrong when it is broken.
    pub what: &'static str,
    /// What to do then.
    pub advice: &'static str,
    /// What one finding of it says.
    pub example: &'static str,
}

/// Rules are compared by what they are called.
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
        /// All rules, in the order in which a site is looked through.
        pub static ALL: &[Rule] = &[$($name),*];
    };
}

rules! {
    // The ref-engines object.
    WELL_KNOWN_MISSING = "well-known-missing", Error, Site,
        "There is no ref-engines object.",
        "publish the site again, and serve .well-known too",
        "`.well-known/oci-host-ref-engines`: expected the ref-engines object, found nothing";
    WELL_KNOWN_FORM = "well-known-form", Error, Site,
        "The ref-engines object is no JSON object.",
        "publish the site again, or write the document anew",
        "`.well-known/oci-host-ref-engines`: expected a JSON object, found an array";
    ENGINE_FORM = "engine-form", Error, Site,
        "`refEngines` or `casEngines` is no array of objects with a `protocol`, or has more entries than consumers read.",
        "publish the site again; by hand, write an array of objects, each with \"protocol\" and \"uri\", 16 at most",
        r#"`.well-known/oci-host-ref-engines, refEngines[1]`: expected "protocol" to be a string, found nothing"#;
    ENGINE_PROTOCOL = "engine-protocol", Note, Site,
        "An engine has a protocol that ocisite does not know; it was not checked.",
        "nothing, if the consumers it is meant for know it",
        r#"`.well-known/oci-host-ref-engines, refEngines[1]`: expected a protocol that is known, found "docker""#;
    REF_ENGINE_MISSING = "ref-engine-missing", Error, Site,
        "The ref-engines object has no ref engine that consumers know.",
        "publish the site again; by hand, add one with the protocol oci-index-template-v1",
        "`.well-known/oci-host-ref-engines`: expected a ref engine with the protocol oci-index-template-v1, found none";
    DESCRIPTION_FORM = "description-form", Error, Site,
        "`ocisite.json` cannot be read, so that nobody knows which images there are.",
        "put back a copy of the file; a site without one can be checked by giving the names of its images",
        "`ocisite.json`: expected what ocisite publish writes, found a document that is not valid JSON: EOF while parsing an object at line 1 column 1";
    DESCRIPTION_DIFFERS = "description-differs", Error, Directory,
        "The ref-engines object and `ocisite.json` give different templates.",
        "publish to the site again, which writes the ref-engines object anew",
        "`.well-known/oci-host-ref-engines`: expected https://{host}/oci-index/{path}, found https://{host}/oci-index/{+path}";

    // Templates.
    TEMPLATE_SYNTAX = "template-syntax", Error, Site,
        "An engine has no `uri`, or one that is no RFC 6570 template.",
        "publish the site again, or correct the template: consumers make different things of it, or none",
        r#"`.well-known/oci-host-ref-engines, casEngines`: expected a URI template (RFC 6570), found template "/{digest", column 2: the expression that starts here is not closed; add `}`, or write `%7B` for a brace"#;
    TEMPLATE_VARIABLE = "template-variable", Warning, Site,
        "A template has a variable that consumers do not know, and expand to nothing.",
        "publish the site again; by hand, use name, host, path and fragment for an index, and digest, algorithm and encoded for a blob",
        "`.well-known/oci-host-ref-engines, casEngines`: expected only digest, algorithm, encoded, found {tag} in /oci-cas/{algorithm}/{encoded:2}/{encoded}{tag}";
    TEMPLATE_NAME_IN_CAS = "template-name-in-cas", Error, Site,
        "A CAS template has a variable of the image's name, which a strict consumer expands to nothing.",
        "publish the site again; by hand, write the name itself in the casEngines of each index entry",
        "`.well-known/oci-host-ref-engines, casEngines`: expected digest, algorithm and encoded only, found {fragment} in /{fragment}oci-cas/{algorithm}/{encoded:2}/{encoded}";
    TEMPLATE_ENCODED_SLASH = "template-encoded-slash", Warning, Directory,
        "`{path}` writes a slash as `%2F`, and an image's path has one: not every server finds the file.",
        "use {+path}, or check the live site: verify tries it on a URL",
        "`.well-known/oci-host-ref-engines, refEngines`: expected a path without %2F, found https://{host}/oci-index/{path}, which leads to /oci-index/team%2Fapp";
    TEMPLATE_URL = "template-url", Error, Site,
        "A template leads to no http or https URL.",
        "publish the site again; by hand, begin the template with a slash, or with https://",
        "`.well-known/oci-host-ref-engines, refEngines`: expected an http or https URL, found ftp://example.com/team/app";
    TEMPLATE_INSECURE = "template-insecure", Warning, Site,
        "A template leads to plain http, whose documents anyone on the way can change.",
        "publish the site again; by hand, use https, or a template that begins with a slash",
        "`.well-known/oci-host-ref-engines, casEngines`: expected https, or a path, found http://example.com/oci-cas/{algorithm}/{encoded:2}/{encoded}";
    TEMPLATE_ELSEWHERE = "template-elsewhere", Warning, Site,
        "A template leaves the site: consumers need another origin, too.",
        "nothing, if that is meant; ocisite verify DIR --store ORIGIN=DIR checks its files as well",
        "`.well-known/oci-host-ref-engines, casEngines`: expected a part of the site, found https://cdn.example.net/{digest}, which leads to https://cdn.example.net";

    // Indexes.
    INDEX_MISSING = "index-missing", Error, Site,
        "An image has no index.",
        "publish the image again, or ocisite remove it",
        "`oci-index/app`: expected the index, found nothing";
    INDEX_FORM = "index-form", Error, Site,
        "An index is no image index.",
        "publish the image again with --recheck, which makes the index anew",
        r#"`oci-index/app`: expected "manifests" to be an array, found an object"#;
    INDEX_UNLISTED = "index-unlisted", Note, Directory,
        "`ocisite.json` does not list an image that has an index: a publish or a removal was interrupted.",
        "publish the image again, or ocisite remove it",
        "`oci-index/team/app`: expected example.com/team/app in ocisite.json, found no such name there";
    INDEX_EMPTY = "index-empty", Warning, Site,
        "An index has no entries.",
        "publish the image again, or ocisite remove it",
        "`oci-index/team/app`: expected one entry or more, found none";
    REF_MISSING = "ref-missing", Error, Site,
        "An index has no entry for the ref that was asked for.",
        "publish the ref, or ask for one that is there",
        r#"`oci-index/app`: expected an entry with the ref "4.0", found none"#;
    DESCRIPTOR_FORM = "descriptor-form", Error, Site,
        "An entry of an index is no descriptor.",
        "publish the image again with --recheck, which makes the index anew",
        r#"`oci-index/app, entry 4`: expected a descriptor, found none: a descriptor has no "digest""#;
    DESCRIPTOR_MEDIA_TYPE = "descriptor-media-type", Warning, Site,
        "A descriptor has no media type, so that consumers have to guess.",
        "make the layout anew with a current tool, and publish it",
        "`oci-index/app, entry 1`: expected a mediaType, found none";
    DESCRIPTOR_DATA = "descriptor-data", Error, Site,
        "The bytes that a descriptor carries in `data` are not those of its digest.",
        "make the layout anew, and publish it",
        r#"`sha256:ab96f260a705…`: expected the 551 bytes themselves, found "data" of 2 bytes with the digest sha256:44136fa355b3…"#;
    DIGEST_ALGORITHM = "digest-algorithm", Error, Site,
        "A digest has an algorithm that is not registered, so that nobody can check the blob.",
        "publish the image with one of sha256, sha512 and blake3, and with --recheck, which makes the index anew",
        "`oci-index/app, entry 4`: expected sha256, sha512 or blake3, found md5";
    REF_AMBIGUOUS = "ref-ambiguous", Error, Site,
        "Two entries have one ref, and no platform to tell them apart.",
        "publish the ref again, which replaces its entries",
        r#"`oci-index/app, entry 2`: expected one entry for each ref and platform, found a second one with the ref "1.0" and no platform"#;
    REF_UNSPELLABLE = "ref-unspellable", Warning, Site,
        "A ref cannot stand behind the `#` of an image name, so that no name finds it alone.",
        "publish the image under another ref, with --replace",
        r#"`oci-index/app, entry 1`: expected characters of a URI fragment (RFC 3986), found "one zero""#;
    CAS_ENGINE_MISSING = "cas-engine-missing", Error, Site,
        "Nobody says where an entry's blobs are: there is no CAS engine that consumers know.",
        "publish the image again; by hand, add casEngines with the protocol oci-cas-template-v1 to the entry, or to the ref-engines object",
        "`oci-index/app, entry 1`: expected a CAS engine, found none";
    CAS_ENGINE_INCOMPLETE = "cas-engine-incomplete", Warning, Site,
        "A CAS engine lacks a blob that one behind it has.",
        "publish the image again, or take the engine out",
        "`old/sha256:65cb7c531640…`: expected 22 bytes, for sha256:ab96f260a705…, found nothing; it is at oci-cas/sha256/65/65cb7c531640…";

    // The graph.
    BLOB_MISSING = "blob-missing", Error, Site,
        "A blob is not there.",
        "publish the image again",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected 7 bytes, for sha256:ab96f260a705…, found nothing";
    BLOB_FOREIGN = "blob-foreign", Note, Site,
        "A layer that may not be distributed is not there; its descriptor says where else it is.",
        "nothing: consumers that may have it fetch it from there",
        r#"`oci-cas/sha256/00/000000000000…`: expected 7 bytes, for sha256:870550638e9f…, found nothing here; its descriptor has "urls""#;
    BLOB_ELSEWHERE = "blob-elsewhere", Note, Directory,
        "Blobs or indexes are at another origin, where the check of a directory does not look.",
        "give the other origin's directory with --store ORIGIN=DIR, or check the live site",
        "`example.com/app`: expected objects in the directory, found 4 that are at another origin";
    BLOB_SIZE = "blob-size", Error, Site,
        "A blob has another size than its descriptor says.",
        "publish the image again with --recheck, which repairs it",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected 7 bytes, found 16 bytes";
    BLOB_DIGEST = "blob-digest", Error, Site,
        "The bytes of a blob do not have its digest (found for manifests always, for other blobs with `--deep`).",
        "publish the image again with --recheck, which repairs it",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected sha256:ed7002b439e9…, found sha256:65f23e22a9bf…";
    MANIFEST_FORM = "manifest-form", Error, Site,
        "A manifest is none: not JSON, or not in the form of its media type.",
        "make the layout anew, and publish it",
        r#"`oci-cas/sha256/47/47cb9aece92b…`: expected a manifest, found none: expected "layers" to be an array, found an object"#;
    MANIFEST_MEDIA_TYPE = "manifest-media-type", Error, Site,
        "A manifest and its descriptor give different media types.",
        "correct the descriptor in the layout, and publish it",
        "`oci-cas/sha256/ab/ab4a2c56d9dd…`: expected application/vnd.oci.image.manifest.v1+json, found application/vnd.docker.distribution.manifest.v2+json";
    PLATFORM_DIFFERS = "platform-differs", Error, Site,
        "A descriptor and the image's config give different platforms.",
        "correct the platform in the layout, and publish it",
        "`oci-cas/sha256/9d/9d99a75171ae…`: expected linux/riscv64, found linux/amd64";
    SUBJECT_MISSING = "subject-missing", Note, Site,
        "What a manifest refers to as its subject is not there.",
        "nothing, if it is elsewhere; publish --replace drops what is not in the layout",
        "`oci-cas/sha256/00/000000000000…`: expected 551 bytes, for sha256:5cb2675f2aa3…, found nothing";
    GRAPH_DEPTH = "graph-depth", Error, Site,
        "Indexes are nested deeper than consumers follow.",
        "make the layout anew, with two or three levels, and publish the image with --replace",
        "`oci-cas/sha256/99/991c81dfea8a…`: expected at most 32 levels, found more";

    // Reading anything.
    UNREADABLE = "unreadable", Error, Site,
        "Something is there and cannot be read.",
        "find out what the system or the server says to it, and put that right",
        "`oci-index/app`: expected the index, found status 500";
    TOO_LARGE = "too-large", Error, Site,
        "A document is larger than consumers read.",
        "publish the site again, which writes its documents anew, or fewer refs under the name",
        "`.well-known/oci-host-ref-engines`: expected a document that consumers read, found more than 65536 bytes";
    NOT_A_FILE = "not-a-file", Error, Directory,
        "Something that is no regular file stands where a file of the site belongs.",
        "move it away, and publish again",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected 7 bytes, for sha256:ab96f260a705…, found a directory";

    // The directory.
    PERMISSIONS = "permissions", Error, Directory,
        "A file or directory has a mode with which a web server cannot read it.",
        "chmod a+r the file, or a+rx the directory",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected mode 0644, found mode 0640";
    SYMLINK = "symlink", Warning, Directory,
        "A symbolic link stands in the site: it breaks when the site is copied, and some servers do not follow it.",
        "put the file itself in its place",
        "`oci-cas/sha256/ed/ed7002b439e9…`: expected a file, found a link to ../../../../elsewhere";
    LEFTOVER = "leftover", Note, Directory,
        "There are temporary files: a publish was interrupted, or is running.",
        "nothing: the next publish or gc removes them",
        "`.ocisite/tmp/`: expected no temporary files, found 1 of them";
    ORPHANS = "orphans", Note, Directory,
        "The CAS has blobs that no index reaches.",
        "ocisite gc removes them",
        "`oci-cas/`: expected blobs that an index reaches, found 1 that none reaches, of 16 bytes";
    NAME_UNUSABLE = "name-unusable", Warning, Directory,
        "The bucket has an object whose key no path of a site can be: it is neither copied nor removed.",
        "remove the object with the tools of the object store, if nothing else needs it",
        r#"`"oci-cas//x"`: expected a key that is a path, found one that has a segment of dots, an empty one, or a control character"#;
    CATALOGUE_DIFFERS = "catalogue-differs", Warning, Directory,
        "The catalogue says something else than the indexes do.",
        "publish the image again with --recheck, which makes what the catalogue says of it again",
        "`catalogue.json`: expected what the indexes say, found something else";

    // The registry view.
    REGISTRY_PING = "registry-ping", Error, Site,
        "Nothing answers at `/v2/`, where clients ask whether there is a registry.",
        "publish the site again; on a server, use the configuration that ocisite server-config renders",
        "`v2/_ping.json`: expected an answer to clients of a registry, found nothing";
    REGISTRY_TAGS_LIST = "registry-tags-list", Error, Site,
        "A repository of the registry view has no list of its tags.",
        "publish the image again",
        "`v2/app/tags/list`: expected a list of tags, found nothing";
    REGISTRY_TAG = "registry-tag", Error, Site,
        "A tag is listed, and its manifest is not there.",
        "publish the image again",
        "`v2/app/manifests/1.0`: expected sha256:ab96f260a705…, which is listed as a tag, found nothing";
    REGISTRY_BLOB = "registry-blob", Error, Site,
        "A manifest or blob is not in the registry view under its digest, or has another size there.",
        "publish the image again",
        "`v2/app/blobs/sha256:ed7002b439e9…`: expected 7 bytes, found nothing";
    REGISTRY_DIFFERS = "registry-differs", Warning, Site,
        "The registry view says something else than the index: a publish or a removal was interrupted, or is running.",
        "publish the image again",
        "`v2/app/manifests/1.0`: expected sha256:ab96f260a705…, as in the index, found sha256:44136fa355b3…";
    REGISTRY_MEDIA_TYPE = "registry-media-type", Error, Server,
        "A manifest or referrers list of the registry view is served with another media type than its own, which clients refuse.",
        "use the configuration that ocisite server-config renders",
        "`v2/app/manifests/1.0`: expected application/vnd.oci.image.manifest.v1+json, found application/octet-stream";
    REGISTRY_DIGEST_HEADER = "registry-digest-header", Error, Server,
        "The answer to a request for a digest does not have that digest in `Docker-Content-Digest`.",
        "use the configuration that ocisite server-config renders",
        "`v2/app/manifests/sha256:0067dbb12c7f…`: expected Docker-Content-Digest: sha256:0067dbb12c7f…, found none";

    // The server.
    MEDIA_TYPE = "media-type", Error, Server,
        "A document is served with a media type that is not its own.",
        "set the type in the server's configuration",
        "`oci-index/app`: expected application/vnd.oci.image.index.v1+json, found application/json";
    CHARSET = "charset", Warning, Server,
        "A discovery document is served without `charset=utf-8`; the Python resolver refuses it.",
        "add ; charset=utf-8 to the type in the server's configuration",
        "`oci-index/app`: expected charset=utf-8, found no charset";
    CONTENT_ENCODING = "content-encoding", Error, Server,
        "Something is sent compressed to a client that did not ask for it.",
        "turn compression off for the site, or let the server heed Accept-Encoding",
        "`oci-index/app`: expected no Content-Encoding, found Content-Encoding: gzip";
    REDIRECT_REFUSED = "redirect-refused", Error, Server,
        "A redirect leads where no consumer follows: in a circle, from https to http, or off the web.",
        "correct the redirect",
        r#"`oci-index/app`: expected the index, found a redirect to "ftp://example.com/app", which is not followed: only http and https are"#;
    REDIRECT = "redirect", Note, Server,
        "Requests are redirected.",
        "nothing; each costs a consumer a request more",
        "`an index`: expected an answer, found a redirect to http://example.com/moved/app";
    TLS = "tls", Error, Server,
        "There is no trustworthy TLS connection.",
        "renew or complete the certificate; name a private authority in SSL_CERT_FILE",
        "`.well-known/oci-host-ref-engines`: expected the ref-engines object, found io: invalid peer certificate: UnknownIssuer";
    NOT_FOUND = "not-found", Error, Server,
        "What is not there is not answered with status 404.",
        "turn off fallback pages and redirects for what is missing",
        "`an index that is not there, a blob that is not there`: expected status 404, found status 200";
    HEAD_DIFFERS = "head-differs", Error, Server,
        "HEAD does not answer as GET does.",
        "let the server answer HEAD with GET's status and headers",
        r#"`the ref-engines object, an index, a blob`: expected etag: "sha256:ac0f72e70e80…", found no etag"#;
    RANGES = "ranges", Warning, Server,
        "The server does not send a part of a blob, so that an interrupted download begins anew.",
        "serve blobs as plain files, which every server can send in parts",
        "`a blob`: expected status 206 with bytes 0-0/574, found status 200 with no Content-Range";
    VALIDATOR = "validator", Warning, Server,
        "A document has neither an ETag nor a Last-Modified, so that caches fetch it whole each time.",
        "turn on ETags",
        "`the ref-engines object, an index, a blob`: expected an ETag or a Last-Modified, found neither";
    NOT_MODIFIED = "not-modified", Warning, Server,
        "A request with the document's own ETag or date is not answered with status 304.",
        "let the server heed If-None-Match and If-Modified-Since",
        "`the ref-engines object, an index, a blob`: expected status 304, found status 200";
    CACHE_BLOB = "cache-blob", Warning, Server,
        "Blobs are not served as immutable, though their bytes can never change.",
        "send Cache-Control: public, max-age=31536000, immutable with them",
        "`a blob`: expected public, max-age=31536000, immutable, found public, max-age=60";
    CACHE_DOCUMENT = "cache-document", Warning, Server,
        "The ref-engines object or an index may be cached for long, or for as long as a cache likes: what is published is not seen.",
        "send Cache-Control: public, max-age=60 with them",
        "`the ref-engines object, an index`: expected public, max-age=60, found no Cache-Control";
    NOSNIFF = "nosniff", Warning, Server,
        "Responses have no `X-Content-Type-Options: nosniff`, so that a browser may take a blob for a page.",
        "send the header with every response",
        "`the ref-engines object, an index, a blob`: expected X-Content-Type-Options: nosniff, found none";
    ENCODED_SLASH = "encoded-slash", Error, Server,
        "The index template writes a slash as `%2F`, and the server does not find the file that way.",
        "use {+path} in the template, or let the server decode %2F (Apache: AllowEncodedSlashes NoDecode or On)",
        "`oci-index/team%2Fapp`: expected the index, found nothing; the same path with slashes is there";
    PRIVATE_SERVED = "private-served", Error, Server,
        "The server hands out `.ocisite/`, ocisite's private state.",
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
