//! `ocisite.json`: what a site says of itself, so that a later publish, a verification or a copy needs no flags.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Settings;
use super::settings::Views;
use crate::json::{self, JsonError};
use crate::name::ImageName;
use crate::template::Template;

/// The version of the document's form that this program writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// The content of `ocisite.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The site's settings.
    pub settings: Settings,
    /// The names of the images it serves, sorted, each once, without fragments.
    pub images: Vec<ImageName>,
}

/// Why an `ocisite.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// Not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON of another form.
    #[error("is not what ocisite writes")]
    Form(#[source] serde_json::Error),
    /// Written by a newer program.
    #[error("has version {found}: this ocisite knows versions up to {VERSION}; use a newer ocisite")]
    Version {
        /// The version it has.
        found: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    ocisite: u32,
    hosts: Vec<String>,
    index_template: Template,
    cas_template: Template,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    origins: Vec<String>,
    #[serde(default, skip_serializing_if = "Views::is_none")]
    views: Views,
    images: Vec<ImageName>,
}

impl Description {
    /// Reads the document.
    pub fn parse(bytes: &[u8]) -> Result<Description, DescriptionError> {
        let is_newer = |found: &u64| *found > VERSION.into();
        let document: Document = match serde_json::from_slice(bytes) {
            Ok(document) => document,
            // Parsed again only to say what it is instead: there may be many images, and each publish reads them all.
            Err(error) => {
                let found = json::parse(bytes)?.get("ocisite").and_then(Value::as_u64).filter(is_newer);
                return Err(found.map_or(DescriptionError::Form(error), |found| DescriptionError::Version { found }));
            }
        };
        if let Some(found) = Some(document.ocisite.into()).filter(is_newer) {
            return Err(DescriptionError::Version { found });
        }
        let settings = Settings {
            hosts: document.hosts,
            index_template: document.index_template,
            cas_template: document.cas_template,
            origins: document.origins,
            views: document.views,
        };
        let mut images = document.images;
        // Somebody may have edited it.
        images.sort();
        images.dedup();
        Ok(Description { settings, images })
    }

    /// The canonical bytes of the document.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Settings { hosts, index_template, cas_template, origins, views } = self.settings.clone();
        let images = self.images.clone();
        let document = Document { ocisite: VERSION, hosts, index_template, cas_template, origins, views, images };
        // Plain strings and numbers: a struct of them always becomes JSON, and through Value its keys are sorted.
        json::canonical(&document)
    }
}
