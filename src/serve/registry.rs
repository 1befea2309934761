//! The registry view as the preview serves it: the files of [`crate::site::registry`], and the few things that need a
//! program, because they depend on a query: `n`, `last` and `artifactType`.

use serde_json::Value;
use url::form_urlencoded;

use super::respond::{Body, Preview, Refusal, Representation, content_etag};
use crate::digest::{Algorithm, Digest};
use crate::json::{self, MAX_INDEX_BYTES};
use crate::site::registry::{self, Endpoint};
use crate::site::{Kind, SitePath};

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
        // Names that exist for servers to look up, not for clients to ask for.
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
            match &*key {
                "n" => query.n = value.parse().ok(),
                "last" => query.last = Some(value.into_owned()),
                "artifactType" => query.artifact_type = Some(value.into_owned()),
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
        Ok(digest) => digest,
        Err(_) => {
            let bytes = read(&mut found)?;
            let digest = Digest::of(Algorithm::Sha256, &bytes);
            found.body = Body::Bytes(bytes);
            digest
        }
    };
    found.etag = format!("\"{digest}\"");
    found.headers.push(("Docker-Content-Digest", digest.to_string()));
    Ok(found)
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
    let document = json::parse(&read(&mut found)?).unwrap_or_default();
    let all = document.get("tags").and_then(Value::as_array);
    let mut tags: Vec<&str> = all.into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(last) = &query.last {
        tags.retain(|tag| *tag > last.as_str());
    }
    if let Some(n) = query.n.filter(|n| *n < tags.len()) {
        tags.truncate(n);
        if let Some(last) = tags.last() {
            let link = format!("</v2/{name}/tags/list?n={n}&last={last}>; rel=\"next\"");
            found.headers.push(("Link", link));
        }
    }
    Ok(in_memory(found, registry::tags_list(name, &tags)))
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
    let document = json::parse(&read(&mut found)?).unwrap_or_default();
    let all = document.get("manifests").and_then(Value::as_array);
    let matching =
        all.into_iter().flatten().filter(|entry| entry.get("artifactType").and_then(Value::as_str) == Some(wanted));
    found.headers.push(("OCI-Filters-Applied", "artifactType".into()));
    Ok(in_memory(found, registry::image_index(matching.cloned().collect())))
}

fn in_memory(found: Representation, bytes: Vec<u8>) -> Representation {
    Representation { etag: content_etag(&bytes), body: Body::Bytes(bytes), ..found }
}

fn read(found: &mut Representation) -> Result<Vec<u8>, Refusal> {
    match &mut found.body {
        Body::Bytes(bytes) => Ok(std::mem::take(bytes)),
        Body::File { file, .. } => json::read_bounded(file, MAX_INDEX_BYTES)
            .map_err(|error| Refusal::Read(std::io::Error::other(error.to_string()))),
    }
}

fn unknown(code: &'static str, message: &str) -> Refusal {
    Refusal::Registry { status: 404, code, message: message.into() }
}

/// Says which part of a path breaks the grammar.
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
        Some(_) if last.contains(':') => refuse(400, "DIGEST_INVALID", format!("{last} is no digest")),
        Some(_) => refuse(404, "MANIFEST_UNKNOWN", format!("{last} is neither a tag nor a digest")),
    }
}
