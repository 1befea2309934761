//! The local configuration: ref-engines objects by regular expression, `application/vnd.oci.regexp-ref-engines.v1+json`
//! (xdg-ref-engine-discovery).
//!
//! | rule | section | function |
//! | --- | --- | --- |
//! | the files | "XDG representation"; XDG Base Directory Specification | [`paths`] |
//! | the most preferred file's value counts, whole | "XDG representation" | `merge` |
//! | the longest key first, ties in the POSIX locale's order | "Regexp ref-engines objects" | `by_preference` |
//! | keys are POSIX extended regular expressions | "Regexp ref-engines objects" | `ere::compile` |
//! | all matching keys count | "Regexp ref-engines objects" | [`Configuration::matching`] |

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};
use url::Url;

use super::engine::Engine;
use super::ere;
use super::ref_engines::RefEngines;
use super::remark::{Remark, Remarks};
use crate::error::chain;
use crate::json::{self, MAX_MANIFEST_BYTES};

/// The path of the file below each base directory (xdg-ref-engine-discovery, "XDG representation").
const FILE: &str = "oci-discovery/ref-engine-discovery.json";

/// The merged configuration.
///
/// ```
/// use std::path::PathBuf;
/// use oci_discovery::discovery::Remarks;
/// use oci_discovery::discovery::xdg::Configuration;
///
/// let file = br#"{
///     "^[^/]*example[.]com/.*$": {"refEngines": [{"protocol": "oci-index-template-v1", "uri": "https://mirror.example.net/{name}"}]}
/// }"#;
/// let paths = [PathBuf::from("/etc/xdg/oci-discovery/ref-engine-discovery.json")];
/// let configuration = Configuration::read(&paths, |_| Ok(&file[..]));
/// assert_eq!(configuration.matching("a.example.com/app#1.0", &mut Remarks::default()).len(), 1);
/// assert!(configuration.matching("example.org/app", &mut Remarks::default()).is_empty());
/// assert!(configuration.hosts().contains("mirror.example.net"));
/// ```
#[derive(Debug, Default)]
pub struct Configuration {
    /// The keys, in the order of preference.
    keys: Vec<Key>,
    /// The faults of the files.
    pub remarks: Remarks,
}

#[derive(Clone, Debug)]
struct Key {
    /// The key as written.
    text: String,
    expression: Regex,
    /// The URI of the value's file.
    uri: Url,
    value: Value,
}

impl Configuration {
    /// The hosts in the templates of the engines.
    pub fn hosts(&self) -> BTreeSet<String> {
        let objects =
            self.keys.iter().filter_map(|key| RefEngines::read(&key.uri, &key.value, &mut Remarks::default()).ok());
        let of_object = |object: RefEngines| {
            let engines = object.ref_engines.iter().chain(&*object.cas_engines);
            engines.filter_map(Engine::literal_host).collect::<Vec<_>>()
        };
        objects.flat_map(of_object).collect()
    }

    /// Reads and merges files, the most preferred first; `open` opens a file. Missing files are skipped, faults become
    /// remarks.
    pub fn read<R: Read>(paths: &[PathBuf], open: impl Fn(&Path) -> io::Result<R>) -> Configuration {
        let mut remarks = Remarks::default();
        let mut files = Vec::new();
        for path in paths {
            match read_file(path, &open) {
                Ok(Some((uri, object))) => files.push((path, uri, object)),
                Ok(None) => {}
                Err(problem) => remarks.push(Remark::Configuration { path: path.clone(), problem }),
            }
        }
        let mut keys = Vec::new();
        for (text, Source { path, uri, value }) in by_preference(merge(files)) {
            match ere::compile(&text) {
                Ok(expression) => keys.push(Key { text, expression, uri, value }),
                Err(error) => {
                    remarks.push(Remark::ConfigurationKey { path: path.clone(), problem: error.to_string() });
                }
            }
        }
        Configuration { keys, remarks }
    }

    /// The ref-engines objects of all keys that match the whole `name`, in the order of preference
    /// (xdg-ref-engine-discovery, "Regexp ref-engines objects").
    pub fn matching(&self, name: &str, remarks: &mut Remarks) -> Vec<RefEngines> {
        let mut objects = Vec::new();
        for key in self.keys.iter().filter(|key| key.expression.is_match(name)) {
            match RefEngines::read(&key.uri, &key.value, remarks) {
                Ok(object) => objects.push(object),
                Err(source) => remarks.push(Remark::EngineForm {
                    uri: Arc::new(key.uri.clone()),
                    place: format!("the value of {:?}", key.text),
                    source,
                }),
            }
        }
        objects
    }
}

/// The content of a file: ref-engines objects by regular expression.
type Content = Map<String, Value>;

/// The value of a key, and the file that has it.
struct Source<'a> {
    path: &'a PathBuf,
    uri: Url,
    value: Value,
}

/// Merges files, the most preferred first: for each key, the value of the most preferred file that has the key counts,
/// whole (xdg-ref-engine-discovery, "XDG representation").
fn merge(files: Vec<(&PathBuf, Url, Content)>) -> BTreeMap<String, Source<'_>> {
    let mut merged = BTreeMap::new();
    for (path, uri, content) in files {
        for (key, value) in content {
            merged.entry(key).or_insert_with(|| Source { path, uri: uri.clone(), value });
        }
    }
    merged
}

/// Orders keys by preference: the longest first, keys of equal length as the POSIX locale sorts them, by their bytes
/// (xdg-ref-engine-discovery, "Regexp ref-engines objects").
fn by_preference(merged: BTreeMap<String, Source<'_>>) -> Vec<(String, Source<'_>)> {
    let mut keys: Vec<_> = merged.into_iter().collect();
    // A stable sort keeps keys of equal length in the order of their bytes, which is the order of the map.
    keys.sort_by_key(|(key, _)| std::cmp::Reverse(key.chars().count()));
    keys
}

/// The URI and the content of a file; none if the file is missing.
fn read_file<R: Read>(path: &Path, open: impl Fn(&Path) -> io::Result<R>) -> Result<Option<(Url, Content)>, String> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let uri = Url::from_file_path(path).map_err(|()| "its path is not absolute".to_string())?;
    let bytes = json::read_bounded(file, MAX_MANIFEST_BYTES);
    match bytes.and_then(|bytes| json::parse(&bytes)) {
        Ok(Value::Object(object)) => Ok(Some((uri, object))),
        Ok(other) => Err(format!("expected a JSON object, found {}", json::type_name(&other))),
        Err(error) => Err(chain(&error)),
    }
}

/// The environment variables of the base directories (XDG Base Directory Specification, "Environment variables").
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment<'a> {
    /// `HOME`.
    pub home: Option<&'a OsStr>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<&'a OsStr>,
    /// `XDG_CONFIG_DIRS`.
    pub config_dirs: Option<&'a OsStr>,
}

/// The files to read, the most preferred first (xdg-ref-engine-discovery, "XDG representation"). An empty variable
/// counts as unset, and relative paths are skipped (XDG Base Directory Specification, "Environment variables" and
/// "Basics").
///
/// ```
/// use std::ffi::OsStr;
/// use oci_discovery::discovery::xdg::{Environment, paths};
///
/// let environment = Environment { home: Some(OsStr::new("/home/me")), ..Environment::default() };
/// let found: Vec<_> = paths(environment).iter().map(|path| path.display().to_string()).collect();
/// assert_eq!(found[0], "/home/me/.config/oci-discovery/ref-engine-discovery.json");
/// assert_eq!(found[1], "/etc/xdg/oci-discovery/ref-engine-discovery.json");
/// ```
pub fn paths(environment: Environment<'_>) -> Vec<PathBuf> {
    let set = |value: Option<&OsStr>| value.filter(|value| !value.is_empty()).map(OsStr::to_owned);
    let default_home = || set(environment.home).map(|home| Path::new(&home).join(".config").into_os_string());
    let home = set(environment.config_home).or_else(default_home);
    let dirs = set(environment.config_dirs).unwrap_or_else(|| "/etc/xdg".into());
    let directories = home.map(PathBuf::from).into_iter().chain(std::env::split_paths(&dirs));
    directories.filter(|directory| directory.is_absolute()).map(|directory| directory.join(FILE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Reads files that are there only in this test, by path and content.
    fn read(files: &[(&str, String)], paths: &[&str]) -> Configuration {
        let open = |path: &Path| {
            let file = files.iter().find(|(known, _)| Path::new(known) == path);
            file.map(|(_, content)| content.as_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        Configuration::read(&paths.iter().map(PathBuf::from).collect::<Vec<_>>(), open)
    }

    fn object(template: &str) -> Value {
        json!({"refEngines": [{"protocol": "oci-index-template-v1", "uri": template}]})
    }

    fn templates(configuration: &Configuration, name: &str) -> Vec<String> {
        let objects = configuration.matching(name, &mut Remarks::default());
        let engines = objects.iter().flat_map(|object| &object.ref_engines);
        engines.map(|engine| engine.config.get("uri").unwrap().as_str().unwrap().to_string()).collect()
    }

    #[test]
    fn all_matching_keys_are_used_the_longest_first_and_ties_by_bytes() {
        let content = json!({
            "^b": object("short"),
            "example[.]com": object("tie b"),
            "Example|e.*com": object("longest"),
            ".*example.com": object("tie a"),
            "other": object("no match"),
        });
        let configuration = read(&[("/a.json", content.to_string())], &["/a.json"]);
        assert_eq!(templates(&configuration, "b.example.com/app#1"), ["longest", "tie a", "tie b", "short"]);
    }

    #[test]
    fn the_most_preferred_file_s_value_wins_whole() {
        let preferred = json!({"a": {"casEngines": []}, "aa?": object("x")}).to_string();
        let other = json!({"a": object("hidden"), "a|b": object("y")}).to_string();
        let files = [("/a.json", preferred), ("/b.json", other)];
        let configuration = read(&files, &["/a.json", "/missing.json", "/b.json"]);
        assert_eq!(templates(&configuration, "a.example.com/a"), ["x", "y"]);
        assert!(configuration.remarks.is_empty());
    }

    #[test]
    fn broken_files_and_keys_are_remarked_on_and_the_rest_is_used() {
        let good = json!({"(": object("x"), "a": 7, "e": object("y")}).to_string();
        let files = [("/a.json", "{".into()), ("/b.json", "[]".into()), ("/c.json", good)];
        let configuration = read(&files, &["/a.json", "/b.json", "/c.json"]);
        let messages: Vec<String> = configuration.remarks.iter().map(ToString::to_string).collect();
        assert!(messages[0].contains("a.json") && messages[0].contains("invalid JSON"), "{}", messages[0]);
        assert!(messages[1].contains("found an array"), "{}", messages[1]);
        assert!(messages[2].contains("c.json") && messages[2].contains("not closed"), "{}", messages[2]);
        let mut remarks = Remarks::default();
        assert_eq!(configuration.matching("example.com/a", &mut remarks).len(), 1);
        assert!(remarks[0].to_string().contains("found a number"), "{}", remarks[0]);
    }

    #[test]
    fn paths_follow_the_xdg_specification() {
        let found = |home: Option<&str>, config_home: Option<&str>, config_dirs: Option<&str>| {
            let environment = Environment {
                home: home.map(OsStr::new),
                config_home: config_home.map(OsStr::new),
                config_dirs: config_dirs.map(OsStr::new),
            };
            let paths = paths(environment).into_iter().map(|path| path.display().to_string());
            paths.map(|path| path.replace("/oci-discovery/ref-engine-discovery.json", "")).collect::<Vec<_>>()
        };
        assert_eq!(found(Some("/home/me"), None, None), ["/home/me/.config", "/etc/xdg"]);
        assert_eq!(found(Some("/home/me"), Some(""), Some("")), ["/home/me/.config", "/etc/xdg"]);
        assert_eq!(found(None, Some("/c"), Some("/d:relative:/e")), ["/c", "/d", "/e"]);
        assert_eq!(found(None, None, None), ["/etc/xdg"]);
    }
}
