//! The registry view of the preview: the files of [`crate::site::registry`], and the few responses that depend on a
//! query: `n`, `last` and `artifactType`.

use std::io::{self, Read, Write};

use url::form_urlencoded;

use super::computed::Source;
use super::json_scan::{Part, Step, scan};
use super::preview::{Preview, Refusal, Representation};
use crate::site::registry::{self, Endpoint};
use crate::site::{Kind, SitePath};
use oci_discovery::digest::{Algorithm, Digest, Hasher};
use oci_discovery::json;

/// The most tags in a page. The distribution-spec lets a page have fewer tags than a client asked for.
const MAX_TAGS: usize = 10_000;
/// The most characters of a value of a query that are kept, more than a tag or a media type has: what follows never decides.
/// Many clients wait with their query.
const MAX_VALUE: usize = 300;
/// How much of a manifest is read and hashed at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Answers a request of the distribution API. None: the path is not below `v2/`.
pub fn find(preview: &Preview, path: &str, query: &str) -> Option<Result<Representation, Refusal>> {
    if path == "v2" || path == "v2/" {
        return Some(ping(preview));
    }
    if !path.starts_with("v2/") {
        return None;
    }
    let query = Query::parse(query);
    Some(match Endpoint::parse(path) {
        Some(Endpoint::Manifest { name, reference }) => manifest(preview, name, reference),
        Some(Endpoint::Blob { name, digest }) => blob(preview, name, &digest),
        Some(Endpoint::TagsList { name }) => tags(preview, name, &query),
        Some(Endpoint::Referrers { name, digest }) => referrers(preview, name, &digest, &query),
        // Typed names are for servers, not for clients.
        Some(_) => Err(Refusal::NotFound),
        None => Err(invalid(path)),
    })
}

#[derive(Debug, Default)]
struct Query {
    n: Option<usize>,
    last: Option<String>,
    artifact_type: Option<String>,
}

impl Query {
    fn parse(text: &str) -> Query {
        let mut query = Query::default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            let kept = || Some(value.chars().take(MAX_VALUE).collect());
            match &*key {
                "n" => query.n = value.parse().ok(),
                "last" => query.last = kept(),
                "artifactType" => query.artifact_type = kept(),
                _ => {}
            }
        }
        query
    }
}

fn ping(preview: &Preview) -> Result<Representation, Refusal> {
    let mut found = preview.open(&registry::ping_path()?, Kind::RegistryPing)?;
    found.headers.push(("Docker-Distribution-Api-Version", "registry/2.0".into()));
    Ok(found)
}

fn manifest(preview: &Preview, name: &str, reference: &str) -> Result<Representation, Refusal> {
    let path = registry::manifest_path(name, reference)?;
    let unknown = || unknown("MANIFEST_UNKNOWN", &format!("{name} has no manifest {reference}"));
    let typed = registry::typed_manifest_paths(name, reference);
    let typed = typed.into_iter().find_map(|(path, media_type)| {
        let kind = Endpoint::Manifest { name, reference }.kind().with_media_type(media_type);
        preview.open(&path, kind).ok()
    });
    let mut found = match typed {
        Some(found) => found,
        None => preview.open(&path, Endpoint::Manifest { name, reference }.kind()).map_err(|_| unknown())?,
    };
    let digest = match Digest::parse(reference) {
        Ok(digest) => digest.to_string(),
        Err(_) => {
            let digests = preview.compute(&found, &["digests"], |source, _| digests_of(source))?.note;
            let is_there = |digest: &&str| registry::manifest_path(name, digest).is_ok_and(|path| preview.has(&path));
            digests.split(' ').find(is_there).unwrap_or_default().to_string()
        }
    };
    // A tag that is a list of referrers has no digest by which it can be asked for.
    if !digest.is_empty() {
        found.etag = format!("\"{digest}\"");
        found.headers.push(("Docker-Content-Digest", digest));
    }
    Ok(found)
}

/// The digests that a manifest can have, from one reading. By which of them it is published, only the site says.
fn digests_of(mut source: Source) -> io::Result<String> {
    let mut hashers = Algorithm::ALL.map(Hasher::new);
    let mut buffer = [0; PIECE_BYTES];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hashers.map(|hasher| hasher.finish().to_string()).join(" ")),
            count => hashers.iter_mut().for_each(|hasher| hasher.update(&buffer[..count])),
        }
    }
}

fn blob(preview: &Preview, name: &str, digest: &Digest) -> Result<Representation, Refusal> {
    let unknown = |_| unknown("BLOB_UNKNOWN", &format!("{name} has no blob {digest}"));
    let mut found = preview.open(&registry::blob_path(name, digest)?, Kind::Blob(None)).map_err(unknown)?;
    found.etag = format!("\"{digest}\"");
    found.headers.push(("Docker-Content-Digest", digest.to_string()));
    Ok(found)
}

/// `tags/list`, with `last` and `n` and the `Link` to the next page (distribution-spec, "Listing Tags").
fn tags(preview: &Preview, name: &str, query: &Query) -> Result<Representation, Refusal> {
    let unknown = |_| unknown("NAME_UNKNOWN", &format!("there is no repository {name}"));
    let mut found = preview.open(&registry::tags_list_path(name)?, Kind::TagsList).map_err(unknown)?;
    if query.n.is_none() && query.last.is_none() {
        return Ok(found);
    }
    let max = query.n.unwrap_or(MAX_TAGS).min(MAX_TAGS);
    let page = TagsPage { empty: registry::tags_list(name, &[]), after: query.last.clone().unwrap_or_default(), max };
    let (after, limit) = (page.after.clone(), max.to_string());
    let computed =
        preview.compute(&found, &["tags", name, &after, &limit], move |source, out| page.write(source, out))?;
    if !computed.note.is_empty() {
        let link = format!("</v2/{name}/tags/list?n={max}&last={}>; rel=\"next\"", computed.note);
        found.headers.push(("Link", link));
    }
    Ok(found.with(computed))
}

/// The part of a tags list that a query selects.
struct TagsPage {
    /// The document without tags.
    empty: Vec<u8>,
    /// Only tags after this one.
    after: String,
    /// The most tags.
    max: usize,
}

impl TagsPage {
    /// Writes the document. Returns its last tag if others follow, and otherwise an empty text.
    fn write(&self, source: Source, out: &mut dyn Write) -> io::Result<String> {
        const TAGS: &[Step] = &[Step::Key(&["tags"]), Step::Element];
        let mut list = List::begin(&self.empty, out)?;
        let (mut last, mut is_cut) = (String::new(), false);
        scan(source, TAGS, |part| {
            let Part::Match(token) = part else { return Ok(()) };
            // Malformed tags cannot be in the link to the next page.
            let Some(tag) = json::parse_string(token).filter(|tag| registry::is_tag(tag)) else {
                return Ok(());
            };
            if tag <= self.after {
                return Ok(());
            }
            if list.count == self.max {
                is_cut = true;
                return Ok(());
            }
            last = tag;
            list.next()?.write_all(token)
        })?;
        list.end()?;
        Ok(if is_cut { last } else { String::new() })
    }
}

/// A document with one list, which is written element by element.
struct List<'a> {
    out: &'a mut dyn Write,
    rest: &'a [u8],
    count: usize,
}

impl<'a> List<'a> {
    /// Begins a document that is `empty` without elements.
    fn begin(empty: &'a [u8], out: &'a mut dyn Write) -> io::Result<List<'a>> {
        let position = memchr::memmem::rfind(empty, b"[]").map_or(empty.len(), |found| found + 1);
        let (start, rest) = empty.split_at(position);
        out.write_all(start)?;
        Ok(List { out, rest, count: 0 })
    }

    /// The destination of the next element.
    fn next(&mut self) -> io::Result<&mut dyn Write> {
        if self.count > 0 {
            self.out.write_all(b",")?;
        }
        self.count += 1;
        Ok(self.out)
    }

    fn end(self) -> io::Result<()> {
        self.out.write_all(self.rest)
    }
}

/// `referrers/DIGEST`, with `artifactType` (distribution-spec, "Listing Referrers"). No referrers are an empty list.
fn referrers(preview: &Preview, name: &str, digest: &Digest, query: &Query) -> Result<Representation, Refusal> {
    let has_repository = preview.open(&registry::tags_list_path(name)?, Kind::TagsList).is_ok();
    if !has_repository {
        return Err(unknown("NAME_UNKNOWN", &format!("there is no repository {name}")));
    }
    let found = preview.open(&registry::referrers_path(name, digest)?, Kind::Referrers);
    let mut found = match found {
        Ok(found) => found,
        Err(_) => preview.open(&registry::no_referrers_path()?, Kind::Referrers)?,
    };
    let Some(wanted) = &query.artifact_type else { return Ok(found) };
    let (what, wanted) = (["referrers", wanted], wanted.clone());
    let computed = preview
        .compute(&found, &what, move |source, out| write_referrers(&source, &wanted, out).map(|()| String::new()))?;
    found.headers.push(("OCI-Filters-Applied", "artifactType".into()));
    Ok(found.with(computed))
}

/// Writes the referrers with one artifact type.
fn write_referrers(source: &Source, wanted: &str, out: &mut dyn Write) -> io::Result<()> {
    const TYPES: &[Step] = &[Step::Key(&["manifests"]), Step::Element, Step::Key(&["artifactType"])];
    /// The depth of an entry.
    const ENTRY: usize = 2;
    let empty = registry::image_index(vec![]);
    let mut list = List::begin(&empty, out)?;
    let (mut position, mut start, mut is_wanted) = (0, 0, false);
    scan(source.clone(), TYPES, |part| {
        match part {
            Part::Text(text) => position += text.len() as u64,
            Part::Match(token) => {
                position += token.len() as u64;
                is_wanted = json::parse_string(token).is_some_and(|found| found == wanted);
            }
            Part::Begin(ENTRY) => (start, is_wanted) = (position, false),
            Part::End(ENTRY) if is_wanted => source.copy(start, position, list.next()?)?,
            Part::Begin(_) | Part::End(_) => {}
        }
        Ok(())
    })?;
    list.end()
}

fn unknown(code: &'static str, message: &str) -> Refusal {
    Refusal::Registry { status: 404, code, message: message.into() }
}

/// The error for the part of a path that violates the grammar.
fn invalid(path: &str) -> Refusal {
    let last = path.rsplit('/').next().unwrap_or_default();
    let refuse = |status, code, message: String| Refusal::Registry { status, code, message };
    let before = ["/manifests/", "/blobs/", "/tags/", "/referrers/"].iter().find_map(|part| path.rsplit_once(part));
    match before {
        _ if SitePath::new(path).is_err() => refuse(400, "NAME_INVALID", "the path is malformed".into()),
        None => refuse(404, "UNSUPPORTED", "there is no such endpoint".into()),
        Some((name, _)) if !name.strip_prefix("v2/").is_some_and(registry::is_name) => {
            refuse(400, "NAME_INVALID", "the repository's name breaks the grammar".into())
        }
        Some(_) if last.contains(':') => refuse(400, "DIGEST_INVALID", format!("{last} is not a digest")),
        Some(_) => refuse(404, "MANIFEST_UNKNOWN", format!("{last} is neither a tag nor a digest")),
    }
}
