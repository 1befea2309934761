//! `ocisite.json`: what a site says of itself, so that a later publish, a verification or a copy needs no flags.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Settings;
use super::settings::Views;
use oci_discovery::json::{self, JsonError};
use oci_discovery::name::ImageName;
use oci_discovery::template::Template;

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
    #[error("is not a site description")]
    Form(#[source] serde_json::Error),
    /// Written by a newer program.
    #[error("has version {found}, and this ocisite supports versions up to {VERSION}; use a newer ocisite")]
    Version {
        /// The version it has.
        found: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<I = Vec<ImageName>> {
    ocisite: u32,
    hosts: Vec<String>,
    index_template: Template,
    cas_template: Template,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    origins: Vec<String>,
    #[serde(default, skip_serializing_if = "Views::is_none")]
    views: Views,
    images: I,
}

impl<I: DeserializeOwned> Document<I> {
    fn parse(bytes: &[u8]) -> Result<(Settings, I), DescriptionError> {
        let document: Document<I> = match json::parse_as(bytes, json::MAX_LIST_BYTES) {
            Ok(document) => document,
            // Parsed again only to say what it is instead, and never as a tree of values: a tree of small values takes many
            // times the memory of its text.
            Err(JsonError::Syntax(error)) => {
                let version: Result<Version, _> = json::parse_as(bytes, json::MAX_LIST_BYTES);
                return Err(match version.map(|version| version.ocisite) {
                    Ok(Some(found)) if found > VERSION.into() => DescriptionError::Version { found },
                    _ if error.is_data() => DescriptionError::Form(error),
                    _ => JsonError::Syntax(error).into(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        if document.ocisite > VERSION {
            return Err(DescriptionError::Version { found: document.ocisite.into() });
        }
        let Document { hosts, index_template, cas_template, origins, views, images, .. } = document;
        Ok((Settings { hosts, index_template, cas_template, origins, views }, images))
    }
}

/// The settings in a description. The names of images, of which there may be very many, are not kept.
pub fn settings(bytes: &[u8]) -> Result<Settings, DescriptionError> {
    Document::<IgnoredAny>::parse(bytes).map(|(settings, _)| settings)
}

/// The version of a document of any form.
#[derive(Deserialize)]
struct Version {
    ocisite: Option<u64>,
}

/// Those of `images` that a description lists. None: it cannot be read. The text goes by and no name is kept, so that it takes no
/// memory however many there are.
#[allow(clippy::disallowed_methods, reason = "what is parsed is not kept")]
pub fn listed_of<'a>(text: impl Read, images: impl Iterator<Item = &'a ImageName>) -> Option<HashSet<&'a ImageName>> {
    let mut search = Search { unlisted: images.collect(), listed: HashSet::new() };
    let mut parser = serde_json::Deserializer::from_reader(BufReader::new(text));
    parser.deserialize_map(&mut search).ok()?;
    parser.end().ok()?;
    Some(search.listed)
}

/// Images that are looked for in a description.
struct Search<'a> {
    unlisted: HashSet<&'a ImageName>,
    listed: HashSet<&'a ImageName>,
}

/// The description, and the array of names in it.
impl<'de> Visitor<'de> for &mut Search<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with an array of image names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut properties: A) -> Result<(), A::Error> {
        while let Some(property) = properties.next_key::<String>()? {
            match property == "images" {
                true => properties.next_value_seed(&mut *self)?,
                false => drop(properties.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<(), A::Error> {
        while let Some(name) = names.next_element::<ImageName>()? {
            self.listed.extend(self.unlisted.take(&name));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, names: D) -> Result<(), D::Error> {
        names.deserialize_seq(self)
    }
}

impl Description {
    /// Reads the document.
    pub fn parse(bytes: &[u8]) -> Result<Description, DescriptionError> {
        let (settings, mut images) = Document::<Vec<ImageName>>::parse(bytes)?;
        // Somebody may have edited it.
        images.sort_unstable();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_a_description_lists_are_found_in_its_text() {
        let names = ["example.com/a", "example.com/b"].map(|name| ImageName::parse(name).unwrap());
        let listed = |text: &str| listed_of(text.as_bytes(), names.iter()).map(|listed| listed.len());
        assert_eq!(
            listed(r#"{"ocisite": 1, "images": ["example.com/c", "example.com/a"], "views": {"images": []}}"#),
            Some(1)
        );
        assert_eq!(listed(r#"{"images": []}"#), Some(0));
        for unusable in ["", "[]", r#"{"images": [""]}"#, r#"{"images": {}}"#, r#"{"images": ["example.com/a"]"#] {
            assert_eq!(listed(unusable), None, "{unusable}");
        }
    }
}
