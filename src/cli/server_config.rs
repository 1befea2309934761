//! `ocisite server-config`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::bucket::site_directory;
use super::origin::parse_origin;
use crate::server_config::address::{Listen, ServerName};
use crate::server_config::kubernetes::{self, ObjectName};
use crate::server_config::static_host::{StaticHost, Usage};
use crate::server_config::{self, ServedRoot, ServerOptions, Tls, WebServer, headers, host_files};
use crate::site::{Settings, SiteMap};
use crate::store::directory::{DirectoryStore, LinkMode};
use crate::store::site::{self, NoSite, ServedRoots};
use crate::store::{Location, Store};
use crate::terminal;

/// Print the configuration with which a web server serves a site.
///
/// The configuration has rules for paths and does not list the images. Publishing needs no change to it and no reload.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    server: Server,
}

#[derive(Debug, Subcommand)]
enum Server {
    Nginx(NginxArgs),
    Apache(ApacheArgs),
    Caddy(CaddyArgs),
    Lighttpd(LighttpdArgs),
    /// Print the Lua script that the configuration of lighttpd calls, the same for every site.
    #[command(after_help = "Example:\n  ocisite server-config lighttpd-script > /etc/lighttpd/ocisite.lua")]
    LighttpdScript,
    Headers(HeadersArgs),
    Kubernetes(KubernetesArgs),
}

const NGINX_EXAMPLES: &str = "Examples:
  ocisite server-config nginx --site site > /etc/nginx/conf.d/site.conf
  ocisite server-config nginx --site site --root /srv/example.com --server-name example.com \\
    --tls-certificate /etc/ssl/example.com/fullchain.pem --tls-key /etc/ssl/example.com/privkey.pem
  ocisite server-config nginx --site site --listen 127.0.0.1:8080 --standalone /tmp/nginx > nginx.conf";

/// For nginx: server blocks to include in the http block, or a complete nginx.conf with --standalone.
#[derive(Debug, clap::Args)]
#[command(after_help = NGINX_EXAMPLES)]
struct NginxArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Print a complete nginx.conf that needs no privileges and keeps its logs and temporary files in this directory.
    #[arg(long, value_name = "DIR")]
    standalone: Option<PathBuf>,
}

const APACHE_EXAMPLES: &str = "Examples:
  ocisite server-config apache --site site > /etc/apache2/sites-enabled/site.conf
  ocisite server-config apache --site site --listen 127.0.0.1:8080 --standalone /tmp/apache > apache.conf
  ocisite server-config apache --site site --htaccess > site/.htaccess";

/// For Apache httpd 2.4: virtual hosts to include, or a complete configuration with --standalone.
///
/// Apache needs the modules headers and rewrite (`a2enmod headers rewrite`), and ssl for TLS.
#[derive(Debug, clap::Args)]
#[command(after_help = APACHE_EXAMPLES)]
struct ApacheArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Print a complete configuration that needs no privileges and keeps its logs and state in this directory.
    #[arg(long, value_name = "DIR")]
    standalone: Option<PathBuf>,
    /// Print a `.htaccess` file for the directory of the site, which is the document root. For shared hosting.
    #[arg(long, conflicts_with_all = ["standalone", "server_name", "root", "tls_certificate", "listen", "listen_http", "store"])]
    htaccess: bool,
}

const CADDY_EXAMPLES: &str = "Examples:
  ocisite server-config caddy --site site > /etc/caddy/Caddyfile
  ocisite server-config caddy --site site --listen 127.0.0.1:8080 --standalone /tmp/caddy > Caddyfile";

/// For Caddy 2: site blocks of a Caddyfile, or a complete Caddyfile with --standalone.
#[derive(Debug, clap::Args)]
#[command(after_help = CADDY_EXAMPLES)]
struct CaddyArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Print a complete Caddyfile that needs no privileges and keeps its logs and state in this directory.
    #[arg(long, value_name = "DIR")]
    standalone: Option<PathBuf>,
}

const LIGHTTPD_EXAMPLES: &str = "Examples:
  ocisite server-config lighttpd-script > /etc/lighttpd/ocisite.lua
  ocisite server-config lighttpd --site site > /etc/lighttpd/conf-enabled/90-site.conf
  ocisite server-config lighttpd --site site --listen 127.0.0.1:8080 --standalone /tmp/lighttpd > lighttpd.conf";

/// For lighttpd 1.4.60 or later: a part to include, or a complete configuration with --standalone.
///
/// lighttpd needs the module magnet (Debian's package lighttpd-modules-lua), openssl for TLS, and the script that `ocisite
/// server-config lighttpd-script` prints, which finds the files.
#[derive(Debug, clap::Args)]
#[command(after_help = LIGHTTPD_EXAMPLES)]
struct LighttpdArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Print a complete configuration that needs no privileges and keeps its logs and state in this directory.
    #[arg(long, value_name = "DIR")]
    standalone: Option<PathBuf>,
    /// The path of the script on the server [default: ocisite.lua in /etc/lighttpd, or in --standalone].
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

const HEADERS_EXAMPLES: &str = "Examples:
  ocisite server-config headers --site site --format netlify > site/_headers
  ocisite server-config headers --site site --format netlify --redirects > site/_redirects
  ocisite server-config headers --site site --format azure-static-web-apps > site/staticwebapp.config.json
  ocisite server-config headers --site site --format firebase > site/firebase.json
  ocisite server-config headers --site site --format vercel > site/vercel.json
  ocisite server-config headers --site site --format json | jq '.[] | select(.path == \"/oci-index/**\")'";

/// For static hosts that accept only a list of headers for each path.
///
/// The list has a rule for each kind of path. The paths of the registry view do not show the media types of manifests, so manifests
/// have the most frequent type, and each manifest of another type has a rule of its own: print the list of a site with that view
/// again after each publish. The rules of the catalogue have no media types, because hosts know them from the file names. A site
/// above the limits of the host is refused.
///
/// Azure Static Web Apps takes media types from the endings of file names only. There, each manifest has a rule that leads to its
/// typed name, and indexes and the ref-engines object have no media type of their own.
///
/// A host that cannot rewrite paths does not answer three requests of registry clients: /v2/ (the file is /v2/_ping.json), an empty
/// list of referrers (/v2/_no-referrers.json), and a list of tags that begins after a given tag. Firebase and Vercel rewrite the
/// first two, Netlify with --redirects; Azure Static Web Apps the first, Cloudflare Pages with --redirects.
#[derive(Debug, clap::Args)]
#[command(after_help = HEADERS_EXAMPLES)]
struct HeadersArgs {
    /// The directory of the site.
    #[arg(long, value_name = "DIR")]
    site: PathBuf,
    /// The format of the list.
    #[arg(long, value_enum)]
    format: HeadersFormat,
    /// Print the file `_redirects`, with the paths that have no file of their own. For Cloudflare Pages and Netlify.
    #[arg(long)]
    redirects: bool,
    /// List no CORS headers, for a site that web pages of other origins are not to read.
    #[arg(long)]
    no_cors: bool,
}

/// The format of a list of headers.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum HeadersFormat {
    /// A JSON array of paths with their headers. `*` stands for a part of a segment, `**` for any characters. The last entry that
    /// matches a path applies, alone. Manifests and blobs have no `Docker-Content-Digest`.
    Json,
    /// The file `_headers` of Cloudflare Pages.
    CloudflarePages,
    /// The file `_headers` of Netlify.
    Netlify,
    /// The file `staticwebapp.config.json` of Azure Static Web Apps.
    AzureStaticWebApps,
    /// The file `firebase.json` of Firebase Hosting.
    Firebase,
    /// The file `vercel.json` of Vercel.
    Vercel,
}

impl HeadersFormat {
    fn host(self) -> Option<StaticHost> {
        match self {
            HeadersFormat::Json => None,
            HeadersFormat::CloudflarePages => Some(StaticHost::CloudflarePages),
            HeadersFormat::Netlify => Some(StaticHost::Netlify),
            HeadersFormat::AzureStaticWebApps => Some(StaticHost::AzureStaticWebApps),
            HeadersFormat::Firebase => Some(StaticHost::Firebase),
            HeadersFormat::Vercel => Some(StaticHost::Vercel),
        }
    }
}

const KUBERNETES_EXAMPLES: &str = "Examples:
  ocisite server-config kubernetes --site site --claim images | kubectl apply -f -
  ocisite server-config kubernetes --site site --claim images --name registry --registry > registry.yaml";

/// For Kubernetes: a manifest in which nginx serves the site from a volume.
///
/// It has a ConfigMap with the configuration of nginx, a Deployment with the image nginx:stable, and a Service. The pods run without
/// privileges, and read the volume only. TLS is the part of an ingress or a load balancer before the Service.
#[derive(Debug, clap::Args)]
#[command(after_help = KUBERNETES_EXAMPLES)]
struct KubernetesArgs {
    /// The directory of the site.
    #[arg(long, value_name = "DIR")]
    site: PathBuf,
    /// The PersistentVolumeClaim with the site in its root.
    #[arg(long, value_name = "NAME")]
    claim: ObjectName,
    /// The name of the ConfigMap, the Deployment and the Service.
    #[arg(long, value_name = "NAME", default_value = "ocisite")]
    name: ObjectName,
    /// A host name of the site [default: the hosts of the site's image names].
    #[arg(long, value_name = "NAME", num_args = 1..)]
    server_name: Vec<ServerName>,
    /// Include the rules of the registry view, also for a site without the view.
    #[arg(long)]
    registry: bool,
    /// Send no CORS headers, for a site that web pages of other origins are not to read.
    #[arg(long)]
    no_cors: bool,
}

/// The options that all servers share.
#[derive(Debug, clap::Args)]
struct SiteArgs {
    /// The directory of the site, or a directory with a site for each host (`publish --root-per-host`). The server then
    /// chooses the site by the host of the request or, for registry clients that use the server as a mirror, by the registry
    /// that they name (?ns=docker.io).
    #[arg(long, value_name = "DIR")]
    site: PathBuf,
    /// A host name of the site [default: the hosts of the site's image names]. `*.example.com` stands for all names below
    /// example.com, but in Caddy only for those with one more label: name a.b.example.com itself, or `*.b.example.com`. With
    /// several sites, an additional name, where clients find the sites only by the registry that they name.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    server_name: Vec<ServerName>,
    /// The site's directory on the server [default: that of --site]. For lighttpd, the path must not contain symbolic links.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The TLS certificate with its chain. The server then redirects plain HTTP to HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The key of the TLS certificate.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Where to listen: PORT, ADDRESS:PORT or [ADDRESS]:PORT [default: port 80, or 443 with TLS, on all addresses].
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<Listen>,
    /// Where to listen for plain HTTP, which is redirected to HTTPS [default: port 80 on all addresses].
    #[arg(long, value_name = "ADDRESS", requires = "tls_certificate")]
    listen_http: Vec<Listen>,
    /// The directory of another origin that the site's templates name. For a server that serves this origin, too.
    #[arg(long, value_name = "ORIGIN=DIR", value_parser = parse_store)]
    store: Vec<(String, PathBuf)>,
    /// Include the rules of the registry view, also for a site without the view. A later publish with --registry then needs no new
    /// configuration.
    #[arg(long)]
    registry: bool,
    /// Send no CORS headers, for a site that web pages of other origins are not to read.
    #[arg(long)]
    no_cors: bool,
}

/// Parses `ORIGIN=DIR`: a web server serves directories only.
fn parse_store(text: &str) -> Result<(String, PathBuf), String> {
    let (origin, directory) = text.split_once('=').ok_or("expected ORIGIN=DIR, such as https://cdn.example.net=cdn")?;
    Ok((parse_origin(origin)?, directory.into()))
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let htaccess = matches!(&args.server, Server::Apache(apache) if apache.htaccess);
    let (server, site, standalone, script) = match args.server {
        Server::Nginx(nginx) => (WebServer::Nginx, nginx.site, nginx.standalone, None),
        Server::Apache(apache) => (WebServer::Apache, apache.site, apache.standalone, None),
        Server::Caddy(caddy) => (WebServer::Caddy, caddy.site, caddy.standalone, None),
        Server::Lighttpd(lighttpd) => (WebServer::Lighttpd, lighttpd.site, lighttpd.standalone, lighttpd.script),
        Server::LighttpdScript => {
            terminal::print(server_config::lighttpd::SCRIPT.lines())?;
            return Ok(ExitCode::SUCCESS);
        }
        Server::Headers(args) => return print_headers(&args),
        Server::Kubernetes(args) => return print_kubernetes(args),
    };
    let state = standalone.as_deref().unwrap_or(Path::new("/etc/lighttpd"));
    let script = script.unwrap_or_else(|| state.join("ocisite.lua"));
    let configuration = render(server, site, |options| ServerOptions { script, standalone, htaccess, ..options })?;
    terminal::print(configuration.lines())?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration of a server, with options that only this server has.
fn render(
    server: WebServer,
    mut site: SiteArgs,
    complete: impl FnOnce(ServerOptions) -> ServerOptions,
) -> anyhow::Result<String> {
    site.site = site_directory(&site.site)?;
    let roots = roots(server, &site)?;
    let options = complete(options(site));
    if options.htaccess && roots.len() > 1 {
        bail!(
            "a .htaccess file is for one site: expected the directory of one with --site, found a directory of several"
        );
    }
    Ok(server_config::render(server, &roots, &options)?)
}

fn print_kubernetes(args: KubernetesArgs) -> anyhow::Result<ExitCode> {
    let site = SiteArgs {
        site: args.site,
        server_name: args.server_name,
        root: Some(kubernetes::ROOT.into()),
        tls_certificate: None,
        tls_key: None,
        listen: vec![kubernetes::LISTEN.parse()?],
        listen_http: vec![],
        store: vec![],
        registry: args.registry,
        no_cors: args.no_cors,
    };
    let state = Some(kubernetes::STATE.into());
    let complete = |options| ServerOptions { standalone: state, script: "/".into(), ..options };
    let configuration = render(WebServer::Nginx, site, complete)?;
    terminal::print(kubernetes::manifest(&configuration, &args.name, &args.claim).lines())?;
    Ok(ExitCode::SUCCESS)
}

fn print_headers(args: &HeadersArgs) -> anyhow::Result<ExitCode> {
    let site = site_directory(&args.site)?;
    let map = SiteMap::new(settings(&site)?)?;
    let (mut paths, mut usage) = (Vec::new(), Usage::default());
    DirectoryStore::new(&site, LinkMode::Copy, true)?.list("", &mut |listed| {
        usage.add(&listed);
        paths.push(listed.path);
    })?;
    let list = headers::header_list(&map, &paths, !args.no_cors)?;
    let host = args.format.host();
    if let Some(exceeded) = host.and_then(|host| host.check_files(&usage).into_iter().next()) {
        return Err(exceeded.into());
    }
    let text = match host {
        None if !args.redirects => {
            terminal::print_json(&list.to_json())?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(host) if !args.redirects => host_files::headers_file(host, &list, &paths)?,
        _ => host.and_then(|host| host_files::redirects_file(host, &list, &paths)),
    };
    let expected = "--redirects is for Cloudflare Pages and Netlify: expected --format cloudflare-pages or netlify";
    terminal::print(text.context(expected)?.lines())?;
    Ok(ExitCode::SUCCESS)
}

fn settings(site: &Path) -> anyhow::Result<Settings> {
    let store = DirectoryStore::new(site, LinkMode::Copy, true)?;
    match site::description(&store)? {
        Some(description) => Ok(description.settings),
        None => Err(NoSite::at(&Location::Directory(site.into())).into()),
    }
}

/// The directories to serve: the site, or the sites below the directory.
fn roots(server: WebServer, args: &SiteArgs) -> anyhow::Result<Vec<ServedRoot>> {
    let sites = ServedRoots::of(&args.site)?;
    let root = directory_on_server(server, args)?;
    let with_view = |path: &Path| -> anyhow::Result<Settings> {
        let mut settings = settings(path)?;
        settings.views.registry |= args.registry;
        Ok(settings)
    };
    let sites = match sites {
        ServedRoots::PerHost(sites) => sites,
        ServedRoots::One(site) => {
            let settings = with_view(&site)?;
            let names = args.server_name.clone();
            let server_names = if names.is_empty() { server_names(&settings.hosts)? } else { names };
            let map = Some(SiteMap::new(settings)?);
            return Ok(vec![ServedRoot { server_names, root, map, namespaces: vec![] }]);
        }
    };
    let mut roots = Vec::new();
    for site in sites {
        let settings = with_view(&site)?;
        let namespaces = if settings.views.registry { settings.hosts.clone() } else { vec![] };
        let (server_names, root) = (server_names(&settings.hosts)?, root.join(site.file_name().unwrap_or_default()));
        roots.push(ServedRoot { server_names, root, map: Some(SiteMap::new(settings)?), namespaces });
    }
    if !args.server_name.is_empty() {
        roots.push(ServedRoot { server_names: args.server_name.clone(), root, map: None, namespaces: vec![] });
    }
    Ok(roots)
}

fn server_names(hosts: &[String]) -> anyhow::Result<Vec<ServerName>> {
    let names = hosts.iter().map(|host| ServerName::parse(host));
    names
        .collect::<Result<_, _>>()
        .context("a host of the site cannot be a server name; give the host name of the site with --server-name")
}

#[allow(clippy::disallowed_methods, reason = "the user names the site's directory")]
fn directory_on_server(server: WebServer, args: &SiteArgs) -> anyhow::Result<PathBuf> {
    let root = match (&args.root, server) {
        (Some(root), _) => Ok(root.clone()),
        // Only lighttpd refuses links in the path of the root itself.
        (None, WebServer::Lighttpd) => args.site.canonicalize(),
        (None, _) => std::path::absolute(&args.site),
    };
    root.with_context(|| format!("cannot find {}", args.site.display()))
}

fn options(args: SiteArgs) -> ServerOptions {
    ServerOptions {
        listen: args.listen,
        tls: args.tls_certificate.zip(args.tls_key).map(|(certificate, key)| Tls { certificate, key }),
        listen_http: args.listen_http,
        stores: args.store,
        standalone: None,
        htaccess: false,
        cors: !args.no_cors,
        script: PathBuf::new(),
    }
}
