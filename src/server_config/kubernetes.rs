//! A manifest for Kubernetes: nginx with the configuration of [`super::nginx`], a volume with the site, and a service.
//!
//! The image is that of nginx, unchanged. An ingress or a load balancer before the service has the TLS.

use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;

/// The directory of the site in the container.
pub const ROOT: &str = "/srv/site";
/// The directory of nginx's state in the container.
pub const STATE: &str = "/run/nginx";
/// The address of nginx in the container. Many pods have no IPv6, and nginx does not start if it cannot listen.
pub const LISTEN: &str = "0.0.0.0:8080";

const TEMPLATE: &str = include_str!("../../templates/kubernetes.yaml");

#[expect(clippy::unwrap_used, reason = "a constant of this program, compiled by its tests")]
static LABEL: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$").unwrap());

/// The name of an object: a label of DNS (RFC 1035), which is plain text in YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName(String);

impl FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<ObjectName, String> {
        match LABEL.is_match(text) && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text) {
            true => Ok(ObjectName(text.into())),
            false => {
                Err("expected at most 63 characters of a-z, 0-9 and -, of which the first is a letter, such as images"
                    .into())
            }
        }
    }
}

/// The manifest with this configuration of nginx.
pub fn manifest(configuration: &str, name: &ObjectName, claim: &ObjectName) -> String {
    let port = LISTEN.rsplit(':').next().unwrap_or_default();
    // A block of lines needs no quoting: the configuration has only visible characters and line feeds.
    let lines = configuration.lines().map(|line| if line.is_empty() { String::new() } else { format!("    {line}") });
    TEMPLATE
        .replace("@NAME@", &name.0)
        .replace("@CLAIM@", &claim.0)
        .replace("@ROOT@", ROOT)
        .replace("@STATE@", STATE)
        .replace("@PORT@", port)
        .replace("@CONFIGURATION@", &lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_of_yaml() {
        assert!(["images", "a", "my-site-2"].iter().all(|name| name.parse::<ObjectName>().is_ok()));
        for wrong in ["", "-a", "a-", "A", "a b", "a: b", "2", "null", &"a".repeat(64)] {
            assert!(wrong.parse::<ObjectName>().is_err(), "{wrong}");
        }
    }
}
