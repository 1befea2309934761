//! Errors as text.

/// An error and its causes in one line.
///
/// ```
/// use oci_discovery::{error::chain, json};
///
/// let message = chain(&json::parse(b"{").unwrap_err());
/// assert!(message.starts_with("invalid JSON: EOF while parsing"), "{message}");
/// ```
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some libraries repeat their cause in their own message.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
