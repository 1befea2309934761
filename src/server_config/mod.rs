//! Configurations of web servers that serve a site.
//!
//! A configuration says where objects *may* lie and how they are served, never which there are, so publishing needs no
//! change and no reload. What is common to all servers is here: what may go in ([`address`]), which paths get which
//! headers ([`rules`]), and the virtual hosts that follow from both. A server adds two things of its own: a template in
//! `templates/`, and how a text is quoted in its language, which is applied to everything that a template prints.

pub mod address;
pub mod apache;
pub mod caddy;
pub mod headers;
mod hosts;
pub mod lighttpd;
pub mod nginx;
pub mod registry;
pub mod rules;

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;
use url::Url;

use crate::site::SiteMap;
use crate::site::object::{CORS, MAX_RANGES, PREFLIGHT};
use crate::site::path::PathError;
use crate::terminal;
use address::{AddressError, HTTP, HTTPS, Listen, Port, ServerName};
pub use hosts::HostError;
use hosts::{Redirect, Socket, Target, TlsFiles, VirtualHost};

/// The web servers that there are configurations for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebServer {
    /// nginx.
    Nginx,
    /// Apache httpd 2.4.
    Apache,
    /// Caddy 2, as a Caddyfile.
    Caddy,
    /// lighttpd 1.4, with the script [`lighttpd::SCRIPT`].
    Lighttpd,
}

/// What a configuration needs to know beside the site itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// The names under which the site is served, at least one.
    pub server_names: Vec<ServerName>,
    /// The directory of the site on the machine that serves it, absolute.
    pub root: PathBuf,
    /// Where the server listens. Empty: on the default port of HTTP, or of HTTPS with a certificate.
    pub listen: Vec<Listen>,
    /// The certificate. None: plain HTTP.
    pub tls: Option<Tls>,
    /// Where plain HTTP is redirected to HTTPS, with a certificate. Empty: on the default port.
    pub listen_http: Vec<Listen>,
    /// The directories of other origins ([`crate::site::Settings::origins`]) that this server serves, absolute.
    pub stores: Vec<(String, PathBuf)>,
    /// Make a configuration that needs no other and no privileges, with its state in this directory, absolute.
    pub standalone: Option<PathBuf>,
    /// Whether pages of other origins may read the site.
    pub cors: bool,
    /// Where lighttpd's script lies on the machine that serves, absolute. The other servers have none.
    pub script: PathBuf,
}

/// A TLS certificate and its key, as absolute paths on the machine that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate with its chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant is its documentation")]
pub enum ServerConfigError {
    /// A server's name or an address to listen on is malformed.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A path that means something else on the machine that serves.
    #[error("{what} {} is relative, and the server can run in another directory: give an absolute path", .path.display())]
    Relative {
        /// Which path: `--root`, …
        what: &'static str,
        path: PathBuf,
    },
    /// A path that no configuration can name.
    #[error("{what} {} is not UTF-8: choose another path", .path.display())]
    Encoding {
        /// Which path: `--root`, …
        what: &'static str,
        path: PathBuf,
    },
    /// A directory for an origin that the site does not use.
    #[error("the templates of the site do not name {origin}: expected {}", expected_origins(.known))]
    UnknownOrigin {
        /// The origin that was given.
        origin: String,
        /// The origins that the site uses.
        known: Vec<String>,
    },
    /// Virtual hosts that cannot be told apart.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A path of the registry view is malformed, which is a fault of this program.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A text that has no form in the server's language.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The template is wrong, which is a fault of this program.
    #[error("the template {template} cannot be rendered")]
    Template {
        template: &'static str,
        #[source]
        source: minijinja::Error,
    },
}

fn expected_origins(known: &[String]) -> String {
    if known.is_empty() { "no --store".into() } else { format!("--store with one of {}", known.join(", ")) }
}

/// A text that cannot be written in a server's configuration without changing what it means.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot be written in a configuration of {server}: {reason}; choose another name or path")]
#[expect(missing_docs, reason = "the message is the documentation of the fields")]
pub struct QuoteError {
    pub text: String,
    pub server: &'static str,
    pub reason: &'static str,
}

/// Whether a text has only characters that show themselves. A configuration is printed, and read by people.
fn is_text(text: &str) -> bool {
    text.chars().all(|character| character != '\t' && terminal::is_printable(character))
}

/// How a server writes texts, and the template that does the rest.
struct Dialect {
    /// Also the name of the escaping that the template engine applies.
    server: &'static str,
    template_name: &'static str,
    template: &'static str,
    quote: fn(&str) -> Result<String, QuoteError>,
    quote_regex: fn(&str) -> Result<String, QuoteError>,
}

impl WebServer {
    fn dialect(self) -> &'static Dialect {
        match self {
            WebServer::Nginx => &nginx::DIALECT,
            WebServer::Apache => &apache::DIALECT,
            WebServer::Caddy => &caddy::DIALECT,
            WebServer::Lighttpd => &lighttpd::DIALECT,
        }
    }
}

/// What a template sees.
#[derive(Debug, Serialize)]
struct Context<'a> {
    standalone: Option<&'a str>,
    script: &'a str,
    /// Each address and port, with the hosts that it serves.
    sockets: Vec<Socket<'a>>,
    /// In an order in which the first host with a matching name is the right one.
    hosts: &'a [VirtualHost<'a>],
    redirect: Option<&'a Redirect>,
    /// The most ranges of one request that are answered one by one.
    max_ranges: usize,
    cors: Option<Cors>,
}

/// The headers by which pages of other origins may read the site, names and values.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cors {
    /// Of every response.
    headers: [(&'static str, &'static str); 2],
    /// Of the answer to a preflight.
    preflight: [(&'static str, &'static str); 3],
}

/// Renders the configuration with which `server` serves the site.
pub fn render(server: WebServer, map: &SiteMap, options: &Options) -> Result<String, ServerConfigError> {
    let tls = options.tls.as_ref().map(tls_files).transpose()?;
    let own_listen = listen(options, None);
    let mut hosts = vec![VirtualHost {
        names: options.server_names.clone(),
        ports: Port::group(&own_listen),
        listen: own_listen,
        tls,
        root: absolute("--root", &options.root)?,
        rules: rules::rules(map, None),
        registry: registry::registry_view(map)?,
    }];
    for (origin, directory) in &options.stores {
        hosts.push(origin_host(map, options, tls, origin, directory)?);
    }
    // An exact name goes before a wildcard that covers it. Only the site's names may be wildcards.
    hosts.sort_by_key(|host| host.names.iter().any(ServerName::is_wildcard));
    let redirect = tls.map(|_| redirect(options, &hosts));
    let standalone = options.standalone.as_deref().map(|path| absolute("--standalone", path)).transpose()?;
    let script = absolute("--script", &options.script)?;
    let context = Context {
        standalone,
        script,
        sockets: hosts::sockets(&hosts, redirect.as_ref())?,
        hosts: &hosts,
        redirect: redirect.as_ref(),
        max_ranges: MAX_RANGES,
        cors: options.cors.then_some(Cors { headers: CORS, preflight: PREFLIGHT }),
    };
    render_template(server.dialect(), &context)
}

fn tls_files(tls: &Tls) -> Result<TlsFiles<'_>, ServerConfigError> {
    let certificate = absolute("--tls-certificate", &tls.certificate)?;
    Ok(TlsFiles { certificate, key: absolute("--tls-key", &tls.key)? })
}

fn absolute<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, ServerConfigError> {
    if !path.is_absolute() {
        return Err(ServerConfigError::Relative { what, path: path.into() });
    }
    path.to_str().ok_or_else(|| ServerConfigError::Encoding { what, path: path.into() })
}

/// Where a virtual host listens: where it was told to, or on the port of its origin or its scheme.
fn listen(options: &Options, port: Option<u16>) -> Vec<Listen> {
    if !options.listen.is_empty() {
        return options.listen.clone();
    }
    Listen::on_all(port.unwrap_or(if options.tls.is_some() { HTTPS } else { HTTP }))
}

fn redirect(options: &Options, hosts: &[VirtualHost]) -> Redirect {
    let listen = match options.listen_http.is_empty() {
        true => Listen::on_all(HTTP),
        false => options.listen_http.clone(),
    };
    Redirect { ports: Port::group(&listen), listen, targets: Target::of(hosts) }
}

/// The virtual host of an origin that holds a part of the site.
fn origin_host<'a>(
    map: &SiteMap,
    options: &Options,
    tls: Option<TlsFiles<'a>>,
    origin: &str,
    directory: &'a Path,
) -> Result<VirtualHost<'a>, ServerConfigError> {
    let known = &map.settings().origins;
    let position = known.iter().position(|known| known == origin);
    let url = Url::parse(origin).ok();
    let (Some(position), Some(url)) = (position, url) else {
        return Err(ServerConfigError::UnknownOrigin { origin: origin.into(), known: known.clone() });
    };
    let name = ServerName::parse(url.host_str().unwrap_or_default())?;
    if name.is_wildcard() {
        return Err(HostError::Wildcard { origin: origin.into() }.into());
    }
    let listen = listen(options, url.port());
    Ok(VirtualHost {
        names: vec![name],
        ports: Port::group(&listen),
        listen,
        tls,
        root: absolute("--store", directory)?,
        rules: rules::rules(map, Some(position)),
        registry: None,
    })
}

/// Renders with the dialect's quoting applied to every string that the template prints, so that none can be forgotten.
/// Where a template needs a text as it is (a comment of ours), it says so with `safe`; a regular expression with `regex`.
fn render_template(dialect: &'static Dialect, context: &Context) -> Result<String, ServerConfigError> {
    let failed = |source: minijinja::Error| match quote_error(&source) {
        Some(error) => ServerConfigError::Quote(error),
        None => ServerConfigError::Template { template: dialect.template_name, source },
    };
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(whitespace.map_err(failed)?);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // An escaping of its own makes the engine mark what a macro printed as safe: it has been quoted where it was printed.
    environment.set_auto_escape_callback(|_| AutoEscape::Custom(dialect.server.into()));
    environment.set_formatter(|out, _, value| {
        let written = match value.as_str() {
            Some(text) if !value.is_safe() => out.write_str(&(dialect.quote)(text).map_err(unquotable)?),
            _ => out.write_str(&value.to_string()),
        };
        written.map_err(minijinja::Error::from)
    });
    environment.add_filter("regex", |text: String| {
        (dialect.quote_regex)(&text).map(Value::from_safe_string).map_err(unquotable)
    });
    environment.add_filter("directory", |path: &str| apache::directory(path).map_err(unquotable));
    environment.add_template(dialect.template_name, dialect.template).map_err(failed)?;
    let template = environment.get_template(dialect.template_name).map_err(failed)?;
    template.render(Serde(context)).map_err(failed)
}

fn unquotable(error: QuoteError) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, "a text cannot be quoted").with_source(error)
}

fn quote_error(error: &minijinja::Error) -> Option<QuoteError> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<QuoteError>())
        .cloned()
}
