//! The proxy in the environment.
//!
//! A user who sets a proxy variable wants requests to use it, often because nothing else may see them. Therefore an
//! unusable variable is an error: requests without the proxy would do what the user prevents.

#![allow(clippy::disallowed_methods, reason = "this module is what the others go through")]

use std::ffi::OsString;

use ureq::{Proxy, ProxyProtocol, http};
use url::Url;

/// The variables, of which the first one that is set applies.
const VARIABLES: [&str; 6] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// A proxy variable that cannot be used. The value is not repeated, because it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable} cannot be used as a proxy: expected http://HOST:PORT or https://HOST:PORT, found {found}; correct \
     the variable, or unset it"
)]
pub struct ProxyError {
    pub variable: &'static str,
    pub found: String,
}

/// The proxy in this process's environment, with the exceptions in `NO_PROXY`.
///
/// # Errors
/// A proxy variable is set and cannot be used.
pub fn from_environment() -> Result<Option<Proxy>, ProxyError> {
    check(|variable| std::env::var_os(variable))?;
    // All set variables are valid, so this uses the first one.
    Ok(Proxy::try_from_env())
}

/// Whether a request for a URL has to use the proxy: `NO_PROXY` does not name the host.
pub fn applies(proxy: &Proxy, url: &Url) -> bool {
    !url.as_str().parse::<http::Uri>().is_ok_and(|uri| proxy.is_no_proxy(&uri))
}

/// The URL of the proxy, with its user and password.
pub fn url(proxy: &Proxy) -> Result<Url, url::ParseError> {
    Url::parse(&proxy.uri().to_string())
}

/// Checks each variable that is set. An empty one counts as unset.
fn check(value_of: impl Fn(&str) -> Option<OsString>) -> Result<(), ProxyError> {
    for variable in VARIABLES {
        let Some(value) = value_of(variable).filter(|value| !value.is_empty()) else { continue };
        let found = match value.to_str().map(Proxy::new) {
            // The HTTP library of object stores ignores a proxy whose URL it cannot parse.
            Some(Ok(proxy)) if url(&proxy).is_err() => "text that is not the URL of a proxy".into(),
            Some(Ok(proxy)) => match proxy.protocol() {
                ProxyProtocol::Http | ProxyProtocol::Https => continue,
                other => format!("a {other} proxy, which is not supported"),
            },
            Some(Err(_)) => "text that is not the URL of a proxy".into(),
            None => "text that is not UTF-8".into(),
        };
        return Err(ProxyError { variable, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(variable: &'static str, value: &str) -> Result<(), ProxyError> {
        check(|name| (name == variable).then(|| value.into()))
    }

    #[test]
    fn http_and_https_proxies_and_empty_variables_are_fine() {
        for value in
            ["", "http://proxy.example.com:3128", "https://a:b@proxy.example.com", "localhost:8080", "[::1]:80"]
        {
            assert_eq!(checked("HTTPS_PROXY", value), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_value() {
        for (value, says) in [
            ("socks5://user:secret@localhost:1080", "socks"),
            ("socks4a://localhost", "socks"),
            ("http://[bad", "not the url"),
            ("http://user:secret@[bad", "not the url"),
            ("ftp://localhost:21", "not the url"),
            ("http://user:secret@xn--:80", "not the url"),
        ] {
            let message = checked("all_proxy", value).unwrap_err().to_string();
            assert!(message.contains("all_proxy") && message.to_lowercase().contains(says), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
