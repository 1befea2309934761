//! A strict consumer: it knows the protocols and nothing of this program.
//!
//! It goes from an image name to the last blob over HTTP, takes nothing for granted that the specifications do not promise,
//! and fails where a document or a header is not what they say. It dials the server under test whatever host a URI names,
//! as a test against an unpublished server must, and names that host in the request.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::Digest;
use url::Url;

use super::http::{Base, Response};

const REF_ENGINES: &str = "application/vnd.oci.ref-engines.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Everything that an image name leads to: bytes by digest, each checked.
pub type Blobs = BTreeMap<String, Vec<u8>>;

/// The consumer, with the server it dials.
pub struct Consumer<'a> {
    base: &'a Base,
}

/// A document and where it came from: relative references in it start there.
struct Document {
    value: Value,
    uri: Url,
}

impl<'a> Consumer<'a> {
    /// A consumer that dials this server.
    pub fn new(base: &'a Base) -> Consumer<'a> {
        Consumer { base }
    }

    /// Where the index of an image is.
    pub fn index_uri(&self, path: &str) -> Url {
        self.index_uri_of(path, None)
    }

    /// Where the index of an image, or of a ref of it, is.
    fn index_uri_of(&self, path: &str, fragment: Option<&str>) -> Url {
        let engines = self.discover();
        let template = engine(&engines.value["refEngines"], "oci-index-template-v1").expect("a ref engine");
        let image = format!("{}/{path}", self.base.host);
        let variables = [
            ("name", fragment.map_or(image.clone(), |fragment| format!("{image}#{fragment}"))),
            ("host", self.base.host.clone()),
            ("path", path.into()),
            ("fragment", fragment.unwrap_or_default().into()),
        ];
        engines.uri.join(&expand(template, &variables)).unwrap()
    }

    /// Where a blob is that an entry of an image's index describes.
    pub fn blob_uri(&self, path: &str, digest: &str) -> Url {
        let index = self.index(path, None);
        let entry = index.value["manifests"].as_array().unwrap().first().expect("an entry").clone();
        self.cas(&index, &entry)(digest)
    }

    /// Resolves an image name, and fetches everything below it.
    pub fn walk(&self, path: &str, fragment: Option<&str>) -> Blobs {
        let index = self.index(path, fragment);
        assert_eq!(index.value["schemaVersion"], 2);
        let entries = index.value["manifests"].as_array().expect("manifests");
        let selected = entries.iter().filter(|entry| match fragment {
            Some(fragment) => entry["annotations"][REF_NAME] == fragment,
            None => true,
        });
        let mut blobs = Blobs::new();
        for entry in selected {
            let uri = self.cas(&index, entry);
            self.fetch(entry, &uri, &mut blobs);
        }
        assert!(!blobs.is_empty(), "{path} {fragment:?} resolves to nothing");
        blobs
    }

    fn discover(&self) -> Document {
        let uri = format!("https://{}/.well-known/oci-host-ref-engines", self.base.host);
        self.document(Url::parse(&uri).unwrap(), REF_ENGINES)
    }

    fn index(&self, path: &str, fragment: Option<&str>) -> Document {
        self.document(self.index_uri_of(path, fragment), INDEX)
    }

    /// The CAS engine of an index entry: its own, or else its host's.
    fn cas(&self, index: &Document, entry: &Value) -> impl Fn(&str) -> Url + use<> {
        let (base, template) = match engine(&entry["casEngines"], "oci-cas-template-v1") {
            Some(template) => (index.uri.clone(), template.to_string()),
            None => {
                let engines = self.discover();
                let template = engine(&engines.value["casEngines"], "oci-cas-template-v1").expect("a CAS engine");
                (engines.uri.clone(), template.to_string())
            }
        };
        move |digest| {
            let (algorithm, encoded) = digest.split_once(':').unwrap();
            let variables = [("digest", digest.into()), ("algorithm", algorithm.into()), ("encoded", encoded.into())];
            base.join(&expand(&template, &variables)).unwrap()
        }
    }

    fn document(&self, uri: Url, media_type: &str) -> Document {
        let response = self.get(&uri, media_type);
        let (found, parameters) = response.expect("Content-Type").split_once(';').expect("a charset");
        assert_eq!((found, parameters.trim()), (media_type, "charset=utf-8"), "{uri}");
        Document { value: response.json(), uri }
    }

    fn fetch(&self, descriptor: &Value, uri: &dyn Fn(&str) -> Url, blobs: &mut Blobs) {
        let digest = descriptor["digest"].as_str().expect("a digest");
        if blobs.contains_key(digest) {
            return;
        }
        let media_type = descriptor["mediaType"].as_str().expect("a media type");
        let bytes = self.get(&uri(digest), media_type).body;
        assert_eq!(descriptor["size"], bytes.len(), "the size of {digest}");
        assert_eq!(digest_like(digest, &bytes), digest);
        blobs.insert(digest.into(), bytes.clone());
        for child in children(media_type, &bytes) {
            self.fetch(&child, uri, blobs);
        }
    }

    fn get(&self, uri: &Url, accept: &str) -> Response {
        assert!(matches!(uri.scheme(), "http" | "https"), "{uri}");
        let host = uri.host_str().unwrap();
        let response = self.base.request_to(host, "GET", uri.path(), &[("Accept", accept)]);
        assert_eq!(response.status, 200, "{uri}");
        assert_eq!(response.expect("Content-Length"), response.body.len().to_string(), "{uri}");
        response
    }
}

/// The template of the first engine that has the protocol.
fn engine<'a>(engines: &'a Value, protocol: &str) -> Option<&'a str> {
    engines.as_array()?.iter().find(|engine| engine["protocol"] == protocol)?["uri"].as_str()
}

/// The descriptors that a manifest holds and whose blobs have to be there: all but the subject.
fn children(media_type: &str, bytes: &[u8]) -> Vec<Value> {
    let fields: &[&str] = match media_type {
        INDEX | "application/vnd.docker.distribution.manifest.list.v2+json" => &["manifests"],
        "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json" => {
            &["config", "layers"]
        }
        _ => return vec![],
    };
    let document: Value = serde_json::from_slice(bytes).unwrap();
    let mut children = Vec::new();
    for field in fields {
        match &document[*field] {
            Value::Array(list) => children.extend(list.iter().cloned()),
            Value::Object(one) => children.push(Value::Object(one.clone())),
            _ => {}
        }
    }
    children
}

/// RFC 6570, as far as templates in use go: `{x}`, `{+x}`, `{/x}`, lists of variables, prefixes. Unknown variables expand to
/// nothing, as the RFC says; an operator beyond these fails the test.
pub fn expand(template: &str, variables: &[(&str, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        let (expression, after) = after.split_once('}').expect("a closing brace");
        expanded.push_str(literal);
        expanded.push_str(&expand_expression(expression, variables));
        rest = after;
    }
    expanded + rest
}

fn expand_expression(expression: &str, variables: &[(&str, String)]) -> String {
    let operator = expression.chars().next().filter(|first| !first.is_ascii_alphanumeric() && *first != '_');
    let (before, between, keeps_reserved) = match operator {
        None => ("", ",", false),
        Some('+') => ("", ",", true),
        Some('/') => ("/", "/", false),
        Some(other) => panic!("this consumer does not know the operator {other}"),
    };
    let names = expression.trim_start_matches(['+', '/']).split(',');
    let values = names.filter_map(|name| {
        let (name, length) = match name.split_once(':') {
            Some((name, length)) => (name, length.parse().unwrap()),
            None => (name, usize::MAX),
        };
        let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
        Some(encode(&value.chars().take(length).collect::<String>(), keeps_reserved))
    });
    let values: Vec<String> = values.collect();
    if values.is_empty() { String::new() } else { format!("{before}{}", values.join(between)) }
}

fn encode(value: &str, keeps_reserved: bool) -> String {
    let is_kept = |b: u8| {
        b.is_ascii_alphanumeric() || b"-._~".contains(&b) || (keeps_reserved && b":/?#[]@!$&'()*+,;=%".contains(&b))
    };
    value.bytes().map(|b| if is_kept(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The digest of bytes in the algorithm of another digest.
fn digest_like(digest: &str, bytes: &[u8]) -> String {
    match digest.split_once(':').unwrap().0 {
        "sha256" => format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes))),
        "sha512" => format!("sha512:{}", hex::encode(sha2::Sha512::digest(bytes))),
        "blake3" => format!("blake3:{}", blake3::hash(bytes)),
        other => panic!("this consumer does not know the algorithm {other}"),
    }
}
