//! The other side of a bucket, as messages name it.

use crate::store::Provider;

/// What messages may say of the other side.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Whose protocol it speaks.
    pub provider: Provider,
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The host, and the port where it is given.
    pub host: String,
    /// Whether the environment has credentials, as opposed to the machine's role.
    pub has_credentials: bool,
}
