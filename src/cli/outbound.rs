//! The options of every subcommand that sends requests: where they may go, and how long they may take.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::output::Verbosity;
use super::size;
use crate::client::http::{ClientOptions, HttpError, Method, Observer};
use crate::outbound::address::canonical;
use crate::outbound::agent::Address;
use crate::outbound::pace::{DEFAULT_TIME, Pace};
use crate::terminal;

/// The largest --timeout: a year.
const MAX_SECONDS: u64 = 365 * 24 * 3600;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP over TLS.
    Https,
    /// Plain HTTP.
    Http,
}

/// ClientOptions for requests.
#[derive(Clone, Debug, clap::Args)]
pub struct OutboundArgs {
    /// Connect to this address for requests to the hosts of the given names (or of the site) and to their parent domains. With
    /// --protocol http, these requests are plain HTTP, also where a URL has https. For a preview or a staging server.
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<Address>,
    /// Permit connections to private addresses of this host. By default, a site that you reach over the internet cannot send
    /// requests to private networks. Repeat for several hosts.
    #[arg(long, value_name = "HOST", value_parser = host)]
    allow_private: Vec<String>,
    /// The time limit for each document. A blob has no time limit, but a minimum speed (--speed-limit).
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIME.as_secs(), value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    timeout: u64,
    /// The minimum speed of the transfer of a blob, in bytes per second, averaged over --timeout seconds; 0 for no minimum.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "16KiB")]
    speed_limit: u64,
}

impl OutboundArgs {
    /// The options of the client. With `is_plain`, the server of --connect-to has no TLS.
    pub fn options(&self, is_plain: bool, verbosity: Verbosity) -> ClientOptions {
        let observer: Option<Arc<dyn Observer>> = verbosity.verbose.then(|| Arc::new(Requests) as _);
        let pace = Pace { time: Duration::from_secs(self.timeout), speed: self.speed_limit };
        let (connect_to, permitted) = (self.connect_to.clone(), self.allow_private.clone());
        ClientOptions { pace, connect_to, is_plain, permitted, observer }
    }
}

/// A host, as URLs have it.
fn host(text: &str) -> Result<String, String> {
    match url::Host::parse(text) {
        Ok(_) => Ok(canonical(text)),
        Err(_) => Err("expected a host, such as cas.example.com, without scheme, port and path".into()),
    }
}

/// Prints each request to standard error.
struct Requests;

impl Observer for Requests {
    fn exchange(&self, method: Method, url: &Url, outcome: Result<u16, &HttpError>) {
        match outcome {
            Ok(status) => terminal::message(format_args!("{method} {url} {status}")),
            Err(_) => terminal::message(format_args!("{method} {url} failed")),
        }
    }
}
