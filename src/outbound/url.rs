//! Decides which URLs are requested, and which redirects are followed.

use oci_discovery::discovery::url::is_web;
use url::Url;

/// The longest URL that is requested: the least that servers must accept (RFC 9110, section 4.1). Only hostile
/// templates give longer ones.
const MAX_URL_BYTES: usize = 8000;

/// Whether a URL may be requested.
///
/// # Errors
/// The reason why not.
pub fn check(url: &Url) -> Result<(), &'static str> {
    match () {
        _ if !is_web(url) => Err("only http and https are supported"),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("it has user information, which is never sent")
        }
        _ if url.as_str().len() > MAX_URL_BYTES => Err("it is longer than 8000 bytes"),
        _ => Ok(()),
    }
}

/// The target of a redirect of `from`.
///
/// # Errors
/// The reason why it is not followed.
pub fn redirected(from: &Url, location: &str) -> Result<Url, &'static str> {
    if location.is_empty() {
        return Err("it has no Location");
    }
    let next = from.join(location).map_err(|_| "it is not a URL")?;
    match () {
        _ if !is_web(&next) => Err("only http and https are supported"),
        _ if from.scheme() == "https" && next.scheme() == "http" => Err("it leads from https to http"),
        _ => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_web_and_never_leave_https_for_http() {
        let next = |from: &str, location: &str| redirected(&from.parse().unwrap(), location).map(String::from);
        assert_eq!(next("http://example.com/a", "https://example.com/b").unwrap(), "https://example.com/b");
        assert_eq!(next("https://example.com/a/b", "../c").unwrap(), "https://example.com/c");
        assert!(next("https://example.com/", "http://example.com/").unwrap_err().contains("from https to http"));
        assert!(next("http://example.com/", "file:///etc/passwd").unwrap_err().contains("only http and https"));
        assert!(next("http://example.com/", "http://[").unwrap_err().contains("not a URL"));
        assert!(next("http://example.com/", "").unwrap_err().contains("no Location"));
    }

    #[test]
    fn user_information_and_other_schemes_are_not_asked() {
        let refused = |url: &str| check(&url.parse().unwrap()).unwrap_err();
        assert!(refused("https://user@example.com/").contains("user information"));
        assert!(refused("https://:secret@example.com/").contains("user information"));
        assert!(refused("ftp://example.com/").contains("only http and https"));
        assert!(refused(&format!("https://example.com/{}", "x".repeat(10_000))).contains("longer than"));
    }
}
