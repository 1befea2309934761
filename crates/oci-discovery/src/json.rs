//! JSON: limits for documents that are read, and the canonical form of documents that are written.
//!
//! Input is bounded. The caller gives the most bytes ([`read_bounded`]), [`parse_as`] limits the memory of the values,
//! and the parser rejects nesting deeper than 127 levels, so that no document exhausts the stack.
//!
//! Output is canonical ([`canonical`]): sorted keys, no white space, so that equal content has equal bytes. A `<` is
//! written as `\u003c`: text from an image is then no markup, even if a host serves the document as a page because its
//! name ends in `.html`.

#![allow(clippy::disallowed_methods, reason = "this module is what the others go through")]

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use memchr::memchr2;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::{CompactFormatter, Formatter};
use serde_json::{Map, Value};

/// The most bytes of a manifest: the limit of registries (distribution-spec, "Pushing Manifests").
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// The most bytes of an image index, or of a layout's `index.json`. Fifty thousand entries take about 20 MiB.
pub const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// The most memory that the values of one document may take, the text of strings aside. A manifest of 4 MiB with
/// nothing but descriptors and their platforms in it takes less.
pub const MAX_VALUE_BYTES: u64 = 64 * 1024 * 1024;
/// The same limit for a document that a site keeps of all its images, or of all refs of one image. Such a document is
/// read into a form that takes about a fifth of the estimate.
pub const MAX_LIST_BYTES: u64 = 1024 * 1024 * 1024;
/// The bytes of an object besides its properties: a node of a map has room for eleven, and is half full at worst.
const OBJECT_BYTES: u64 = 560;
/// The bytes of a property in a node of a map, with its share of the nodes above.
const PROPERTY_BYTES: u64 = 128;
/// The bytes of a value in a list, which has room for twice its values at worst.
const VALUE_BYTES: u64 = 64;
/// The bytes of a string besides its text.
const STRING_BYTES: u64 = 32;
/// The bytes of most descriptors as text.
const TEXT_BYTES: usize = 512;

/// Why bytes are not the expected JSON document.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Reading failed before the parser saw anything.
    #[error("reading failed")]
    Read(#[source] std::io::Error),
    /// More bytes than the reader accepts.
    #[error("larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Values that would take many times the memory of their text.
    #[error("too many values: they would take more than {} MiB of memory", .limit / 1024 / 1024)]
    TooManyValues {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not JSON, or nested too deeply.
    #[error("invalid JSON")]
    Syntax(#[source] serde_json::Error),
    /// JSON of another type than expected.
    #[error("expected {expected}, found {found}")]
    Type {
        /// The expected type, with its place: `the index to be an object`, `"manifests" to be an array`.
        expected: String,
        /// The JSON type that was found.
        found: &'static str,
    },
}

/// Parses one JSON document.
///
/// ```
/// use oci_discovery::json::{self, JsonError};
///
/// assert_eq!(json::parse(br#"{"a": [1]}"#)?["a"][0], 1);
/// assert!(matches!(json::parse("[".repeat(200).as_bytes()), Err(JsonError::Syntax(_))));
/// # Ok::<(), JsonError>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_as(bytes, MAX_VALUE_BYTES)
}

/// Parses a JSON document of the form of `T`, whose values may take `limit` bytes of memory.
///
/// Values can take a hundred times the memory of their text, as a repeated `{"":0},` does. Their memory is therefore
/// estimated before they are made.
pub fn parse_as<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: u64) -> Result<T, JsonError> {
    if (bytes.len() as u64).saturating_mul(OBJECT_BYTES) > limit && value_bytes(bytes) > limit {
        return Err(JsonError::TooManyValues { limit });
    }
    serde_json::from_slice(bytes).map_err(JsonError::Syntax)
}

/// The text of a JSON string.
pub fn parse_string(json: &[u8]) -> Option<String> {
    serde_json::from_slice(json).ok()
}

/// The most bytes of memory that the values of a text take, the text of strings aside.
fn value_bytes(text: &[u8]) -> u64 {
    let (mut rest, mut bytes) = (text.iter(), 0);
    while let Some(byte) = rest.next() {
        bytes += match byte {
            b'"' => {
                rest = after_string(rest.as_slice()).iter();
                STRING_BYTES
            }
            b'{' => OBJECT_BYTES,
            b':' => PROPERTY_BYTES,
            b'[' | b',' => VALUE_BYTES,
            _ => 0,
        };
    }
    bytes
}

/// What comes after a string, given what comes after its first quotation mark.
fn after_string(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some(position) = memchr2(b'"', b'\\', rest) {
        // A backslash escapes the next character.
        let (is_end, taken) = match rest.get(position) {
            Some(b'"') => (true, 1),
            _ => (false, 2),
        };
        rest = rest.get(position + taken..).unwrap_or_default();
        if is_end {
            return rest;
        }
    }
    &[]
}

/// A value as canonical text.
///
/// Values take many times the memory of their text. Therefore parts of documents from outside are kept as text, which
/// takes a small multiple of the bytes read, and values are made one at a time, when they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueText(Arc<str>);

impl ValueText {
    /// The value.
    pub fn value(&self) -> Value {
        // The text was made from a value.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The value of a property of an object. No values are made of the other properties.
    pub fn get(&self, property: &str) -> Option<Value> {
        serde_json::Deserializer::from_str(&self.0).deserialize_map(Property(property)).ok()?
    }

    /// Canonical JSON.
    pub fn canonical(&self) -> &Arc<str> {
        &self.0
    }
}

impl From<&Value> for ValueText {
    fn from(value: &Value) -> ValueText {
        // The objects of values have sorted keys.
        let mut serializer = serde_json::Serializer::with_formatter(Vec::with_capacity(TEXT_BYTES), EscapeMarkup);
        let is_written = value.serialize(&mut serializer).is_ok();
        let text = String::from_utf8(serializer.into_inner()).ok().filter(|_| is_written);
        ValueText(text.unwrap_or_default().into())
    }
}

impl Serialize for ValueText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

/// Looks for a property.
struct Property<'a>(&'a str);

impl<'de> Visitor<'de> for Property<'_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut properties: A) -> Result<Option<Value>, A::Error> {
        let mut found = None;
        while let Some(property) = properties.next_key::<Cow<'_, str>>()? {
            match property == self.0 {
                true => found = Some(properties.next_value()?),
                false => drop(properties.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// Reads all of `reader`. More than `limit` bytes are an error.
///
/// ```
/// use oci_discovery::json::{JsonError, read_bounded};
///
/// assert_eq!(read_bounded(&b"{}"[..], 2)?, b"{}");
/// assert!(matches!(read_bounded(std::io::repeat(b' '), 2), Err(JsonError::TooLarge { limit: 2 })));
/// # Ok::<(), JsonError>(())
/// ```
pub fn read_bounded(reader: impl Read, limit: u64) -> Result<Vec<u8>, JsonError> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(JsonError::Read)?;
    if bytes.len() as u64 > limit {
        return Err(JsonError::TooLarge { limit });
    }
    Ok(bytes)
}

/// The canonical bytes of a document: keys sorted, no white space, no trailing newline, no `<`.
///
/// Keys are sorted in the bytes: a tree of values takes many times their memory, and documents can have tens of
/// megabytes. The order of a type's fields cannot give the order of keys: serde writes the tag of an enum first and
/// flattened maps as a block, and some types are compared field by field.
///
/// ```
/// use oci_discovery::json::canonical;
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Entry { size: u64, title: &'static str }
///
/// assert_eq!(canonical(&Entry { size: 7, title: "<b>" }), br#"{"size":7,"title":"\u003cb>"}"#);
/// ```
pub fn canonical(document: &impl Serialize) -> Vec<u8> {
    canonical_of_about(0, document)
}

/// [`canonical`] for a document of about this many bytes. Memory for them is reserved first: a buffer that grows by doubling can
/// take twice the bytes of the document.
pub fn canonical_of_about(bytes: usize, document: &impl Serialize) -> Vec<u8> {
    let bytes = RefCell::new(Vec::with_capacity(bytes));
    let sorting = SortKeys { bytes: &bytes, members: vec![], objects: vec![] };
    let mut serializer = serde_json::Serializer::with_formatter(Shared(&bytes), sorting);
    // Writing to memory cannot fail, and all documents have strings as keys.
    match document.serialize(&mut serializer) {
        Ok(()) => {
            let mut bytes = bytes.into_inner();
            // Plans hold thousands of documents until they are written.
            bytes.shrink_to_fit();
            bytes
        }
        Err(_) => Vec::new(),
    }
}

/// A writer to bytes that a formatter also reads.
struct Shared<'a>(&'a RefCell<Vec<u8>>);

impl Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a `<` as `\u003c`, so that JSON is no markup.
struct EscapeMarkup;

impl Formatter for EscapeMarkup {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for (position, text) in fragment.split('<').enumerate() {
            if position > 0 {
                writer.write_all(br"\u003c")?;
            }
            writer.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}

/// Sorts the members of each object by key, when the object ends. Sorted members, as most are, stay where they are.
struct SortKeys<'a> {
    bytes: &'a RefCell<Vec<u8>>,
    /// The members of the open objects.
    members: Vec<Member>,
    /// The number of members before each open object.
    objects: Vec<usize>,
}

/// The place of an object's member in the bytes.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

impl SortKeys<'_> {
    fn position(&self) -> usize {
        self.bytes.borrow().len()
    }

    fn sort(&self, members: &[Member]) {
        let Some(first) = members.first() else { return };
        let mut bytes = self.bytes.borrow_mut();
        let key = |member: &Member| key(bytes.get(member.start..member.key_end).unwrap_or_default());
        if members.is_sorted_by_key(key) {
            return;
        }
        let mut sorted = members.to_vec();
        sorted.sort_by_cached_key(|member| key(member).into_owned());
        let texts: Vec<&[u8]> = sorted.iter().filter_map(|member| bytes.get(member.start..member.end)).collect();
        let joined = texts.join(&b',');
        bytes.truncate(first.start);
        bytes.extend_from_slice(&joined);
    }
}

/// A key without its quotes and escapes. Keys that need escapes are rare.
fn key(json: &[u8]) -> Cow<'_, [u8]> {
    match json.contains(&b'\\') {
        true => Cow::Owned(parse_string(json).unwrap_or_default().into_bytes()),
        false => Cow::Borrowed(json.get(1..json.len().saturating_sub(1)).unwrap_or_default()),
    }
}

impl Formatter for SortKeys<'_> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        EscapeMarkup.write_string_fragment(writer, fragment)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.objects.push(self.members.len());
        CompactFormatter.begin_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        CompactFormatter.begin_object_key(writer, first)?;
        let start = self.position();
        self.members.push(Member { start, key_end: start, end: start });
        Ok(())
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        let key_end = self.position();
        self.members.last_mut().into_iter().for_each(|member| member.key_end = key_end);
        Ok(())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        let end = self.position();
        self.members.last_mut().into_iter().for_each(|member| member.end = end);
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let first = self.objects.pop().unwrap_or_default();
        self.sort(self.members.get(first..).unwrap_or_default());
        self.members.truncate(first);
        CompactFormatter.end_object(writer)
    }
}

/// [`canonical`] as text.
///
/// ```
/// let value = oci_discovery::json::parse(br#"{ "b": 1, "a": 2 }"#)?;
/// assert_eq!(oci_discovery::json::canonical_text(&value), r#"{"a":2,"b":1}"#);
/// # Ok::<(), oci_discovery::json::JsonError>(())
/// ```
pub fn canonical_text(document: &impl Serialize) -> String {
    // JSON is UTF-8.
    String::from_utf8(canonical(document)).unwrap_or_default()
}

/// The name of a value's JSON type, for messages.
///
/// ```
/// assert_eq!(oci_discovery::json::type_name(&serde_json::json!([1])), "an array");
/// ```
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The name of the JSON type of a value's text, by its first character.
pub(crate) fn type_of_text(text: &str) -> &'static str {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
        None => "nothing",
    }
}

/// The value as an object, or an error that names `place` and the type found there.
///
/// ```
/// use oci_discovery::json::object;
///
/// let error = object(&serde_json::json!(7), "the index").unwrap_err();
/// assert_eq!(error.to_string(), "expected the index to be an object, found a number");
/// ```
pub fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, JsonError> {
    value
        .as_object()
        .ok_or_else(|| JsonError::Type { expected: format!("{place} to be an object"), found: type_name(value) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn canonical_json_sorts_keys_and_has_no_white_space() {
        let value = parse(br#"{ "b": [1, 2], "a": {"d": null, "c": "x y"} }"#).unwrap();
        assert_eq!(canonical(&value), br#"{"a":{"c":"x y","d":null},"b":[1,2]}"#);
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Shape {
        Box { width: u8, depth: Option<u8>, inside: Vec<Shape> },
    }

    #[test]
    fn canonical_json_of_a_struct_is_that_of_its_value() {
        let inner = Shape::Box { width: 3, depth: None, inside: vec![] };
        let shape = Shape::Box { width: 1, depth: Some(2), inside: vec![inner] };
        let expected =
            br#"{"depth":2,"inside":[{"depth":null,"inside":[],"kind":"Box","width":3}],"kind":"Box","width":1}"#;
        assert_eq!(canonical(&shape), expected);
        assert_eq!(canonical(&serde_json::to_value(&shape).unwrap()), expected);
    }

    #[test]
    fn keys_are_sorted_by_what_they_are_and_not_by_how_they_are_escaped() {
        // A quotation mark comes before a letter; the backslash that escapes it does not.
        let pairs = [("B", 1), ("\"", 2), ("\n", 3)];
        let map: BTreeMap<&str, u8> = pairs.into_iter().collect();
        assert_eq!(canonical(&map), br#"{"\n":3,"\"":2,"B":1}"#);
        struct Unsorted([(&'static str, u8); 3]);
        impl Serialize for Unsorted {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0)
            }
        }
        assert_eq!(canonical(&Unsorted(pairs)), canonical(&map));
    }

    #[test]
    fn no_markup_stands_in_what_is_written() {
        let value = parse(br#"{"<b>": ["<<", "\\<", "a"], "<": "\u003cscript>"}"#).unwrap();
        let expected = r#"{"\u003c":"\u003cscript>","\u003cb>":["\u003c\u003c","\\\u003c","a"]}"#;
        assert_eq!(canonical_text(&value), expected);
        assert_eq!(canonical(&value), expected.as_bytes());
        assert_eq!(parse(expected.as_bytes()).unwrap(), value);
    }

    #[test]
    fn a_document_over_the_limit_is_an_error_and_one_at_the_limit_is_not() {
        assert_eq!(read_bounded(&b"12345"[..], 5).unwrap(), b"12345");
        assert!(matches!(read_bounded(&b"123456"[..], 5), Err(JsonError::TooLarge { limit: 5 })));
    }

    #[test]
    fn values_without_end_are_refused_and_large_text_is_not() {
        let objects = |count: usize| format!("[{}0]", r#"{"":0},"#.repeat(count));
        assert!(parse(objects(10_000).as_bytes()).is_ok());
        let keys: String = (0..400_000).map(|key| format!(r#""{key}":0,"#)).collect();
        assert!(parse(format!(r#"{{{keys}"":0}}"#).as_bytes()).is_err());
        assert!(matches!(parse(objects(100_000).as_bytes()), Err(JsonError::TooManyValues { .. })));
        let text = format!(r#"["{}", "\"{{"]"#, "{,".repeat(1_000_000));
        assert!(parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_stands_in_strings_has_no_weight() {
        let around = VALUE_BYTES + OBJECT_BYTES + STRING_BYTES;
        assert_eq!(value_bytes(br#"[{"\\\"{,:["}]"#), around);
        assert_eq!(value_bytes(br#"[{"\\"{"#), around + OBJECT_BYTES);
        for unfinished in [&br#"[{""#[..], br#"[{"\"#, br#"[{"a"#] {
            assert_eq!(value_bytes(unfinished), around);
        }
    }

    #[test]
    fn the_text_of_a_value_gives_it_back() {
        let value = parse(br#"{"b": [1, {"<": "\u003c\ud83d\ude00"}], "a\"": null, "n": -1.5e300}"#).unwrap();
        let text = ValueText::from(&value);
        assert_eq!(text.value(), value);
        assert_eq!(**text.canonical(), canonical_text(&value));
        assert_eq!(text.get("a\""), Some(Value::Null));
        assert_eq!(text.get("b").as_ref(), value.get("b"));
        assert_eq!(text.get("c"), None);
        assert_eq!(ValueText::from(&Value::from(7)).get("a"), None);
    }

    #[test]
    fn nesting_beyond_reason_is_refused() {
        let nested = |levels: usize| parse(("[".repeat(levels) + &"]".repeat(levels)).as_bytes());
        assert!(nested(127).is_ok());
        for levels in [128, 100_000] {
            assert!(matches!(nested(levels), Err(JsonError::Syntax(_))), "{levels}");
        }
    }
}
