//! The list of all images as it lies there, read no further than a publish needs.
//!
//! A site may have ten thousand images, of which a publish changes one, and mostly not what the list shows of it. So only names
//! are read, and whether the list has a row is found out by comparing bytes. It is parsed when it has to change.

use std::ops::Range;

use serde::Deserialize;

use super::VERSION;
use super::document::{ListDocument, Row};
use oci_discovery::json;
use oci_discovery::name::ImageName;

/// What a list says, without its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The hosts that the site serves.
    pub hosts: Vec<String>,
    /// Whether pages name the commands for the registry view.
    pub registry: bool,
    /// The digest of the templates that the pages were rendered with.
    pub templates: String,
    /// Where in the list's bytes the names of the images are, sorted by name.
    names: Vec<Range<usize>>,
}

/// A list and what was read of it.
#[derive(Clone, Copy, Debug)]
pub struct OutlinedList<'a> {
    /// The list's bytes.
    pub bytes: &'a [u8],
    /// Its outline.
    pub outline: &'a Outline,
}

/// The images that only the list has, and those that it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences<'a> {
    /// Images of the list that are no more.
    pub removed: Vec<ImageName>,
    /// Images without a row.
    pub unlisted: Vec<&'a ImageName>,
}

/// What is read of a row. Names hold nothing that JSON escapes.
#[derive(Deserialize)]
struct Named<'a> {
    name: &'a str,
}

impl Outline {
    /// Reads the outline of a list. None: it is of another form, and says nothing.
    pub fn parse(bytes: &[u8]) -> Option<Outline> {
        let list: ListDocument<Vec<Named>> = json::parse_as(bytes, json::MAX_LIST_BYTES).ok()?;
        let ListDocument { catalogue, hosts, images, registry, templates } = list;
        if catalogue != VERSION || !images.is_sorted_by(|one, next| parts(one.name) < parts(next.name)) {
            return None;
        }
        let start = bytes.as_ptr() as usize;
        let range = |named: &Named| {
            let begin = named.name.as_ptr() as usize - start;
            begin..begin + named.name.len()
        };
        Some(Outline { hosts, registry, templates, names: images.iter().map(range).collect() })
    }
}

/// Host and path, by which names are ordered.
fn parts(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((name, ""))
}

impl<'a> OutlinedList<'a> {
    /// The names of the images, sorted.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.outline.names.iter().map(move |range| self.text(range))
    }

    fn text(self, range: &Range<usize>) -> &'a str {
        self.bytes.get(range.clone()).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// Whether the list has an image.
    pub fn has(self, image: &ImageName) -> bool {
        self.position(image).is_some()
    }

    /// Whether the list has a row, as it is. A list that is not canonical JSON has none.
    pub fn has_row(self, row: &Row) -> bool {
        let Some(position) = self.position(&row.name) else { return false };
        // The row holds its own name, and lies between the names before and behind it.
        let names = &self.outline.names;
        let begin = position.checked_sub(1).and_then(|before| names.get(before)).map_or(0, |before| before.end);
        let end = names.get(position + 1).map_or(self.bytes.len(), |behind| behind.start);
        let around = self.bytes.get(begin..end).unwrap_or_default();
        // Quotes within a text are escaped, so a text cannot look like a row.
        memchr::memmem::find(around, &json::canonical(row)).is_some()
    }

    fn position(self, image: &ImageName) -> Option<usize> {
        let wanted = (image.host(), image.path());
        self.outline.names.binary_search_by(|range| parts(self.text(range)).cmp(&wanted)).ok()
    }

    /// Compares the list with the images that the site is going to have, sorted by name.
    pub fn differences<'b>(self, images: &[&'b ImageName]) -> Differences<'b> {
        let mut differences = Differences::default();
        let mut listed = self.names().peekable();
        for image in images {
            let wanted = (image.host(), image.path());
            while let Some(name) = listed.next_if(|name| parts(name) < wanted) {
                differences.removed.extend(ImageName::parse(name).ok());
            }
            if listed.next_if(|name| parts(name) == wanted).is_none() {
                differences.unlisted.push(image);
            }
        }
        differences.removed.extend(listed.filter_map(|name| ImageName::parse(name).ok()));
        differences
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ImageName {
        ImageName::parse(text).unwrap()
    }

    fn row(name: &ImageName, description: &str) -> Row {
        Row {
            name: name.clone(),
            title: None,
            description: Some(description.into()),
            reference: None,
            created: None,
            platforms: vec![],
            artifact_type: None,
            size: None,
            page: "page".into(),
            document: "document".into(),
        }
    }

    fn list(rows: Vec<Row>) -> Vec<u8> {
        let mut list = ListDocument::new(true, "sha256:".into(), vec!["example.com".into()]);
        for row in rows {
            list.set(row);
        }
        list.to_bytes()
    }

    #[test]
    fn a_list_of_another_form_has_no_outline() {
        let whole = list(vec![row(&name("a/b"), ""), row(&name("a.b/c"), "")]);
        assert!(Outline::parse(&whole).is_some());
        let text = String::from_utf8(whole).unwrap();
        for (from, to) in
            [("\"catalogue\":2", "\"catalogue\":1"), ("a/b", "b/b"), ("a/b", "a\\u002fb"), ("a/b", "a.b/c")]
        {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text);
            assert_eq!(Outline::parse(other.as_bytes()), None, "{to}");
        }
    }

    #[test]
    fn a_row_in_a_text_is_no_row() {
        let (one, other) = (name("a/1"), name("a/2"));
        let inner = String::from_utf8(json::canonical(&row(&other, "x"))).unwrap();
        let bytes = list(vec![row(&one, &inner), row(&other, "y")]);
        let outline = Outline::parse(&bytes).unwrap();
        let listed = OutlinedList { bytes: &bytes, outline: &outline };
        assert!(listed.has_row(&row(&one, &inner)) && listed.has_row(&row(&other, "y")));
        assert!(!listed.has_row(&row(&other, "x")));
    }

    proptest! {
        #[test]
        fn an_outline_knows_what_the_list_knows(
            listed in prop::collection::btree_map("[ab][.]?[ab]?/[a-c]{1,2}", "[a-b\"{}:,\\\\]{0,8}", 0..8),
            images in prop::collection::btree_map("[ab][.]?[ab]?/[a-c]{1,2}", "[a-b\"{}:,\\\\]{0,8}", 0..8),
        ) {
            let rows: Vec<Row> = listed.iter().map(|(text, description)| row(&name(text), description)).collect();
            let bytes = list(rows.clone());
            let outline = Outline::parse(&bytes).unwrap();
            let list = OutlinedList { bytes: &bytes, outline: &outline };
            let names: BTreeSet<ImageName> = images.keys().map(|text| name(text)).collect();
            for (text, description) in images.iter().chain(&listed) {
                let wanted = row(&name(text), description);
                prop_assert_eq!(list.has(&wanted.name), rows.iter().any(|row| row.name == wanted.name));
                prop_assert_eq!(list.has_row(&wanted), rows.contains(&wanted));
            }
            let sorted: Vec<&ImageName> = names.iter().collect();
            let Differences { removed, unlisted } = list.differences(&sorted);
            let all: BTreeSet<ImageName> = rows.iter().map(|row| row.name.clone()).collect();
            prop_assert_eq!(removed, all.difference(&names).cloned().collect::<Vec<_>>());
            prop_assert_eq!(unlisted, names.difference(&all).collect::<Vec<_>>());
        }
    }
}
