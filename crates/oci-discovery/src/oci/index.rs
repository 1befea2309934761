//! Image indexes (image-spec, image-index): the only parser for `index.json` of a layout, the index of a ref engine,
//! and the index of an image in a site.
//!
//! An index is untrusted and may have tens of thousands of entries, so the parser gives the text of one entry at
//! a time. A tree of JSON values takes ten times the memory of the text, and so does a list of very small entries.

#![allow(clippy::disallowed_methods, reason = "no values are made: entries and properties stay text")]

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Descriptor, DescriptorError};
use crate::json::{self, JsonError};

/// The most properties of an index besides `manifests`; image-spec has five. Each takes more memory than its text.
const MAX_PROPERTIES: usize = 256;

/// A parsed index, as text.
///
/// ```
/// use oci_discovery::oci::index::IndexText;
///
/// let text = br#"{"schemaVersion": 2, "manifests": [{"digest": "sha256:00", "size": 7}, 8]}"#;
/// let index = IndexText::parse(text)?;
/// assert_eq!(index.properties["schemaVersion"].get(), "2");
/// assert_eq!(index.entries().map(|entry| entry.get()).last(), Some("8"));
/// assert!(index.descriptors().all(|entry| entry.is_err()));
/// # Ok::<(), oci_discovery::json::JsonError>(())
/// ```
#[derive(Debug)]
pub struct IndexText<'a> {
    /// All properties but `manifests`.
    pub properties: BTreeMap<String, &'a RawValue>,
    manifests: &'a str,
}

/// Why an entry of an index is malformed.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Nested too deeply, or with too many values.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not a descriptor.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
}

impl<'a> IndexText<'a> {
    /// Parses an index (image-spec, image-index, "Image Index Property Descriptions").
    ///
    /// # Errors
    /// Not JSON, not an object, without an array `manifests`, or with more than 256 other properties.
    pub fn parse(bytes: &'a [u8]) -> Result<IndexText<'a>, JsonError> {
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let parsed = parser.deserialize_any(Properties).and_then(|parsed| parser.end().map(|()| parsed));
        let mut properties = match parsed {
            Ok(properties) => properties,
            Err(error) => return Err(not_an_object(bytes).unwrap_or(JsonError::Syntax(error))),
        };
        let no_array = |found| JsonError::Type { expected: "\"manifests\" to be an array".into(), found };
        let manifests = properties.remove("manifests").ok_or_else(|| no_array("nothing"))?.get();
        match manifests.starts_with('[') {
            true => Ok(IndexText { properties, manifests }),
            false => Err(no_array(json::type_of_text(manifests))),
        }
    }

    /// The entries in order, of any type.
    pub fn entries(&self) -> Entries<'a> {
        Entries { rest: self.manifests.strip_prefix('[').unwrap_or_default() }
    }

    /// The entries in order, each a descriptor or an error.
    pub fn descriptors(&self) -> impl Iterator<Item = Result<Descriptor, EntryError>> + use<'a> {
        self.entries().map(|entry| descriptor(entry.get()))
    }
}

/// The descriptors of a small index.
///
/// ```
/// use oci_discovery::oci::index::descriptors;
///
/// assert!(descriptors(br#"{"manifests": []}"#)?.is_empty());
/// assert!(descriptors(br#"{"manifests": [7]}"#).is_err());
/// # Ok::<(), oci_discovery::oci::index::EntryError>(())
/// ```
///
/// # Errors
/// The index is malformed, or one of its entries.
pub fn descriptors(bytes: &[u8]) -> Result<Vec<Descriptor>, EntryError> {
    IndexText::parse(bytes)?.descriptors().collect()
}

/// Reads the text of an entry; see [`IndexText::entries`].
pub fn descriptor(entry: &str) -> Result<Descriptor, EntryError> {
    Ok(Descriptor::from_value(json::parse(entry.as_bytes())?)?)
}

/// The error for JSON of another type than an object; None if the JSON itself, or the object, is malformed.
fn not_an_object(bytes: &[u8]) -> Option<JsonError> {
    json::parse_as::<IgnoredAny>(bytes, u64::MAX).ok()?;
    let found = json::type_of_text(std::str::from_utf8(bytes).ok()?);
    (found != "an object").then(|| JsonError::Type { expected: "the index to be an object".into(), found })
}

struct Properties;

impl<'de> Visitor<'de> for Properties {
    type Value = BTreeMap<String, &'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an image index (an object)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut properties = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            properties.insert(key, value);
            if properties.len() > MAX_PROPERTIES {
                return Err(A::Error::custom(format!("an index has more than {MAX_PROPERTIES} properties")));
            }
        }
        Ok(properties)
    }
}

/// An iterator over the text of an index's entries.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    /// The rest of the array. The array was parsed once, so its JSON is valid.
    rest: &'a str,
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a RawValue;

    fn next(&mut self) -> Option<&'a RawValue> {
        let rest = self.rest.trim_start_matches([',', ' ', '\t', '\r', '\n']);
        let mut parser = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let entry = parser.next().filter(|_| !rest.starts_with(']'))?.ok()?;
        self.rest = &rest[parser.byte_offset()..];
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(bytes: &[u8]) -> String {
        match IndexText::parse(bytes).unwrap_err() {
            JsonError::Syntax(error) => format!("syntax: {error}"),
            other => other.to_string(),
        }
    }

    #[test]
    fn what_is_no_index_is_told() {
        assert!(message(b" []").contains("found an array"));
        assert!(message(b"7").contains("found a number"));
        assert!(message(b"{}").contains("found nothing"));
        assert!(message(br#"{"manifests": {}}"#).contains("\"manifests\" to be an array, found an object"));
        for wrong in [&b"{"[..], b"", b"{} x", b"[1", &b"[".repeat(60_000), br#"{"manifests": [1,]}"#, b"{\"a\": \xff}"]
        {
            assert!(message(wrong).starts_with("syntax"), "{wrong:?}");
        }
    }

    #[test]
    fn entries_are_handed_out_as_they_are() {
        let index = IndexText::parse(br#"{"a": 1, "manifests": [ 1 ,{"x":[2, 3]}, "],", [], null,-0.5e3 ], "b": "c"}"#)
            .unwrap();
        let entries: Vec<&str> = index.entries().map(RawValue::get).collect();
        assert_eq!(entries, ["1", r#"{"x":[2, 3]}"#, r#""],""#, "[]", "null", "-0.5e3"]);
        assert_eq!(index.properties.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(IndexText::parse(br#"{"manifests":[]}"#).unwrap().entries().next().is_none());
    }

    #[test]
    fn nesting_without_end_is_refused_where_it_is_read() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        let text = format!(r#"{{"x": {deep}, "manifests": [{deep}]}}"#);
        let index = IndexText::parse(text.as_bytes()).unwrap();
        assert!(matches!(index.descriptors().next(), Some(Err(EntryError::Json(_)))));
    }

    #[test]
    fn properties_without_end_are_refused() {
        let index = |count: usize| {
            let properties: Vec<String> = (0..count).map(|number| format!(r#""{number}":0"#)).collect();
            format!(r#"{{"manifests":[],{}}}"#, properties.join(","))
        };
        assert!(IndexText::parse(index(MAX_PROPERTIES - 1).as_bytes()).is_ok());
        assert!(message(index(MAX_PROPERTIES + 1).as_bytes()).contains("more than 256 properties"));
    }

    proptest! {
        #[test]
        fn entries_are_those_of_the_array(values in prop::collection::vec("[a-z\\]\\[,\" {}]{0,6}", 0..8)) {
            let document = serde_json::json!({"manifests": values});
            for text in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
                let index = IndexText::parse(text.as_bytes()).unwrap();
                let read: Vec<String> =
                    index.entries().map(|entry| serde_json::from_str(entry.get()).unwrap()).collect();
                prop_assert_eq!(&read, &values);
            }
        }
    }
}
