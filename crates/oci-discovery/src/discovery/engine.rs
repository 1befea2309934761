//! Ref engines and CAS engines, as the documents list them (xdg-ref-engine-discovery, "Ref-engines objects"): a
//! `protocol` with its configuration, and the URI of the document, the base of relative references.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::error::EngineError;
use super::remark::{Remark, Remarks};
use super::url::is_web;
use crate::json::{self, JsonError, ValueText};
use crate::template::{Template, Variables};

/// The most engines of one list. A site has one or two; a longer list would let a site occupy a consumer.
const MAX_ENGINES: usize = 16;

/// One entry of `refEngines` or `casEngines`; serialized in the form of the Python resolver.
///
/// ```
/// use oci_discovery::discovery::Engine;
/// use oci_discovery::json::ValueText;
/// use oci_discovery::template::Variables;
/// use serde_json::json;
/// use std::sync::Arc;
///
/// let config = ValueText::from(&json!({"protocol": "oci-index-template-v1", "uri": "/index/{+path}"}));
/// let uri = "https://example.com/.well-known/oci-host-ref-engines".parse()?;
/// let engine = Engine { config, uri: Arc::new(uri) };
/// assert_eq!(engine.protocol(), "oci-index-template-v1");
/// let variables = Variables::new().with("path", "team/app");
/// assert_eq!(engine.expand(&variables)?.as_str(), "https://example.com/index/team/app");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Engine {
    /// The entry as read.
    pub config: ValueText,
    /// The URI of the document: a URL, or a `file` URI for a local configuration.
    #[serde(serialize_with = "as_text")]
    pub uri: Arc<Url>,
}

fn as_text<S: serde::Serializer>(uri: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(uri.as_str())
}

impl Engine {
    /// The protocol; empty if the entry has none, which [`read_list`] rejects.
    pub fn protocol(&self) -> String {
        match self.config.get("protocol") {
            Some(Value::String(protocol)) => protocol,
            _ => String::new(),
        }
    }

    /// The host of the engine's `uri`, if it has no variables.
    pub(super) fn literal_host(&self) -> Option<String> {
        let uri = self.config.get("uri")?;
        let text = uri.as_str()?;
        let (before, _) = text.split_once('{').unwrap_or((text, ""));
        let (_, rest) = before.split_once("://")?;
        let is_whole = before == text || rest.contains('/');
        Url::parse(before).ok().filter(|_| is_whole)?.host().map(|host| host.to_string())
    }

    /// The URL of the engine's `uri`, a template in both known protocols; see [`expand`].
    pub fn expand(&self, variables: &Variables) -> Result<Url, EngineError> {
        let uri = || (*self.uri).clone();
        let text = match self.config.get("uri") {
            Some(Value::String(text)) => text,
            other => {
                return Err(EngineError::NoTemplate {
                    uri: uri(),
                    found: other.as_ref().map_or("nothing", json::type_name),
                });
            }
        };
        let template = Template::parse(&text).map_err(|source| EngineError::Template { uri: uri(), source })?;
        expand(&template, &self.uri, variables)
    }
}

/// Expands a template and resolves the result against the URI of the document that has the template (index-template;
/// cas-template; RFC 3986, section 5).
///
/// ```
/// use oci_discovery::discovery::engine::expand;
/// use oci_discovery::template::{Template, Variables};
///
/// let (template, document) = (Template::parse("../blobs/{x}")?, "https://example.com/index/team/app".parse()?);
/// let url = expand(&template, &document, &Variables::new().with("x", "a b"))?;
/// assert_eq!(url.as_str(), "https://example.com/index/blobs/a%20b");
/// assert!(expand(&Template::parse("file:///etc/passwd")?, &document, &Variables::new()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The values do not fit the template, or the result is malformed or neither an http nor an https URL.
pub fn expand(template: &Template, document: &Url, variables: &Variables) -> Result<Url, EngineError> {
    let uri = || document.clone();
    let reference = template.expand(variables).map_err(|source| EngineError::Template { uri: uri(), source })?;
    let url = match document.join(&reference) {
        Ok(url) => url,
        Err(problem) => {
            let template = template.to_string();
            return Err(EngineError::NotAUrl { uri: uri(), template, reference, problem });
        }
    };
    match is_web(&url) {
        true => Ok(url),
        false => Err(EngineError::Scheme { uri: uri(), template: template.to_string(), url }),
    }
}

/// The engines in the list `list` of a document, of any protocol (xdg-ref-engine-discovery, "Ref-engines objects");
/// `found` is the value of that property. A missing list is empty. Malformed entries are skipped, with a remark;
/// entries of another protocol than `supported` are kept, with a remark, and the caller ignores them.
///
/// ```
/// use oci_discovery::discovery::Remarks;
/// use oci_discovery::discovery::engine::read_list;
/// use serde_json::json;
/// use std::sync::Arc;
///
/// let list = json!([{"protocol": "docker"}, {"uri": "/{path}"}]);
/// let (uri, mut remarks) = (Arc::new("https://example.com/".parse()?), Remarks::default());
/// let engines = read_list(Some(&list), "refEngines", "oci-index-template-v1", &uri, &mut remarks);
/// assert_eq!((engines[0].protocol().as_str(), engines.len(), remarks.len()), ("docker", 1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_list(
    found: Option<&Value>,
    list: &'static str,
    supported: &str,
    uri: &Arc<Url>,
    remarks: &mut Remarks,
) -> Vec<Engine> {
    let wrong = |place: String, expected: String, found| Remark::EngineForm {
        uri: uri.clone(),
        place,
        source: JsonError::Type { expected, found },
    };
    let entries = match found {
        None => return Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(other) => {
            remarks.push(wrong(format!("{list:?}"), "an array".into(), json::type_name(other)));
            return Vec::new();
        }
    };
    if entries.len() > MAX_ENGINES {
        let (uri, count) = (uri.clone(), entries.len());
        remarks.push(Remark::TooManyEngines { uri, list, count, limit: MAX_ENGINES });
    }
    let mut engines = Vec::new();
    for (position, entry) in entries.iter().take(MAX_ENGINES).enumerate() {
        let place = || format!("{list}[{position}]");
        if !entry.is_object() {
            remarks.push(wrong(place(), "an object".into(), json::type_name(entry)));
            continue;
        }
        match entry.get("protocol") {
            Some(Value::String(protocol)) => {
                engines.push(Engine { config: entry.into(), uri: uri.clone() });
                if protocol != supported {
                    let protocol = protocol.clone();
                    remarks.push(Remark::UnknownProtocol { uri: uri.clone(), list, position, protocol });
                }
            }
            other => {
                let found = other.map_or("nothing", json::type_name);
                remarks.push(wrong(place(), "\"protocol\" to be a string".into(), found));
            }
        }
    }
    engines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn engine(template: Value, base: &str) -> Engine {
        let config = json!({"protocol": "p", "uri": template});
        Engine { config: (&config).into(), uri: Arc::new(base.parse().unwrap()) }
    }

    fn expanded(template: &str, base: &str) -> Result<String, String> {
        let variables = Variables::new().with("path", "team/app").with("host", "example.com");
        let url = engine(template.into(), base).expand(&variables);
        url.map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn a_relative_template_is_resolved_against_its_document() {
        let base = "https://example.com/.well-known/oci-host-ref-engines";
        assert_eq!(expanded("/oci-index/{+path}", base).unwrap(), "https://example.com/oci-index/team/app");
        assert_eq!(expanded("../x/{path}", base).unwrap(), "https://example.com/x/team%2Fapp");
        assert_eq!(expanded("//cas.{host}/{+path}", base).unwrap(), "https://cas.example.com/team/app");
        assert_eq!(expanded("http://{host}:81/", base).unwrap(), "http://example.com:81/");
        assert_eq!(
            expanded("x", "file:///etc/xdg/c.json").unwrap_err().split(": ").last().unwrap(),
            "only http and https are fetched"
        );
    }

    #[test]
    fn what_gives_no_url_says_why() {
        let base = "https://example.com/";
        assert!(expanded("file:///{path}", base).unwrap_err().contains("only http and https"));
        assert!(expanded("https://{unknown}/", base).unwrap_err().contains("not a URL"));
        assert!(expanded("{/path", base).unwrap_err().contains("cannot be used"));
        let missing = engine(Value::Null, base).expand(&Variables::new()).unwrap_err();
        assert!(missing.to_string().contains("found null"), "{missing}");
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let entry = json!({"protocol": "p"});
        let object = json!({"refEngines": vec![entry; MAX_ENGINES + 1]});
        let (uri, mut remarks) = (Arc::new("https://example.com/".parse().unwrap()), Remarks::default());
        let engines = read_list(object.get("refEngines"), "refEngines", "p", &uri, &mut remarks);
        assert_eq!(engines.len(), MAX_ENGINES);
        assert!(matches!(remarks[..], [Remark::TooManyEngines { count, .. }] if count == MAX_ENGINES + 1));
    }

    #[test]
    fn unknown_and_malformed_entries_are_remarked_on() {
        let object =
            json!({"refEngines": [{"protocol": "docker"}, {"protocol": "p", "uri": "x"}, 7, {"protocol": 1}, {}]});
        let mut remarks = Remarks::default();
        let uri = Arc::new("https://example.com/".parse().unwrap());
        let engines = read_list(object.get("refEngines"), "refEngines", "p", &uri, &mut remarks);
        assert_eq!(engines.iter().map(Engine::protocol).collect::<Vec<_>>(), ["docker", "p"]);
        let messages: Vec<String> = remarks.iter().map(ToString::to_string).collect();
        assert!(messages[0].contains("docker"), "{}", messages[0]);
        assert!(messages[1].contains("refEngines[2]: expected an object, found a number"), "{}", messages[1]);
        assert!(messages[3].contains("found nothing"), "{}", messages[3]);
        assert_eq!(messages.len(), 4);
    }
}
