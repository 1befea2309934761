//! The server of a bucket, for messages.

use crate::store::Provider;

/// The parts of a bucket's configuration that messages may contain.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The protocol.
    pub provider: Provider,
    pub bucket: String,
    /// The region for which requests are signed.
    pub region: String,
    /// The host, with the port if one is configured.
    pub host: String,
    /// Whether the credentials come from the environment, and not from the machine's role.
    pub has_credentials: bool,
}
