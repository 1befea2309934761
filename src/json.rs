//! JSON as this program reads and writes it.
//!
//! What comes in is bounded: the reader says how many bytes it accepts, and nesting deeper than 127 levels is refused by
//! the parser, so that no document can exhaust the stack. What goes out is canonical JSON (sorted keys, no white space),
//! so that the same content always has the same bytes.

use std::io::Read;

use serde_json::{Map, Value};

/// The most bytes a manifest may have: the limit that registries settled on (distribution-spec, "Pushing Manifests").
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// The most bytes an index of an image name, or a layout's `index.json`, may have. Fifty thousand entries take about
/// 20 MiB, so this leaves room for any image that is published by hand or machine, and still bounds memory.
pub const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// Why bytes are not the JSON document that was expected.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Reading failed before the parser saw anything.
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    /// More bytes than the reader accepts.
    #[error("is larger than {limit} bytes, the most that is accepted here")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not JSON, or nested too deeply.
    #[error("is not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// JSON, but of another type than expected.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What should be there, with its place: `a JSON object`, `an array in "manifests"`.
        expected: String,
        /// The JSON type that is there.
        found: &'static str,
    },
}

/// Parses one JSON document.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    serde_json::from_slice(bytes).map_err(JsonError::Syntax)
}

/// Reads all of `reader`, up to `limit` bytes; more is an error rather than a cut.
pub fn read_bounded(reader: impl Read, limit: u64) -> Result<Vec<u8>, JsonError> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(JsonError::Read)?;
    if bytes.len() as u64 > limit {
        return Err(JsonError::TooLarge { limit });
    }
    Ok(bytes)
}

/// The canonical bytes of a value: keys sorted, no white space, no trailing newline.
pub fn canonical(value: &Value) -> Vec<u8> {
    // serde_json's map is a BTreeMap (its feature `preserve_order` is off), so keys come out sorted.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The canonical text of an object.
pub fn canonical_text(object: &Map<String, Value>) -> String {
    // Keys are strings and writing to memory cannot fail, so every object has a text.
    serde_json::to_string(object).unwrap_or_default()
}

/// The name of a value's JSON type, for messages.
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

/// The value as an object, or an error that says what was found at `place`.
pub fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, JsonError> {
    value
        .as_object()
        .ok_or_else(|| JsonError::Type { expected: format!("{place} to be an object"), found: type_name(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_sorts_keys_and_has_no_white_space() {
        let value = parse(br#"{ "b": [1, 2], "a": {"d": null, "c": "x y"} }"#).unwrap();
        assert_eq!(canonical(&value), br#"{"a":{"c":"x y","d":null},"b":[1,2]}"#);
    }

    #[test]
    fn a_document_over_the_limit_is_an_error_and_one_at_the_limit_is_not() {
        assert_eq!(read_bounded(&b"12345"[..], 5).unwrap(), b"12345");
        assert!(matches!(read_bounded(&b"123456"[..], 5), Err(JsonError::TooLarge { limit: 5 })));
    }

    #[test]
    fn nesting_beyond_reason_is_refused() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(matches!(parse(deep.as_bytes()), Err(JsonError::Syntax(_))));
    }
}
