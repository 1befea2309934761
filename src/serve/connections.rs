//! The open connections: bounded in total and for each peer.
//!
//! A connection waits for a request or is being answered. When there is no room for a new one, the connection that has waited
//! longest is closed: one of the same peer if that peer has reached its limit. So idle and slow clients take no place from
//! others, and a client that opens many connections closes its own. A connection that is being answered is never closed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a new connection waits until a closed one has left; the thread of that one only has to wake up.
const GIVE_WAY: Duration = Duration::from_secs(1);

/// The connections of a server.
pub struct Connections {
    max: usize,
    max_per_peer: usize,
    open: Mutex<Open>,
    /// A connection has ended.
    left: Condvar,
}

#[derive(Default)]
struct Open {
    next: u64,
    stopping: bool,
    connections: HashMap<u64, Connection>,
}

struct Connection {
    peer: IpAddr,
    client: Arc<TcpStream>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Since then.
    Waiting(Instant),
    Answering,
    /// Shut down; its thread has not noticed yet.
    Ending,
}

/// A place among the connections, until it is dropped.
pub struct Place {
    connections: Arc<Connections>,
    key: u64,
}

impl Connections {
    /// No connections yet, and at most these numbers of them.
    pub fn new(max: usize, max_per_peer: usize) -> Arc<Connections> {
        Arc::new(Connections { max, max_per_peer, open: Mutex::default(), left: Condvar::new() })
    }

    /// A place for a connection, which waits for its first request. None: there is no room, and no waiting connection to close.
    pub fn enter(self: &Arc<Self>, client: &Arc<TcpStream>, peer: IpAddr) -> Option<Place> {
        let peer = network(peer);
        let mut open = self.lock();
        if !self.has_room(&open, peer) {
            let of_peer = open.count(peer) >= self.max_per_peer;
            open.end_longest_waiting(|connection| !of_peer || connection.peer == peer)?;
            let left = self.left.wait_timeout_while(open, GIVE_WAY, |open| !self.has_room(open, peer));
            open = left.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
            if !self.has_room(&open, peer) {
                return None;
            }
        }
        open.next += 1;
        let key = open.next;
        let state = State::Waiting(Instant::now());
        open.connections.insert(key, Connection { peer, client: Arc::clone(client), state });
        Some(Place { connections: Arc::clone(self), key })
    }

    /// Closes the waiting connections, lets the others finish their answer, and waits for them at most for `limit`.
    pub fn close(&self, limit: Duration) {
        let mut open = self.lock();
        open.stopping = true;
        while open.end_longest_waiting(|_| true).is_some() {}
        drop(self.left.wait_timeout_while(open, limit, |open| !open.connections.is_empty()));
    }

    fn has_room(&self, open: &Open, peer: IpAddr) -> bool {
        open.connections.len() < self.max && open.count(peer) < self.max_per_peer
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Open {
    fn count(&self, peer: IpAddr) -> usize {
        self.connections.values().filter(|connection| connection.peer == peer).count()
    }

    fn end_longest_waiting(&mut self, may_end: impl Fn(&Connection) -> bool) -> Option<()> {
        let candidates = self.connections.values_mut().filter_map(|connection| match connection.state {
            State::Waiting(since) if may_end(connection) => Some((since, connection)),
            _ => None,
        });
        let (_, connection) = candidates.min_by_key(|(since, _)| *since)?;
        connection.state = State::Ending;
        // Its thread is reading, and reads the end now.
        let _ = connection.client.shutdown(Shutdown::Both);
        Some(())
    }
}

impl Place {
    /// What tells the connection from all others of the server, past ones included.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The connection is being answered from now on. False: it has been closed to make room.
    pub fn begin_answer(&self) -> bool {
        self.change(|_, state| match state {
            State::Ending => None,
            _ => Some(State::Answering),
        })
    }

    /// The connection waits for a request from now on. False: the server stops.
    pub fn begin_wait(&self) -> bool {
        self.change(|stopping, _| (!stopping).then(|| State::Waiting(Instant::now())))
    }

    fn change(&self, next: impl FnOnce(bool, State) -> Option<State>) -> bool {
        let mut open = self.connections.lock();
        let stopping = open.stopping;
        let Some(connection) = open.connections.get_mut(&self.key) else { return false };
        let Some(state) = next(stopping, connection.state) else { return false };
        connection.state = state;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().connections.remove(&self.key);
        self.connections.left.notify_all();
    }
}

/// What counts as one peer: an IPv4 address, or an IPv6 /64, within which a client can choose any address.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener};

    const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

    /// Both ends of a connection.
    fn pair() -> (TcpStream, Arc<TcpStream>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, Arc::new(listener.accept().unwrap().0))
    }

    /// A connection that waits, and leaves when it has to give way, as the gate's do. Gives its client's end.
    fn enter(connections: &Arc<Connections>, peer: IpAddr) -> Option<TcpStream> {
        let (client, server) = pair();
        let place = connections.enter(&server, peer)?;
        std::thread::spawn(move || {
            let _ = (&*server).read(&mut [0]);
            drop(place);
        });
        Some(client)
    }

    fn is_open(client: &TcpStream) -> bool {
        client.set_nonblocking(true).unwrap();
        { client }.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    #[test]
    fn the_longest_waiting_connection_gives_way_to_a_new_one() {
        let connections = Connections::new(3, 2);
        let open: Vec<TcpStream> =
            [FIRST, SECOND, SECOND].iter().map(|peer| enter(&connections, *peer).unwrap()).collect();
        // A peer with its limit closes its own; only then are they too many in total.
        let _third_of_second = enter(&connections, SECOND).unwrap();
        assert_eq!([0, 1, 2].map(|number| is_open(&open[number])), [true, false, true]);
        let _of_third = enter(&connections, THIRD).unwrap();
        assert_eq!([0, 1, 2].map(|number| is_open(&open[number])), [false, false, true]);
    }

    #[test]
    fn connections_that_are_being_answered_never_give_way() {
        let connections = Connections::new(3, 2);
        let answering = |peer| {
            let (_, server) = pair();
            let place = connections.enter(&server, peer)?;
            assert!(place.begin_answer());
            Some(place)
        };
        let places = [answering(FIRST).unwrap(), answering(FIRST).unwrap()];
        assert!(answering(FIRST).is_none(), "the peer has its limit");
        let other = answering(SECOND).unwrap();
        assert!(answering(THIRD).is_none(), "they are too many in total");
        assert!(other.begin_wait());
        drop(places);
        assert!(answering(THIRD).is_some());
    }

    #[test]
    fn an_answer_that_begins_too_late_is_not_begun() {
        let connections = Connections::new(2, 1);
        let (_client, server) = pair();
        let place = connections.enter(&server, FIRST).unwrap();
        // Its thread has not seen that it has to give way, and holds its place.
        assert!(connections.enter(&pair().1, FIRST).is_none());
        assert!(!place.begin_answer());
    }

    #[test]
    fn closing_ends_those_that_wait_and_lets_the_others_finish() {
        let connections = Connections::new(3, 3);
        let waiting = enter(&connections, FIRST).unwrap();
        let (_client, server) = pair();
        let place = connections.enter(&server, FIRST).unwrap();
        assert!(place.begin_answer());
        connections.close(Duration::ZERO);
        assert!(!is_open(&waiting));
        assert!(!place.begin_wait(), "no further request");
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        for (address, network_address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
            ("::1", "::"),
        ] {
            assert_eq!(network(address.parse().unwrap()), network_address.parse::<IpAddr>().unwrap());
        }
    }
}
