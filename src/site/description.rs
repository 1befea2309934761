//! `ocisite.json`: a site's description of itself, so that later commands need no flags.

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

/// The version of the document that this program writes, and the newest one that it reads.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub settings: Settings,
    /// The names of the site's images, sorted, each once, without fragments.
    pub images: Vec<ImageName>,
}

#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("not a site description")]
    Form(#[source] serde_json::Error),
    #[error("version {found}, and this ocisite supports versions up to {VERSION}; use a newer ocisite")]
    Version { found: u64 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescriptionDocument<I = Vec<ImageName>> {
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

impl<I: DeserializeOwned> DescriptionDocument<I> {
    fn parse(bytes: &[u8]) -> Result<(Settings, I), DescriptionError> {
        let document: DescriptionDocument<I> = match json::parse_as(bytes, json::MAX_LIST_BYTES) {
            Ok(document) => document,
            // Parsed again only for the message, and not as a tree of values: a tree of small values takes many times
            // the memory of its text.
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
        let DescriptionDocument { hosts, index_template, cas_template, origins, views, images, .. } = document;
        Ok((Settings { hosts, index_template, cas_template, origins, views }, images))
    }
}

/// The settings in a description. Its names, which may be very many, are not kept.
pub fn settings(bytes: &[u8]) -> Result<Settings, DescriptionError> {
    DescriptionDocument::<IgnoredAny>::parse(bytes).map(|(settings, _)| settings)
}

/// The version of a document.
#[derive(Deserialize)]
struct Version {
    ocisite: Option<u64>,
}

/// The subset of `images` that a description lists. None: it cannot be read. The description is streamed, so its size
/// does not matter.
#[allow(clippy::disallowed_methods, reason = "what is parsed is not kept")]
pub fn listed_of<'a>(text: impl Read, images: impl Iterator<Item = &'a ImageName>) -> Option<HashSet<&'a ImageName>> {
    let mut search = Search { unlisted: images.collect(), listed: HashSet::new() };
    let mut parser = serde_json::Deserializer::from_reader(BufReader::new(text));
    parser.deserialize_map(&mut search).ok()?;
    parser.end().ok()?;
    Some(search.listed)
}

/// The images to look for in a description.
struct Search<'a> {
    unlisted: HashSet<&'a ImageName>,
    listed: HashSet<&'a ImageName>,
}

/// Streams the description, and the array of names in it.
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
    pub fn parse(bytes: &[u8]) -> Result<Description, DescriptionError> {
        let (settings, mut images) = DescriptionDocument::<Vec<ImageName>>::parse(bytes)?;
        // Users may have edited the document.
        images.sort_unstable();
        images.dedup();
        Ok(Description { settings, images })
    }

    /// The canonical bytes of the document.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Settings { hosts, index_template, cas_template, origins, views } = self.settings.clone();
        let images = self.images.clone();
        let document =
            DescriptionDocument { ocisite: VERSION, hosts, index_template, cas_template, origins, views, images };
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
