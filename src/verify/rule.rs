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
        "";
    WELL_KNOWN_FORM = "well-known-form", Error, Site,
        "The ref-engines object is no JSON object.",
        "publish the site again, or write the document anew",
        "";
    ENGINE_FORM = "engine-form", Error, Site,
        "`refEngines` or `casEngines` is no array of objects with a `protocol`, or has more entries than consumers read.",
        "write an array of objects, each with at least \"protocol\" and \"uri\", 16 at most",
        "";
    ENGINE_PROTOCOL = "engine-protocol", Note, Site,
        "An engine has a protocol that ocisite does not know; it was not checked.",
        "nothing, if the consumers it is meant for know it",
        "";
    REF_ENGINE_MISSING = "ref-engine-missing", Error, Site,
        "The ref-engines object has no ref engine that consumers know.",
        "add one with the protocol oci-index-template-v1",
        "";
    DESCRIPTION_FORM = "description-form", Error, Site,
        "`ocisite.json` cannot be read, so that nobody knows which images there are.",
        "put back a copy of the file; a site without one can be checked by giving the names of its images",
        "";
    DESCRIPTION_DIFFERS = "description-differs", Error, Directory,
        "The ref-engines object and `ocisite.json` give different templates.",
        "publish to the site again, which writes the ref-engines object anew",
        "";

    // Templates.
    TEMPLATE_SYNTAX = "template-syntax", Error, Site,
        "An engine has no `uri`, or one that is no RFC 6570 template.",
        "correct the template; consumers make different things of it, or none",
        "";
    TEMPLATE_VARIABLE = "template-variable", Warning, Site,
        "A template has a variable that consumers do not know, and expand to nothing.",
        "use name, host, path and fragment for an index, and digest, algorithm and encoded for a blob",
        "";
    TEMPLATE_NAME_IN_CAS = "template-name-in-cas", Error, Site,
        "A CAS template has a variable of the image's name, which a strict consumer expands to nothing.",
        "write the name itself, as ocisite publish does, in the casEngines of each index entry",
        "";
    TEMPLATE_ENCODED_SLASH = "template-encoded-slash", Warning, Directory,
        "`{path}` writes a slash as `%2F`, and an image's path has one: not every server finds the file.",
        "use {+path}, or check the live site: verify tries it on a URL",
        "";
    TEMPLATE_URL = "template-url", Error, Site,
        "A template leads to no http or https URL.",
        "begin the template with a slash, or with https://",
        "";
    TEMPLATE_INSECURE = "template-insecure", Warning, Site,
        "A template leads to plain http, whose documents anyone on the way can change.",
        "use https, or a template that begins with a slash",
        "";
    TEMPLATE_ELSEWHERE = "template-elsewhere", Warning, Site,
        "A template leaves the site: consumers need another origin, too.",
        "nothing, if that is meant; ocisite verify DIR --store ORIGIN=DIR checks its files as well",
        "";

    // Indexes.
    INDEX_MISSING = "index-missing", Error, Site,
        "An image has no index.",
        "publish the image again, or ocisite remove it",
        "";
    INDEX_FORM = "index-form", Error, Site,
        "An index is no image index.",
        "publish the image again",
        "";
    INDEX_UNLISTED = "index-unlisted", Note, Directory,
        "`ocisite.json` does not list an image that has an index: a publish or a removal was interrupted.",
        "publish the image again, or ocisite remove it",
        "";
    INDEX_EMPTY = "index-empty", Warning, Site,
        "An index has no entries.",
        "publish the image again, or ocisite remove it",
        "";
    REF_MISSING = "ref-missing", Error, Site,
        "An index has no entry for the ref that was asked for.",
        "publish the ref, or ask for one that is there",
        "";
    DESCRIPTOR_FORM = "descriptor-form", Error, Site,
        "An entry of an index is no descriptor.",
        "publish the image again",
        "";
    DESCRIPTOR_MEDIA_TYPE = "descriptor-media-type", Warning, Site,
        "A descriptor has no media type, so that consumers have to guess.",
        "make the layout anew with a current tool, and publish it",
        "";
    DESCRIPTOR_DATA = "descriptor-data", Error, Site,
        "The bytes that a descriptor carries in `data` are not those of its digest.",
        "make the layout anew, and publish it",
        "";
    DIGEST_ALGORITHM = "digest-algorithm", Error, Site,
        "A digest has an algorithm that is not registered, so that nobody can check the blob.",
        "use sha256, sha512 or blake3",
        "";
    REF_AMBIGUOUS = "ref-ambiguous", Error, Site,
        "Two entries have one ref, and no platform to tell them apart.",
        "publish the ref again, which replaces its entries",
        "";
    REF_UNSPELLABLE = "ref-unspellable", Warning, Site,
        "A ref cannot stand behind the `#` of an image name, so that no name finds it alone.",
        "publish it under another ref",
        "";
    CAS_ENGINE_MISSING = "cas-engine-missing", Error, Site,
        "Nobody says where an entry's blobs are: there is no CAS engine that consumers know.",
        "add casEngines with the protocol oci-cas-template-v1 to the entry, or to the ref-engines object",
        "";
    CAS_ENGINE_INCOMPLETE = "cas-engine-incomplete", Warning, Site,
        "A CAS engine lacks a blob that one behind it has.",
        "publish the image again, or take the engine out",
        "";

    // The graph.
    BLOB_MISSING = "blob-missing", Error, Site,
        "A blob is not there.",
        "publish the image again",
        "";
    BLOB_FOREIGN = "blob-foreign", Note, Site,
        "A layer that may not be distributed is not there; its descriptor says where else it is.",
        "nothing: consumers that may have it fetch it from there",
        "";
    BLOB_ELSEWHERE = "blob-elsewhere", Note, Directory,
        "Blobs or indexes are at another origin, where the check of a directory does not look.",
        "give the other origin's directory with --store ORIGIN=DIR, or check the live site",
        "";
    BLOB_SIZE = "blob-size", Error, Site,
        "A blob has another size than its descriptor says.",
        "remove the damaged file, and publish the image again",
        "";
    BLOB_DIGEST = "blob-digest", Error, Site,
        "The bytes of a blob do not have its digest (found for manifests always, for other blobs with `--deep`).",
        "remove the damaged file, and publish the image again",
        "";
    MANIFEST_FORM = "manifest-form", Error, Site,
        "A manifest is none: not JSON, or not in the form of its media type.",
        "make the layout anew, and publish it",
        "";
    MANIFEST_MEDIA_TYPE = "manifest-media-type", Error, Site,
        "A manifest and its descriptor give different media types.",
        "correct the descriptor in the layout, and publish it",
        "";
    PLATFORM_DIFFERS = "platform-differs", Error, Site,
        "A descriptor and the image's config give different platforms.",
        "correct the platform in the layout, and publish it",
        "";
    SUBJECT_MISSING = "subject-missing", Note, Site,
        "What a manifest refers to as its subject is not there.",
        "nothing; ocisite remove NAME#REF takes out what refers to it along with a ref",
        "";
    GRAPH_DEPTH = "graph-depth", Error, Site,
        "Indexes are nested deeper than consumers follow.",
        "make the layout anew: an image needs two or three levels",
        "";

    // Reading anything.
    UNREADABLE = "unreadable", Error, Site,
        "Something is there and cannot be read.",
        "find out what the system or the server says to it, and put that right",
        "";
    TOO_LARGE = "too-large", Error, Site,
        "A document is larger than consumers read.",
        "publish fewer refs under the name, or write the document anew",
        "";
    NOT_A_FILE = "not-a-file", Error, Directory,
        "Something that is no regular file stands where a file of the site belongs.",
        "move it away, and publish again",
        "";

    // The directory.
    PERMISSIONS = "permissions", Error, Directory,
        "A file or directory has a mode with which a web server cannot read it.",
        "chmod a+r the file, or a+rx the directory",
        "";
    SYMLINK = "symlink", Warning, Directory,
        "A symbolic link stands in the site: it breaks when the site is copied, and some servers do not follow it.",
        "put the file itself in its place",
        "";
    LEFTOVER = "leftover", Note, Directory,
        "There are temporary files: a publish was interrupted, or is running.",
        "nothing: the next publish or gc removes them",
        "";
    ORPHANS = "orphans", Note, Directory,
        "The CAS has blobs that no index reaches.",
        "ocisite gc removes them",
        "";

    // The server.
    MEDIA_TYPE = "media-type", Error, Server,
        "A document is served with a media type that is not its own.",
        "set the type in the server's configuration",
        "";
    CHARSET = "charset", Warning, Server,
        "A discovery document is served without `charset=utf-8`; the Python resolver refuses it.",
        "add ; charset=utf-8 to the type in the server's configuration",
        "";
    CONTENT_ENCODING = "content-encoding", Error, Server,
        "Something is sent compressed to a client that did not ask for it.",
        "turn compression off for the site, or let the server heed Accept-Encoding",
        "";
    REDIRECT_REFUSED = "redirect-refused", Error, Server,
        "A redirect leads where no consumer follows: in a circle, from https to http, or off the web.",
        "correct the redirect",
        "";
    REDIRECT = "redirect", Note, Server,
        "Requests are redirected.",
        "nothing; each costs a consumer a request more",
        "";
    TLS = "tls", Error, Server,
        "There is no trustworthy TLS connection.",
        "renew or complete the certificate; name a private authority in SSL_CERT_FILE",
        "";
    NOT_FOUND = "not-found", Error, Server,
        "What is not there is not answered with status 404.",
        "turn off fallback pages and redirects for what is missing",
        "";
    HEAD_DIFFERS = "head-differs", Error, Server,
        "HEAD does not answer as GET does.",
        "let the server answer HEAD with GET's status and headers",
        "";
    RANGES = "ranges", Warning, Server,
        "The server does not send a part of a blob, so that an interrupted download begins anew.",
        "serve blobs as plain files, which every server can send in parts",
        "";
    VALIDATOR = "validator", Warning, Server,
        "A document has neither an ETag nor a Last-Modified, so that caches fetch it whole each time.",
        "turn on ETags",
        "";
    NOT_MODIFIED = "not-modified", Warning, Server,
        "A request with the document's own ETag or date is not answered with status 304.",
        "let the server heed If-None-Match and If-Modified-Since",
        "";
    CACHE_BLOB = "cache-blob", Warning, Server,
        "Blobs are not served as immutable, though their bytes can never change.",
        "send Cache-Control: public, max-age=31536000, immutable with them",
        "";
    CACHE_DOCUMENT = "cache-document", Warning, Server,
        "The ref-engines object or an index may be cached for long, or for as long as a cache likes: what is published is not seen.",
        "send Cache-Control: public, max-age=60 with them",
        "";
    NOSNIFF = "nosniff", Warning, Server,
        "Responses have no `X-Content-Type-Options: nosniff`, so that a browser may take a blob for a page.",
        "send the header with every response",
        "";
    ENCODED_SLASH = "encoded-slash", Error, Server,
        "The index template writes a slash as `%2F`, and the server does not find the file that way.",
        "use {+path} in the template, or let the server decode %2F (Apache: AllowEncodedSlashes NoDecode or On)",
        "";
    PRIVATE_SERVED = "private-served", Error, Server,
        "The server hands out `.ocisite/`, ocisite's private state.",
        "refuse requests for /.ocisite/ in the server's configuration",
        "";
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
