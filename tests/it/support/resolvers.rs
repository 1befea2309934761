//! Two more consumers: resolvers that behave as the reference implementations of oci-discovery do, in Go and in Python.
//!
//! They are written from what those do, so that the tests need neither. Both expand a template with the variables that they have
//! and select the entries whose ref is the fragment; they differ in the variables, the hosts and the types that they accept.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use url::Url;

use super::consumer::expand;
use super::http::Base;
use super::layout::{INDEX, REF_NAME};

const REF_ENGINES: &str = "application/vnd.oci.ref-engines.v1+json";

/// A reference implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// Knows `name`, takes a type without a charset, and asks no ancestor of a host.
    Go,
    /// Does not know `name`, which expands to nothing, needs a charset, and asks the host and all of its ancestors.
    Python,
}

/// The response to a GET.
pub struct Reply {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

/// Sends a GET with an `Accept`.
pub type Get<'a> = &'a dyn Fn(&Url, &str) -> Result<Reply, String>;

/// What a name resolves to, and what was wrong on the way.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The digests of the roots.
    pub digests: BTreeSet<String>,
    pub warnings: Vec<String>,
}

/// Asks a server in plain HTTP, whatever host a URL names, as a test against an unpublished server must.
pub fn plain(base: &Base) -> impl Fn(&Url, &str) -> Result<Reply, String> {
    move |url, accept| {
        let response = base.request_to(url.host_str().unwrap(), "GET", url.path(), &[("Accept", accept)]);
        let content_type = response.header("Content-Type").unwrap_or_default().to_string();
        Ok(Reply { status: response.status, content_type, body: response.body })
    }
}

/// Asks a server over TLS, with the certificate of its authority.
pub fn tls<'a>(base: &'a Base, authority: &'a Path) -> impl Fn(&Url, &str) -> Result<Reply, String> + 'a {
    move |url, accept| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]).arg(authority);
        curl.args(["--connect-to", &format!("::{}", base.address), "--header", &format!("Accept: {accept}")]);
        let output = curl.args(["--write-out", "\n%{http_code} %{content_type}", url.as_str()]).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let end = output.stdout.iter().rposition(|byte| *byte == b'\n').unwrap();
        let (body, told) = (output.stdout[..end].to_vec(), String::from_utf8_lossy(&output.stdout[end + 1..]));
        let (status, content_type) = told.split_once(' ').unwrap();
        Ok(Reply { status: status.parse().unwrap(), content_type: content_type.into(), body })
    }
}

impl Resolver {
    /// Resolves a name over https.
    pub fn resolve(self, get: Get<'_>, name: &str) -> Resolved {
        let mut resolved = Resolved::default();
        let (image, fragment) = name.split_once('#').unwrap_or((name, ""));
        let (host, path) = image.split_once('/').unwrap();
        let mut variables = vec![("host", host.to_string()), ("path", path.into()), ("fragment", fragment.into())];
        if self == Resolver::Go {
            variables.push(("name", name.into()));
        }
        for host in self.hosts(host) {
            let base: Url = format!("https://{host}/.well-known/oci-host-ref-engines").parse().unwrap();
            let engines = match self.document(get, &base, REF_ENGINES) {
                Ok(engines) => engines,
                Err(warning) => {
                    resolved.warnings.push(warning);
                    continue;
                }
            };
            for engine in engines["refEngines"].as_array().into_iter().flatten() {
                if engine["protocol"] != "oci-index-template-v1" {
                    continue;
                }
                let expanded = expand(engine["uri"].as_str().unwrap(), &variables);
                let index = base.join(&expanded).map_err(|error| format!("{expanded}: {error}"));
                match index.and_then(|url| self.document(get, &url, INDEX)) {
                    Ok(index) => resolved.digests.extend(selected(&index, fragment)),
                    Err(warning) => resolved.warnings.push(warning),
                }
            }
        }
        resolved
    }

    fn hosts(self, host: &str) -> Vec<&str> {
        let labels = host.split('.').count();
        match self {
            Resolver::Go => vec![host],
            Resolver::Python => (1..labels.max(2)).map(|n| host.splitn(n, '.').last().unwrap()).collect(),
        }
    }

    fn document(self, get: Get<'_>, url: &Url, media_type: &str) -> Result<Value, String> {
        let Reply { status, content_type, body } = get(url, media_type)?;
        let (found, parameters) = content_type.split_once(';').unwrap_or((&content_type, ""));
        match () {
            _ if status >= 400 => Err(format!("{url}: status {status}")),
            _ if found.trim() != media_type => Err(format!("{url} returned {found}, not {media_type}")),
            _ if self == Resolver::Python && !parameters.contains("charset=") => {
                Err(format!("{url} does not declare a charset"))
            }
            _ => serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}")),
        }
    }
}

/// The digests of the entries that a fragment selects; an empty one selects all.
fn selected(index: &Value, fragment: &str) -> Vec<String> {
    let entries = index["manifests"].as_array().into_iter().flatten();
    let selected = entries.filter(|entry| fragment.is_empty() || entry["annotations"][REF_NAME] == fragment);
    selected.map(|entry| entry["digest"].as_str().unwrap().to_string()).collect()
}
