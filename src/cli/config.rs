//! `ocisite.toml`: the options of `ocisite publish` in a file.
//!
//! Relative paths are relative to the file, so that it works from any directory.

#![allow(clippy::disallowed_methods, reason = "the configuration is a file that the user names")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::origin::parse_origin;
use crate::publish::Input;
use crate::publish::input::split_reference;
use crate::site::Preset;
use crate::store::directory::LinkMode;
use crate::store::{Location, LocationError};
use oci_discovery::name::{ImageName, NameError};

/// The file that `ocisite publish` reads if its arguments name no images.
pub const DEFAULT_FILE: &str = "ocisite.toml";

/// The content of the file. Every key is an option of `ocisite publish` by the same name.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The file that this was read from.
    #[serde(skip)]
    path: PathBuf,
    /// A directory, or the URL of a bucket.
    pub site: Option<String>,
    pub host: Option<String>,
    pub preset: Option<Preset>,
    pub index_template: Option<String>,
    pub cas_template: Option<String>,
    /// The path on the host below which a new site is.
    pub base_path: Option<String>,
    #[serde(default)]
    pub root_per_host: bool,
    #[serde(default)]
    pub registry: bool,
    pub catalogue: Option<bool>,
    pub template_dir: Option<PathBuf>,
    pub link: Option<LinkMode>,
    #[serde(default)]
    pub allow_missing: bool,
    /// Directories, or URLs of buckets, by origin.
    #[serde(default)]
    pub store: BTreeMap<String, String>,
    #[serde(default)]
    pub folders: Vec<PathBuf>,
    /// Images by name.
    #[serde(default, rename = "image")]
    pub images: Vec<ImageConfig>,
}

/// One `[[image]]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImageConfig {
    /// The image name, with a fragment to publish under that ref.
    pub name: String,
    /// The layout, `PATH[:REF]`.
    pub layout: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or a value of a wrong type.
    #[error("the configuration {} is invalid at line {line}: {problem}", .path.display())]
    Form {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// An unknown key.
    #[error("the configuration {} has the unknown key {key:?}{}", .path.display(), suggestion(.nearest))]
    UnknownKey {
        path: PathBuf,
        key: String,
        /// A known key that looks like it.
        nearest: Option<&'static str>,
    },
    /// A malformed location.
    #[error("the configuration {} has a malformed location in {key:?}", .path.display())]
    Location {
        path: PathBuf,
        key: &'static str,
        #[source]
        source: LocationError,
    },
    /// A key of `[store]` is not an origin.
    #[error("the configuration {} has an invalid [store]: {problem}", .path.display())]
    Store { path: PathBuf, problem: String },
    /// An image name is malformed.
    #[error("the configuration {} has a malformed image name", .path.display())]
    Name {
        path: PathBuf,
        #[source]
        source: NameError,
    },
}

fn suggestion(nearest: &Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest:?}?"),
        None => format!("; known keys are {}", KEYS.join(", ")),
    }
}

const KEYS: [&str; 15] = [
    "site",
    "host",
    "preset",
    "index-template",
    "cas-template",
    "base-path",
    "root-per-host",
    "registry",
    "catalogue",
    "template-dir",
    "link",
    "allow-missing",
    "store",
    "folders",
    "image",
];
const IMAGE_KEYS: [&str; 2] = ["name", "layout"];

/// The lowest similarity (Jaro-Winkler, 1 is equality) that is suggested.
const MIN_SIMILARITY: f64 = 0.75;

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config = Config::parse(path, &text)?;
        config.path = path.into();
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        // Its own message has several lines, with the file's text in them.
        let wrong = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let (line, problem) = (before.matches('\n').count() + 1, error.message().to_string());
            ConfigError::Form { path: path.into(), line, problem }
        };
        let table: toml::Table = toml::from_str(text).map_err(wrong)?;
        let images = table.get("image").and_then(toml::Value::as_array).into_iter().flatten();
        let image_keys = images.filter_map(toml::Value::as_table).flat_map(toml::Table::keys);
        let unknown = |key: &String, known: &[&'static str]| ConfigError::UnknownKey {
            path: path.into(),
            key: key.clone(),
            nearest: nearest(key, known),
        };
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(unknown(key, &KEYS));
        }
        if let Some(key) = image_keys.into_iter().find(|key| !IMAGE_KEYS.contains(&key.as_str())) {
            return Err(unknown(key, &IMAGE_KEYS));
        }
        toml::from_str(text).map_err(wrong)
    }

    /// The site.
    pub fn location(&self) -> Result<Option<Location>, ConfigError> {
        self.site.as_deref().map(|site| location(&self.path, "site", site)).transpose()
    }

    /// The stores of other origins, by the normal form of the origin.
    pub fn stores(&self) -> Result<BTreeMap<String, Location>, ConfigError> {
        let store = |(origin, text): (&String, &String)| {
            let wrong = |problem| ConfigError::Store { path: self.path.clone(), problem };
            Ok((parse_origin(origin).map_err(wrong)?, location(&self.path, "store", text)?))
        };
        self.store.iter().map(store).collect()
    }

    fn resolve_paths(&mut self, base: &Path) {
        self.template_dir = self.template_dir.take().map(|directory| base.join(directory));
        self.folders.iter_mut().for_each(|folder| *folder = base.join(&*folder));
    }

    /// The images and folders to publish.
    pub fn inputs(&self, path: &Path) -> Result<Vec<Input>, ConfigError> {
        let mut inputs: Vec<Input> = self.folders.iter().cloned().map(Input::Folder).collect();
        for image in &self.images {
            let name =
                ImageName::parse(&image.name).map_err(|source| ConfigError::Name { path: path.into(), source })?;
            let (layout, reference) = split_reference(path.parent().unwrap_or(Path::new("")), &image.layout);
            inputs.push(Input::Image { name, layout, reference });
        }
        Ok(inputs)
    }
}

/// The TOML parser must not read it, because its messages repeat the line, and a URL may contain a secret.
fn location(config: &Path, key: &'static str, text: &str) -> Result<Location, ConfigError> {
    let location =
        Location::parse(text).map_err(|source| ConfigError::Location { path: config.into(), key, source })?;
    Ok(location.relative_to(config.parent().unwrap_or(Path::new(""))))
}

fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let similarity = |known: &&'static str| strsim::jaro_winkler(key, known);
    let best = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) >= MIN_SIMILARITY).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let message = |text: &str| Config::parse(Path::new("ocisite.toml"), text).unwrap_err().to_string();
        assert!(message("indx-template = 'x'").contains("did you mean \"index-template\"?"));
        assert!(message("[[image]]\nname='a/b'\nlayuot='x'").contains("did you mean \"layout\"?"));
        assert!(message("zzz = 1").contains("known keys are site, host"));
    }

    #[test]
    fn the_list_of_keys_is_what_the_struct_reads() {
        let text = "site='s'\nhost='h'\npreset='cas'\nindex-template='i'\ncas-template='c'\nbase-path='/b'\nroot-per-host=true\nregistry=true\ncatalogue=false\n\
                    template-dir='t'\nlink='hard'\nallow-missing=true\nfolders=[]\n[store]\n[[image]]\nname='n'\nlayout='l'\n";
        let config = Config::parse(Path::new("ocisite.toml"), text).unwrap();
        assert_eq!(config.images.len(), 1);
        assert_eq!(
            text.lines().filter(|line| !line.starts_with("name") && !line.starts_with("layout")).count(),
            KEYS.len()
        );
    }
}
