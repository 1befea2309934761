//! JSON documents over HTTP: the ref-engines object and the index.
//!
//! Sites are written by hand and served by any web server, so a consumer tolerates faults that cannot change the
//! meaning of a document, with a remark: a missing `Content-Type`, a generic one ([`GENERIC`]), and a missing or wrong
//! charset, because JSON is UTF-8 (RFC 8259, section 8.1). A document with the media type of another document is
//! rejected.

use serde_json::Value;
use url::Url;

use super::error::DocumentError;
use super::fetch::{Fetch, Response};
use super::remark::{Remark, Remarks};
use crate::json;
use crate::oci::media_type;

/// Generic media types, which the expected JSON document may have.
const GENERIC: [&str; 4] = [media_type::JSON, media_type::OCTET_STREAM, "text/json", "text/plain"];

/// A document and its URL.
#[derive(Clone, Debug)]
pub(super) struct FetchedDocument {
    /// The URL after redirects: the base of relative references (RFC 3986, 5.1.3).
    pub(super) url: Url,
    /// The content, not parsed yet: an index needs another parser than a small object.
    pub(super) bytes: Vec<u8>,
}

impl FetchedDocument {
    /// The content as a JSON value.
    pub(super) fn value(&self) -> Result<Value, DocumentError> {
        json::parse(&self.bytes).map_err(|source| DocumentError::Json { url: self.url.clone(), source })
    }
}

/// Fetches a document of the media type `expected` (well-known-uri-ref-engine-discovery, "Ref-engines media types";
/// index-template) with at most `left` bytes, and subtracts the bytes read. Tolerated faults go to `remarks`.
pub(super) fn get(
    fetch: &dyn Fetch,
    url: &Url,
    expected: &'static str,
    left: &mut u64,
    remarks: &mut Remarks,
) -> Result<FetchedDocument, DocumentError> {
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
    Ok(FetchedDocument { url, bytes })
}

/// Compares the media type with the expected one, and tolerates a generic one and a missing charset, with a remark.
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

/// The media type and the charset of a `Content-Type` header (RFC 9110, section 8.3).
///
/// ```
/// use oci_discovery::discovery::ContentType;
///
/// let content_type = ContentType::parse("Application/JSON; charset=\"UTF-8\"");
/// assert_eq!((content_type.media_type.as_str(), content_type.charset.as_deref()), ("application/json", Some("utf-8")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// The media type without parameters, in lower case.
    pub media_type: String,
    /// The parameter `charset`, in lower case and without quotes.
    pub charset: Option<String>,
}

impl ContentType {
    /// Reads a header's value. A malformed value gives a media type that equals no expected one.
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
