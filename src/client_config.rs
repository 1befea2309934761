//! Configurations of the programs that pull images on nodes: where a site's registry view is, and for which other registries it
//! is a mirror; and of consumers that discover ref engines.
//!
//! Everything that is printed is a host, a path of a repository or a port, checked where it is parsed, and is quoted as a JSON
//! string, which TOML and YAML read as the same text.

use std::str::FromStr;

use serde_json::{Value, json};
use url::Url;

use crate::site::registry;
use oci_discovery::discovery::ref_engines;
use oci_discovery::json;

/// The server of a site, as clients of its registry view reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    is_plain: bool,
    /// The host, with a port that is not the scheme's own.
    authority: String,
}

/// A registry whose names are answered by images of the site below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The registry's host, with its port.
    registry: String,
    /// The path before the registry's own; empty: none.
    path: String,
}

/// Why there is no configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientConfigError {
    /// Docker takes no mirror below a path, and mirrors of Docker Hub only.
    #[error(
        "docker cannot use {registry}={path}: expected `docker.io=`, because dockerd has mirrors for docker.io only, and none \
         below a path; publish the images at the site's root, or use containerd's image store with its hosts.toml"
    )]
    Docker { registry: String, path: String },
    /// containerd has a file for each registry.
    #[error("containerd has a hosts.toml for each registry: give one --mirror-for at a time, found {count}")]
    OneFileEach { count: usize },
}

impl Server {
    fn origin(&self) -> String {
        format!("{}://{}", if self.is_plain { "http" } else { "https" }, self.authority)
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Server, String> {
        let expected =
            || format!("{text:?} is not the origin of a server: expected https://HOST[:PORT] or http://HOST[:PORT]");
        let url = Url::parse(text).map_err(|_| expected())?;
        let is_origin =
            matches!(url.scheme(), "http" | "https") && url.path() == "/" && !text.contains(['@', '?', '#']);
        let host = url.host_str().filter(|_| is_origin).ok_or_else(expected)?;
        let authority = url.port().map_or(host.to_string(), |port| format!("{host}:{port}"));
        Ok(Server { is_plain: url.scheme() == "http", authority })
    }
}

impl FromStr for Mirror {
    type Err = String;

    fn from_str(text: &str) -> Result<Mirror, String> {
        let expected = "expected REGISTRY=PATH, such as docker.io=mirror/docker.io; without PATH, the mirrored images are at the root";
        let (registry, path) = text.split_once('=').ok_or(expected)?;
        let is_registry = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
        if registry.is_empty() || !registry.chars().all(is_registry) {
            return Err(format!("{registry:?} is not the host of a registry: {expected}"));
        }
        if !path.is_empty() && !registry::is_name(path) {
            return Err(format!("{path:?} is not the path of a repository: {expected}"));
        }
        Ok(Mirror { registry: registry.into(), path: path.into() })
    }
}

impl Mirror {
    /// The path with a slash before it, or nothing.
    fn below(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("/{}", self.path) }
    }

    /// Where the registry itself is: that of docker.io is not at its name.
    fn upstream(&self) -> &str {
        if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry }
    }
}

fn quote(text: &str) -> String {
    json::canonical_text(&text)
}

/// containerd: `hosts.toml` of one registry, the server's own or the mirrored one.
pub fn containerd(server: &Server, mirrors: &[Mirror]) -> Result<String, ClientConfigError> {
    let (name, upstream, url) = match mirrors {
        [] => (server.authority.as_str(), server.origin(), server.origin()),
        [mirror] => {
            let url = format!("{}/v2{}", server.origin(), mirror.below());
            (mirror.registry.as_str(), format!("https://{}", mirror.upstream()), url)
        }
        _ => return Err(ClientConfigError::OneFileEach { count: mirrors.len() }),
    };
    let mut text = format!(
        "# /etc/containerd/certs.d/{name}/hosts.toml\nserver = {}\n\n[host.{}]\n  capabilities = [\"pull\", \"resolve\"]\n",
        quote(&upstream),
        quote(&url)
    );
    if !mirrors.is_empty() {
        text += "  override_path = true\n";
    }
    Ok(text)
}

/// podman, buildah, skopeo and CRI-O: a file for registries.conf.d.
pub fn podman(server: &Server, mirrors: &[Mirror]) -> String {
    let mut text = format!(
        "# /etc/containers/registries.conf.d/ocisite.conf\n[[registry]]\nlocation = {}\ninsecure = {}\n",
        quote(&server.authority),
        server.is_plain
    );
    for mirror in mirrors {
        let (registry, location) = (quote(&mirror.registry), quote(&format!("{}{}", server.authority, mirror.below())));
        text += &format!(
            "\n[[registry]]\nprefix = {registry}\nlocation = {registry}\n\n[[registry.mirror]]\nlocation = {location}\ninsecure = {}\n",
            server.is_plain
        );
    }
    text
}

/// Docker: keys of daemon.json.
pub fn docker(server: &Server, mirrors: &[Mirror]) -> Result<String, ClientConfigError> {
    let mut keys = serde_json::Map::new();
    if server.is_plain {
        keys.insert("insecure-registries".into(), json!([server.authority]));
    }
    for Mirror { registry, path } in mirrors {
        if registry != "docker.io" || !path.is_empty() {
            return Err(ClientConfigError::Docker { registry: registry.clone(), path: path.clone() });
        }
        keys.insert("registry-mirrors".into(), json!([server.origin()]));
    }
    Ok(format!("{:#}\n", Value::Object(keys)))
}

/// k3s and RKE2: registries.yaml.
pub fn k3s(server: &Server, mirrors: &[Mirror]) -> String {
    let endpoint = quote(&server.origin());
    let mut text = format!(
        "# /etc/rancher/k3s/registries.yaml\nmirrors:\n  {}:\n    endpoint:\n      - {endpoint}\n",
        quote(&server.authority)
    );
    for mirror in mirrors {
        text += &format!("  {}:\n    endpoint:\n      - {endpoint}\n", quote(&mirror.registry));
        if !mirror.path.is_empty() {
            text += &format!("    rewrite:\n      \"^(.*)$\": {}\n", quote(&format!("{}/$1", mirror.path)));
        }
    }
    text
}

/// Talos: a machine patch.
pub fn talos(server: &Server, mirrors: &[Mirror]) -> String {
    let mut text = format!(
        "machine:\n  registries:\n    mirrors:\n      {}:\n        endpoints:\n          - {}\n",
        quote(&server.authority),
        quote(&server.origin())
    );
    for mirror in mirrors {
        let endpoint = quote(&format!("{}/v2{}", server.origin(), mirror.below()));
        text += &format!(
            "      {}:\n        endpoints:\n          - {endpoint}\n        overridePath: true\n",
            quote(&mirror.registry)
        );
    }
    text
}

/// The document of regular expressions by which consumers of these hosts' names find the site's ref engine without a request for its
/// ref-engines object (xdg-ref-engine-discovery). What the index's entries need further, they have.
pub fn xdg(hosts: &[String], index_template: &str) -> Value {
    let template = if index_template.starts_with('/') {
        format!("https://{{host}}{index_template}")
    } else {
        index_template.into()
    };
    let engines: Value = json::parse(&ref_engines::write(&template, None)).unwrap_or_default();
    hosts
        .iter()
        .map(|host| (format!("^{}/", regex::escape(host)), engines.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(texts: &[&str]) -> Vec<Mirror> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn servers_and_mirrors_are_hosts_and_paths_and_nothing_else() {
        for text in ["https://example.com", "http://127.0.0.1:8000", "https://[::1]:8443"] {
            assert_eq!(text.parse::<Server>().unwrap().origin(), text);
        }
        for text in [
            "example.com",
            "ftp://example.com",
            "https://example.com/a",
            "https://a@example.com",
            "https://example.com/?a",
        ] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
        for text in ["docker.io", "=a", "docker.io=A", "docker.io=a/../b", "docker.io/library=a", "a\"b=c"] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_client_cannot_do_is_refused() {
        let server: Server = "https://example.com".parse().unwrap();
        let of = |texts: &[&str]| docker(&server, &mirrors(texts));
        assert_eq!(of(&["docker.io="]).unwrap(), "{\n  \"registry-mirrors\": [\n    \"https://example.com\"\n  ]\n}\n");
        assert!(of(&["docker.io=a"]).is_err() && of(&["quay.io="]).is_err());
        assert!(containerd(&server, &mirrors(&["docker.io=a", "quay.io=b"])).is_err());
    }

    #[test]
    fn nodes_get_their_documented_forms() {
        let server: Server = "https://example.com".parse().unwrap();
        let mirrors = mirrors(&["docker.io=mirror/docker.io"]);
        let k3s = k3s(&server, &mirrors);
        assert!(k3s.contains("  \"docker.io\":\n    endpoint:\n      - \"https://example.com\"\n    rewrite:\n      \"^(.*)$\": \"mirror/docker.io/$1\"\n"), "{k3s}");
        let talos = talos(&server, &mirrors);
        assert!(talos.contains("      \"docker.io\":\n        endpoints:\n          - \"https://example.com/v2/mirror/docker.io\"\n        overridePath: true\n"), "{talos}");
    }
}
