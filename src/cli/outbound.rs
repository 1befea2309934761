//! The options of every subcommand that asks servers: where requests may go, and how long they may take.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::output::Verbosity;
use super::size;
use crate::client::http::{HttpError, Method, Observer, Options};
use crate::outbound::address::canonical;
use crate::outbound::agent::Address;
use crate::outbound::pace::{DEFAULT_TIME, Pace};
use crate::terminal;

/// The longest time that an option takes, in seconds: a year.
const MAX_SECONDS: u64 = 365 * 24 * 3600;

/// How servers are asked.
#[derive(Clone, Debug, clap::Args)]
pub struct OutboundArgs {
    /// Send the requests for the hosts of the names or the site, and for their ancestors, to this address, such as a preview or a
    /// staging server.
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<Address>,
    /// Let the site lead to private addresses of this host, also where it has public ones; repeated, for several hosts.
    #[arg(long, value_name = "HOST", value_parser = host)]
    allow_private: Vec<String>,
    /// How long a document may take; a blob may take as long as it is fast enough over this time.
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIME.as_secs(), value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    timeout: u64,
    /// How many bytes of a blob have to come each second, on average over the time of --timeout; 0: any number.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "16KiB")]
    speed_limit: u64,
}

impl OutboundArgs {
    /// The options of the client.
    pub fn options(&self, verbosity: Verbosity) -> Options {
        let observer: Option<Arc<dyn Observer>> = verbosity.verbose.then(|| Arc::new(Requests) as _);
        let pace = Pace { time: Duration::from_secs(self.timeout), speed: self.speed_limit };
        Options { pace, connect_to: self.connect_to.clone(), permitted: self.allow_private.clone(), observer }
    }
}

/// A host, as URLs have it.
fn host(text: &str) -> Result<String, String> {
    match url::Host::parse(text) {
        Ok(_) => Ok(canonical(text)),
        Err(_) => Err("expected a host, such as cas.example.com, without scheme, port and path".into()),
    }
}

/// Tells each request on standard error.
struct Requests;

impl Observer for Requests {
    fn exchange(&self, method: Method, url: &Url, outcome: Result<u16, &HttpError>) {
        match outcome {
            Ok(status) => terminal::message(format_args!("{method} {url} {status}")),
            Err(_) => terminal::message(format_args!("{method} {url} failed")),
        }
    }
}
