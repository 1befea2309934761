//! A JSON document over HTTP, read as strictly as helps and no stricter.
//!
//! Sites are written by hand and served by whatever is there, so some faults are tolerated, because nothing can be
//! misread through them: a missing `Content-Type`, or one that only says "JSON", "text" or "bytes" ([`GENERIC`]), and a
//! missing or wrong charset, since JSON is UTF-8 whatever a header says (RFC 8259, section 8.1). Each is reported. A media
//! type that claims the document to be something else is believed, and the document refused.

use serde_json::Value;
use url::Url;

use super::error::DocumentError;
use super::fetch::{Fetch, Response};
use super::remark::{Remark, Remarks};
use crate::json;
use crate::oci::media_type;

/// Media types that say nothing against a JSON document being the expected one.
const GENERIC: [&str; 4] = [media_type::JSON, media_type::OCTET_STREAM, "text/json", "text/plain"];

/// A document and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// The URL that answered, after redirects: what relative references in it are resolved against.
    pub(super) url: Url,
    /// Its content, not yet parsed: how an index is best parsed differs from a small object.
    pub(super) bytes: Vec<u8>,
}

impl Document {
    /// The content as a JSON value.
    pub(super) fn value(&self) -> Result<Value, DocumentError> {
        json::parse(&self.bytes).map_err(|source| DocumentError::Json { url: self.url.clone(), source })
    }
}

/// Fetches a document that should have this media type and at most the `left` bytes, from which what is read is taken. What is
/// tolerated goes to `remarks`.
pub(super) fn get(
    fetch: &dyn Fetch,
    url: &Url,
    expected: &'static str,
    left: &mut u64,
    remarks: &mut Remarks,
) -> Result<Document, DocumentError> {
    let Response { url, status, content_type, content_encoding, body } = fetch.get(url, expected)?;
    if status != 200 {
        return Err(DocumentError::Status { url, status });
    }
    if let Some(encoding) = content_encoding.filter(|encoding| encoding != "identity") {
        return Err(DocumentError::Encoding { url, encoding });
    }
    let found = check_type(&url, expected, content_type.as_deref().map(ContentType::parse))?;
    let bytes = body(left)?;
    remarks.extend(found);
    Ok(Document { url, bytes })
}

fn check_type(
    url: &Url,
    expected: &'static str,
    content_type: Option<ContentType>,
) -> Result<Option<Remark>, DocumentError> {
    let Some(ContentType { media_type, charset }) = content_type else {
        return Ok(Some(Remark::MediaType { url: url.clone(), expected, found: None }));
    };
    if media_type != expected {
        return match GENERIC.contains(&media_type.as_str()) {
            true => Ok(Some(Remark::MediaType { url: url.clone(), expected, found: Some(media_type) })),
            false => Err(DocumentError::MediaType { url: url.clone(), expected, found: media_type }),
        };
    }
    let is_utf8 = charset.as_deref().is_some_and(|charset| charset == "utf-8");
    Ok((!is_utf8).then(|| Remark::Charset { url: url.clone(), found: charset }))
}

/// A `Content-Type` header (RFC 9110, section 8.3) as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// The media type without parameters, in lower case.
    pub media_type: String,
    /// The parameter `charset`, in lower case and without quotes.
    pub charset: Option<String>,
}

impl ContentType {
    /// Reads a header's value. Anything is read as something: what is no media type is equal to none that is expected.
    pub fn parse(value: &str) -> ContentType {
        let mut parts = value.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let charset =
            parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("charset"));
        ContentType { media_type, charset: charset.map(|(_, value)| value.trim_matches('"').to_ascii_lowercase()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(content_type: Option<&str>) -> Result<Option<Remark>, DocumentError> {
        let url = "https://example.com/x".parse().unwrap();
        check_type(&url, media_type::INDEX, content_type.map(ContentType::parse))
    }

    #[test]
    fn the_expected_type_in_utf_8_needs_no_remark() {
        for value in ["; charset=utf-8", ";charset=UTF-8", "; Charset=\"utf-8\"", "; x=y; charset=utf-8"] {
            assert!(checked(Some(&format!("{}{value}", media_type::INDEX))).unwrap().is_none(), "{value}");
        }
    }

    #[test]
    fn a_missing_charset_and_a_generic_type_are_tolerated_and_reported() {
        let remark = |content_type| checked(content_type).unwrap().unwrap();
        assert!(matches!(remark(Some(media_type::INDEX)), Remark::Charset { found: None, .. }));
        assert!(matches!(
            remark(Some("application/vnd.oci.image.index.v1+json; charset=latin1")),
            Remark::Charset { .. }
        ));
        assert!(matches!(remark(None), Remark::MediaType { found: None, .. }));
        for generic in GENERIC {
            assert!(matches!(remark(Some(generic)), Remark::MediaType { found: Some(_), .. }), "{generic}");
        }
    }

    #[test]
    fn a_type_that_says_something_else_is_believed() {
        for other in ["text/html; charset=utf-8", media_type::MANIFEST, media_type::REF_ENGINES, "", ";"] {
            assert!(matches!(checked(Some(other)), Err(DocumentError::MediaType { .. })), "{other}");
        }
    }
}
