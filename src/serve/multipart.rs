//! Several ranges in one response: `multipart/byteranges` (RFC 9110, section 14.6). Clients that pull a part of a layer ask for
//! them (podman, for zstd:chunked).

use std::hash::{BuildHasher, RandomState};

use super::range::Part;

/// Parts of a representation, with the texts that make them one body.
#[derive(Debug)]
pub struct Multipart {
    /// The type of the body.
    pub content_type: String,
    /// Each part, behind its text.
    pub parts: Vec<(String, Part)>,
    /// The text behind the last part.
    pub end: String,
}

impl Multipart {
    /// Joins parts of a representation of this type, which has `size` bytes.
    pub fn new(content_type: &str, parts: Vec<Part>, size: u64) -> Multipart {
        // Random, so that no file can have it in it on purpose.
        let boundary = format!("{:016x}{:016x}", RandomState::new().hash_one(size), RandomState::new().hash_one(size));
        let text = |part: &Part| {
            let range = part.content_range(size);
            format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n")
        };
        Multipart {
            content_type: format!("multipart/byteranges; boundary={boundary}"),
            parts: parts.into_iter().map(|part| (text(&part), part)).collect(),
            end: format!("\r\n--{boundary}--\r\n"),
        }
    }

    /// How many bytes the body has.
    pub fn length(&self) -> u64 {
        let parts = self.parts.iter().map(|(text, part)| text.len() as u64 + part.length());
        parts.sum::<u64>() + self.end.len() as u64
    }
}
