//! Configurations of web servers that serve a site.
//!
//! A configuration describes where objects *can* be and how they are served, and not which ones exist, so a publish
//! needs no change and no reload. This module has what all servers share: valid input ([`address`]), the headers of
//! paths ([`rules`]), and the virtual hosts that follow from both. Each server adds a template in `templates/`, and
//! the quoting of its language, which is applied to everything that a template prints.

pub mod address;
pub mod apache;
pub mod caddy;
pub mod glob;
pub mod headers;
pub mod host_files;
mod hosts;
pub mod kubernetes;
pub mod lighttpd;
mod namespaces;
pub mod nginx;
pub mod registry;
pub mod rules;
pub mod static_host;

use std::collections::HashSet;
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
use namespaces::Namespace;
use registry::RegistryView;
use rules::Rule;

/// The supported web servers.
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

/// A directory that the server serves.
#[derive(Clone, Debug)]
pub struct ServedRoot {
    /// The host names of the directory, at least one.
    pub server_names: Vec<ServerName>,
    /// The directory on the server, absolute.
    pub root: PathBuf,
    /// The site. None: these names serve other sites only, by [`Self::namespaces`].
    pub map: Option<SiteMap>,
    /// The registries of which clients can ask any host for the names, with the site's registry view.
    pub namespaces: Vec<String>,
}

/// The parts of a configuration that do not come from the sites.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The addresses to listen on. Empty: the default port of HTTP, or of HTTPS with a certificate.
    pub listen: Vec<Listen>,
    /// The certificate. None: plain HTTP.
    pub tls: Option<Tls>,
    /// The addresses that redirect plain HTTP to HTTPS, with a certificate. Empty: the default port.
    pub listen_http: Vec<Listen>,
    /// The directories of other origins ([`crate::site::Settings::origins`]) that this server serves, absolute.
    pub stores: Vec<(String, PathBuf)>,
    /// The directory for the state of a configuration that needs no other and no privileges, absolute. None: a part of
    /// a configuration.
    pub standalone: Option<PathBuf>,
    /// Whether pages of other origins may read the site.
    pub cors: bool,
    /// Whether Apache's configuration is a `.htaccess` file in the root, for a server that others configure.
    pub htaccess: bool,
    /// Where lighttpd's script lies on the machine that serves, absolute. The other servers have none.
    pub script: PathBuf,
}

/// A TLS certificate and its key, as absolute paths on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate with its chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerConfigError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{what} {} is relative, and the server can run in another directory: give an absolute path", .path.display())]
    Relative { what: &'static str, path: PathBuf },
    #[error("{what} {} is not UTF-8: choose another path", .path.display())]
    Encoding { what: &'static str, path: PathBuf },
    #[error("the templates of the site do not name {origin}: expected {}", expected_origins(.known))]
    UnknownOrigin { origin: String, known: Vec<String> },
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Quote(#[from] QuoteError),
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

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot be written in a configuration of {server}: {reason}; choose another name or path")]
pub struct QuoteError {
    pub text: String,
    pub server: &'static str,
    pub reason: &'static str,
}

/// Whether all characters of a text are visible. People read configurations.
fn is_text(text: &str) -> bool {
    text.chars().all(|character| character != '\t' && terminal::is_printable(character))
}

/// The quoting of a server, and its template.
struct Dialect {
    /// Also the name of the escaping in the template engine.
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

/// The variables of a template.
#[derive(Debug, Serialize)]
struct Context<'a> {
    standalone: Option<&'a str>,
    htaccess: bool,
    script: &'a str,
    /// Each address and port, with its hosts.
    sockets: Vec<Socket<'a>>,
    /// Sorted so that the first host with a matching name is the right one.
    hosts: &'a [VirtualHost<'a>],
    /// The registries that each host with the registry view serves. Empty: its own.
    namespaces: &'a [Namespace<'a>],
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

/// Renders the configuration with which `server` serves one or several sites.
pub fn render(server: WebServer, roots: &[ServedRoot], options: &ServerOptions) -> Result<String, ServerConfigError> {
    let tls = options.tls.as_ref().map(tls_files).transpose()?;
    let maps: Vec<&SiteMap> = roots.iter().filter_map(|root| root.map.as_ref()).collect();
    let has_view = maps.iter().any(|map| map.settings().views.registry);
    let mut hosts = Vec::new();
    let mut namespaces = Vec::new();
    for root in roots {
        let registry = if has_view { Some(registry::registry_view()?) } else { None };
        let host = site_host(root, options, tls, registry)?;
        namespaces.extend(root.namespaces.iter().map(|namespace| Namespace::new(namespace, host.root)));
        hosts.push(host);
    }
    for (origin, directory) in &options.stores {
        hosts.push(origin_host(&maps, options, tls, origin, directory)?);
    }
    // An exact name precedes a wildcard that covers it. Only the site's names may be wildcards.
    hosts.sort_by_key(|host| host.names.iter().any(ServerName::is_wildcard));
    let redirect = tls.map(|_| redirect(options, &hosts)).transpose()?;
    let sockets = hosts::sockets(&hosts, redirect.as_ref())?;
    if server == WebServer::Apache {
        let ports = hosts.iter().map(|host| &host.ports).chain(redirect.iter().map(|redirect| &redirect.ports));
        hosts::refuse_version_6_alone(ports.flatten())?;
    }
    let standalone = options.standalone.as_deref().map(|path| absolute("--standalone", path)).transpose()?;
    let script = absolute("--script", &options.script)?;
    let context = Context {
        standalone,
        htaccess: options.htaccess,
        script,
        sockets,
        hosts: &hosts,
        namespaces: &namespaces,
        redirect: redirect.as_ref(),
        max_ranges: MAX_RANGES,
        cors: options.cors.then_some(Cors { headers: CORS, preflight: PREFLIGHT }),
    };
    render_template(server.dialect(), &context)
}

/// Each name once: two spellings of an IPv6 address are one name, and Caddy refuses a name that is given twice.
fn distinct(names: &[ServerName]) -> Vec<ServerName> {
    let mut seen = HashSet::new();
    names.iter().filter(|name| seen.insert(*name)).cloned().collect()
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

/// The addresses of a virtual host: those of `--listen`, or the port of its origin or scheme.
fn listen(options: &ServerOptions, port: Option<u16>) -> Vec<Listen> {
    if !options.listen.is_empty() {
        return options.listen.clone();
    }
    Listen::on_all(port.unwrap_or(if options.tls.is_some() { HTTPS } else { HTTP }))
}

fn redirect(options: &ServerOptions, hosts: &[VirtualHost]) -> Result<Redirect, HostError> {
    let listen = match options.listen_http.is_empty() {
        true => Listen::on_all(HTTP),
        false => options.listen_http.clone(),
    };
    let ports = Port::group(&listen);
    Ok(Redirect { targets: Target::of(hosts, &ports)?, ports, listen })
}

/// The virtual host of a site.
fn site_host<'a>(
    root: &'a ServedRoot,
    options: &ServerOptions,
    tls: Option<TlsFiles<'a>>,
    registry: Option<RegistryView>,
) -> Result<VirtualHost<'a>, ServerConfigError> {
    let listen = listen(options, None);
    Ok(VirtualHost {
        names: distinct(&root.server_names),
        ports: Port::group(&listen),
        listen,
        tls,
        root: absolute("--root", &root.root)?,
        rules: root.map.as_ref().map(|map| rules::rules(map, None)).unwrap_or_default(),
        registry,
    })
}

/// The virtual host of another origin of the sites.
fn origin_host<'a>(
    maps: &[&SiteMap],
    options: &ServerOptions,
    tls: Option<TlsFiles<'a>>,
    origin: &str,
    directory: &'a Path,
) -> Result<VirtualHost<'a>, ServerConfigError> {
    let mut rules: Vec<Rule> = Vec::new();
    for map in maps {
        let position = map.settings().origins.iter().position(|other| other == origin);
        let more = position.map(|position| rules::rules(map, Some(position))).unwrap_or_default();
        rules.extend(more.into_iter().filter(|rule| !rules.contains(rule)).collect::<Vec<_>>());
    }
    let (false, Ok(url)) = (rules.is_empty(), Url::parse(origin)) else {
        let known = maps.iter().flat_map(|map| map.settings().origins.clone()).collect();
        return Err(ServerConfigError::UnknownOrigin { origin: origin.into(), known });
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
        rules,
        registry: None,
    })
}

/// Renders with the dialect's quoting applied to every string that the template prints. The filter `safe` prints a
/// text unquoted (comments), and `regex` quotes a regular expression.
fn render_template(dialect: &'static Dialect, context: &Context) -> Result<String, ServerConfigError> {
    let failed = |source: minijinja::Error| match quote_error(&source) {
        Some(error) => ServerConfigError::Quote(error),
        None => ServerConfigError::Template { template: dialect.template_name, source },
    };
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(whitespace.map_err(failed)?);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // An escaping of its own makes the engine mark the output of macros as safe: it was quoted when it was printed.
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
    environment.add_filter("flag", |path: &str| apache::flag(path).map_err(unquotable));
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
