//! Decides to which addresses a site may lead a client.
//!
//! A site gives the URLs of its indexes and blobs, and a server those of redirects. Both could lead a client in a
//! private network to addresses that only this network reaches: a router, or the metadata service of a cloud
//! (server-side request forgery). Therefore the look-up of a host returns only permitted addresses:
//!
//! - Public addresses always.
//! - Private addresses if the host has no others, and the user named the host, or all hosts that the user named are in
//!   private networks, or the user permitted the host (`--allow-private`).
//! - Of a mixed answer only the public ones, unless the user permitted the host: the owner of a name can add a private
//!   address to its public one.
//!
//! A host is *inside* after a connection to it while all of its addresses were private. A public answer revokes that
//! for good, so that a name whose address changes meanwhile (DNS rebinding) leads to no other private address.
//!
//! The name of an image names its host. The host's ancestors are asked for ref engines, too, but they replace it only
//! if it has no address itself: otherwise the owner of a host could lead inside by an ancestor of the same owner.
//!
//! A document or a redirect of a public host must not lead inside, however the client came to that host. Therefore the
//! first connection to a public address, which precedes all of its content, revokes for good: from then on no host
//! that the user did not name may be private, and a named host may not be either if the public one is asked on its
//! behalf.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use url::Host;

use super::address::{is_private, literal};
use crate::shell;
use oci_discovery::parallel::lock;

/// The state of the named hosts, and the addresses that look-ups omitted.
#[derive(Debug)]
pub struct Reach {
    /// Hosts whose private addresses the user permitted.
    permitted: BTreeSet<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    named: Vec<Named>,
    /// Whether a connection to a public address was made: it may have supplied all URLs since then.
    has_been_outside: bool,
    /// The private addresses that the latest look-up of each host omitted.
    left_out: BTreeMap<String, Vec<IpAddr>>,
}

/// The state of a host that the user named.
#[derive(Debug)]
struct Named {
    /// The host, followed by its ancestors that may replace it.
    hosts: Vec<String>,
    /// Whether the host itself was looked up and has no address.
    is_absent: bool,
    /// The position of the ancestor that replaces the host.
    stand_in: Option<usize>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unknown,
    /// A connection was made while all addresses were private.
    Inside,
    /// A public address was found once, or an ancestor with one was connected to. This state is final.
    Outside,
}

/// The omitted addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} has {}, an address of a private network: a site must not send requests to private networks; to permit \
     it, add `{}`", list(.addresses), shell::option("--allow-private", .host)
)]
pub struct OutOfReach {
    /// As the URL has it.
    pub host: String,
    pub addresses: Vec<IpAddr>,
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

impl Reach {
    /// A policy for a user who named these hosts, each with the ancestors that may replace it, and who permitted the
    /// private addresses of others. All are in the form of [`canonical`](super::address::canonical).
    pub fn new(named: impl IntoIterator<Item = Vec<String>>, permitted: impl IntoIterator<Item = String>) -> Reach {
        let named = named.into_iter().map(|hosts| Named {
            hosts,
            is_absent: false,
            stand_in: None,
            standing: Standing::Unknown,
        });
        let state = State { named: named.collect(), has_been_outside: false, left_out: BTreeMap::new() };
        Reach { permitted: permitted.into_iter().collect(), state: Mutex::new(state) }
    }

    /// The permitted addresses among those that a look-up of `host` found.
    ///
    /// # Errors
    /// None of the addresses is permitted.
    pub fn allowed(&self, host: &str, found: &[IpAddr]) -> Result<Vec<IpAddr>, OutOfReach> {
        let (private, public): (Vec<IpAddr>, Vec<IpAddr>) = found.iter().partition(|address| is_private(**address));
        let mut state = self.state();
        let may_be_private = state.hear(host, found.len(), public.len());
        let is_permitted = self.permitted.contains(host);
        if private.is_empty() || is_permitted || (public.is_empty() && may_be_private) {
            state.left_out.remove(host);
            return Ok(found.to_vec());
        }
        if public.is_empty() {
            return Err(OutOfReach { host: host.into(), addresses: private });
        }
        state.left_out.insert(host.into(), private);
        Ok(public)
    }

    /// Records the address that the user gave for a host (`--connect-to`). It is permitted.
    pub fn given(&self, host: &str, addresses: &[IpAddr]) {
        let public = addresses.iter().filter(|address| !is_private(**address)).count();
        self.state().hear(host, addresses.len(), public);
    }

    /// Records a connection to one of these addresses of `host`.
    pub fn connected(&self, host: &str, addresses: &[IpAddr]) {
        if !addresses.is_empty() {
            self.state().connected(host, addresses.iter().any(|address| !is_private(*address)));
        }
    }

    /// Whether a connection to one of these addresses of `host` may be used again.
    pub fn allows_reuse(&self, host: &str, addresses: &[IpAddr]) -> bool {
        let is_public = addresses.iter().all(|address| !is_private(*address));
        is_public || self.permitted.contains(host) || self.state().hear(host, addresses.len(), 0)
    }

    /// Whether a proxy may be asked for a host. The proxy looks names up, and decides where they lead.
    pub fn allowed_for_proxy(&self, host: &Host<&str>) -> Result<(), OutOfReach> {
        match literal(host) {
            None => {
                let (mut state, host) = (self.state(), host.to_string());
                state.hear(&host, 1, 1);
                state.connected(&host, true);
            }
            Some(address) => {
                self.allowed(&host.to_string(), &[address])?;
                self.connected(&host.to_string(), &[address]);
            }
        }
        Ok(())
    }

    /// The private addresses that the latest look-up of a host omitted, for messages about failed connections.
    pub fn left_out(&self, host: &str) -> Option<OutOfReach> {
        let addresses = self.state().left_out.get(host)?.clone();
        Some(OutOfReach { host: host.into(), addresses })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Records the numbers of a host's addresses and of its public ones. Returns whether private ones are permitted.
    fn hear(&mut self, host: &str, found: usize, public: usize) -> bool {
        let mut is_named = false;
        for named in &mut self.named {
            is_named |= named.hear(host, found, public);
        }
        let is_inside = self.named.iter().any(|named| named.standing == Standing::Inside);
        let is_outside = self.named.iter().any(|named| named.standing == Standing::Outside);
        is_named || (is_inside && !is_outside && !self.has_been_outside)
    }

    /// Records a connection.
    fn connected(&mut self, host: &str, is_public: bool) {
        self.has_been_outside |= is_public;
        self.named.iter_mut().for_each(|named| named.connected(host, is_public));
    }
}

impl Named {
    /// Records a host's addresses. Returns whether the host is the named one or replaces it, and may be private.
    fn hear(&mut self, host: &str, found: usize, public: usize) -> bool {
        let Some(position) = self.hosts.iter().position(|one| one == host) else { return false };
        if position == 0 && found == 0 {
            self.is_absent = true;
        }
        if position > 0 && found > 0 && self.is_absent && self.stand_in.is_none() {
            self.stand_in = Some(position);
        }
        let counts = position == 0 || self.stand_in == Some(position);
        if counts && public > 0 {
            self.standing = Standing::Outside;
        }
        counts && self.standing != Standing::Outside
    }

    fn connected(&mut self, host: &str, is_public: bool) {
        let Some(position) = self.hosts.iter().position(|one| one == host) else { return };
        let counts = position == 0 || self.stand_in == Some(position);
        if is_public {
            self.standing = Standing::Outside;
        } else if counts && self.standing == Standing::Unknown {
            self.standing = Standing::Inside;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(named: &[&[&str]]) -> Reach {
        Reach::new(named.iter().map(|hosts| hosts.iter().map(ToString::to_string).collect()), [])
    }

    fn addresses(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|address| address.parse().unwrap()).collect()
    }

    /// Looks a host up and connects to it. Returns the permitted addresses.
    fn ask(reach: &Reach, host: &str, found: &[&str]) -> Vec<String> {
        let Ok(allowed) = reach.allowed(host, &addresses(found)) else { return vec![] };
        reach.connected(host, &allowed);
        allowed.iter().map(IpAddr::to_string).collect()
    }

    fn ask_proxy(reach: &Reach, host: &str) -> bool {
        reach.allowed_for_proxy(&format!("http://{host}/").parse::<url::Url>().unwrap().host().unwrap()).is_ok()
    }

    const PUBLIC: &str = "93.184.215.14";

    #[test]
    fn a_public_site_leads_to_public_hosts_only() {
        let reach = reach(&[&["example.com"]]);
        assert_eq!(ask(&reach, "example.com", &[PUBLIC]), [PUBLIC]);
        assert_eq!(ask(&reach, "cdn.example.net", &["2606:2800:21f:cb07::1"]), ["2606:2800:21f:cb07::1"]);
        assert!(ask(&reach, "internal.example.net", &["10.0.0.1"]).is_empty());
        assert!(ask(&reach, "169.254.169.254", &["169.254.169.254"]).is_empty());
    }

    #[test]
    fn a_site_of_a_private_network_leads_anywhere_once_it_is_connected_to() {
        let reach = reach(&[&["corp.example.com"]]);
        assert!(ask(&reach, "cas.corp.example.com", &["10.0.0.2"]).is_empty(), "not asked yet");
        reach.allowed("corp.example.com", &addresses(&["10.0.0.1"])).unwrap();
        assert!(ask(&reach, "cas.corp.example.com", &["10.0.0.2"]).is_empty(), "looked up, and not connected to");
        assert_eq!(ask(&reach, "corp.example.com", &["10.0.0.1"]), ["10.0.0.1"]);
        assert_eq!(ask(&reach, "cas.corp.example.com", &["10.0.0.2"]), ["10.0.0.2"]);
    }

    #[test]
    fn of_a_mixed_answer_the_private_addresses_are_left_out_and_named() {
        let reach = reach(&[&["example.com"]]);
        assert_eq!(ask(&reach, "example.com", &["10.0.0.1", PUBLIC, "::1"]), [PUBLIC]);
        assert!(ask(&reach, "internal.example.net", &["10.0.0.1"]).is_empty());
        let message = reach.left_out("example.com").unwrap().to_string();
        assert!(message.contains("10.0.0.1, ::1") && message.contains("--allow-private example.com"), "{message}");
        ask(&reach, "example.com", &[PUBLIC]);
        assert_eq!(reach.left_out("example.com"), None);
    }

    #[test]
    fn a_later_public_answer_revokes_for_good() {
        let reach = reach(&[&["example.com"]]);
        ask(&reach, "example.com", &["10.0.0.1"]);
        assert_eq!(ask(&reach, "cas.example.net", &["10.0.0.2"]), ["10.0.0.2"]);
        ask(&reach, "example.com", &[PUBLIC, "10.0.0.1"]);
        assert!(ask(&reach, "cas.example.net", &["10.0.0.2"]).is_empty());
        assert!(ask(&reach, "example.com", &["10.0.0.1"]).is_empty());
        assert!(ask(&reach, "cas.example.net", &["10.0.0.2"]).is_empty());
    }

    #[test]
    fn a_public_host_leads_nowhere_through_another_that_is_named_and_private() {
        let reach = reach(&[&["example.com"], &["corp.example.net"]]);
        ask(&reach, "example.com", &[PUBLIC]);
        assert_eq!(ask(&reach, "corp.example.net", &["10.0.0.1"]), ["10.0.0.1"]);
        assert!(ask(&reach, "169.254.169.254", &["169.254.169.254"]).is_empty());
    }

    #[test]
    fn what_the_user_permits_keeps_its_private_addresses_and_permits_nothing_else() {
        let named = [vec!["example.com".to_string()]];
        let reach = Reach::new(named, ["cas.example.com".to_string()]);
        ask(&reach, "example.com", &[PUBLIC]);
        assert_eq!(ask(&reach, "cas.example.com", &["10.0.0.2", "2606:2800::1"]), ["10.0.0.2", "2606:2800::1"]);
        assert!(ask(&reach, "other.example.com", &["10.0.0.3"]).is_empty());
    }

    #[test]
    fn where_the_user_sends_requests_nothing_is_left_out() {
        let reach = reach(&[&["example.com"]]);
        reach.given("example.com", &addresses(&["127.0.0.1"]));
        reach.connected("example.com", &addresses(&["127.0.0.1"]));
        assert_eq!(ask(&reach, "cas.example.net", &["10.0.0.2"]), ["10.0.0.2"]);
    }

    #[test]
    fn an_ancestor_stands_for_a_host_without_an_address() {
        let reach = reach(&[&["app.corp.example.com", "corp.example.com"]]);
        assert!(ask(&reach, "corp.example.com", &["10.0.0.1"]).is_empty(), "before the host itself");
        ask(&reach, "app.corp.example.com", &[]);
        assert_eq!(ask(&reach, "corp.example.com", &["10.0.0.1"]), ["10.0.0.1"]);
        assert_eq!(ask(&reach, "cas.corp.example.com", &["10.0.0.2"]), ["10.0.0.2"]);
    }

    #[test]
    fn a_connection_to_a_public_ancestor_of_a_host_inside_revokes_for_good() {
        let reach = reach(&[&["app.example.com", "example.com"]]);
        ask(&reach, "app.example.com", &["10.0.0.1"]);
        // The address may be unreachable from this machine.
        reach.allowed("example.com", &addresses(&[PUBLIC])).unwrap();
        assert_eq!(ask(&reach, "cas.example.com", &["10.0.0.2"]), ["10.0.0.2"]);
        assert!(reach.allows_reuse("app.example.com", &addresses(&["10.0.0.1"])));
        ask(&reach, "example.com", &[PUBLIC]);
        for host in ["cas.example.com", "app.example.com", "example.com"] {
            assert!(ask(&reach, host, &["10.0.0.1"]).is_empty(), "{host}");
            assert!(!reach.allows_reuse(host, &addresses(&["10.0.0.1"])), "{host}");
        }
        assert!(reach.allows_reuse("example.com", &addresses(&[PUBLIC])));
    }

    #[test]
    fn a_connection_to_any_public_host_leaves_only_the_named_ones_inside() {
        let reach = reach(&[&["corp.example.com", "example.com"]]);
        ask(&reach, "corp.example.com", &["10.0.0.1"]);
        assert_eq!(ask(&reach, "cas.corp.example.com", &["10.0.0.2"]), ["10.0.0.2"]);
        ask(&reach, "cdn.example.net", &[PUBLIC]);
        assert!(ask(&reach, "cas.corp.example.com", &["10.0.0.2"]).is_empty());
        assert!(!reach.allows_reuse("cas.corp.example.com", &addresses(&["10.0.0.2"])));
        assert_eq!(ask(&reach, "corp.example.com", &["10.0.0.1"]), ["10.0.0.1"]);
        assert!(reach.allows_reuse("corp.example.com", &addresses(&["10.0.0.1"])));
    }

    #[test]
    fn an_ancestor_of_a_public_host_is_like_any_other() {
        let reach = reach(&[&["app.example.com", "example.com"]]);
        ask(&reach, "app.example.com", &[PUBLIC]);
        assert!(ask(&reach, "example.com", &["127.0.0.1"]).is_empty());
        assert!(ask(&reach, "other.example.net", &["127.0.0.1"]).is_empty());
        // Nor may a host that had no address until its ancestor had answered.
        let late = self::reach(&[&["app.example.com", "example.com"]]);
        ask(&late, "app.example.com", &[]);
        ask(&late, "example.com", &[PUBLIC]);
        assert!(ask(&late, "app.example.com", &["127.0.0.1"]).is_empty());
    }

    #[test]
    fn a_proxy_is_asked_for_names_but_not_for_private_addresses() {
        let of_a_name = reach(&[&["example.com"]]);
        assert!(ask_proxy(&of_a_name, "example.com") && ask_proxy(&of_a_name, "cdn.example.net"));
        for private in ["127.0.0.1", "0x7f.1", "[::1]", "localhost", "a.localhost."] {
            assert!(!ask_proxy(&of_a_name, private), "{private}");
        }
        assert!(ask(&of_a_name, "excepted.example.net", &["10.0.0.1"]).is_empty());
        let of_an_address = reach(&[&["127.0.0.1"]]);
        assert!(ask_proxy(&of_an_address, "127.0.0.1") && ask_proxy(&of_an_address, "10.0.0.1"));
    }
}
