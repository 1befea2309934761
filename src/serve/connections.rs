//! The open connections: bounded in total and for each peer.
//!
//! A connection waits for a request, or a response is being sent. If there is no room for a new connection, the one
//! that has waited longest is closed: one of the same peer if that peer has reached its limit. If none waits, the
//! slowest response is ended: among peers with more connections than the new one's, the response of which the client
//! has taken nothing for the longest time. So idle and slow clients do not exclude others, and a client that opens
//! many connections closes its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The time that a new connection waits for the thread of a closed one to end.
const GIVE_WAY: Duration = Duration::from_secs(1);

/// The connections of a server.
pub(super) struct Connections {
    max: usize,
    max_per_peer: usize,
    open: Mutex<Open>,
    /// Signals the end of a connection.
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
    Waiting(Instant),
    /// The client took a part of the response then, or the response began.
    Answering(Instant),
    /// Shut down, and its thread has not ended yet.
    Ending,
}

/// A place among the connections, until it is dropped.
pub struct Place {
    connections: Arc<Connections>,
    key: u64,
}

impl Connections {
    /// No connections, with these limits.
    pub(super) fn new(max: usize, max_per_peer: usize) -> Arc<Connections> {
        Arc::new(Connections { max, max_per_peer, open: Mutex::default(), left: Condvar::new() })
    }

    /// A place for a connection, which waits for its first request. None: there is no room, and no connection to
    /// close.
    pub(super) fn enter(self: &Arc<Self>, client: &Arc<TcpStream>, peer: IpAddr) -> Option<Place> {
        let peer = network(peer);
        let mut open = self.lock();
        if !self.has_room(&open, peer) {
            let count = open.count(peer);
            match count >= self.max_per_peer {
                true => open.end_longest_waiting(|connection| connection.peer == peer)?,
                false => open.end_longest_waiting(|_| true).or_else(|| open.end_slowest_answer(count))?,
            }
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

    /// Closes the waiting connections, and waits at most `limit` for the responses of the others to end.
    pub(super) fn close(&self, limit: Duration) {
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
        self.end_earliest(|connection| match connection.state {
            State::Waiting(since) if may_end(connection) => Some(since),
            _ => None,
        })
    }

    /// Ends the slowest response to a peer with more connections than these.
    fn end_slowest_answer(&mut self, connections: usize) -> Option<()> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        self.connections.values().for_each(|connection| *counts.entry(connection.peer).or_default() += 1);
        self.end_earliest(|connection| match connection.state {
            State::Answering(taken) if counts.get(&connection.peer) > Some(&connections) => Some(taken),
            _ => None,
        })
    }

    /// Ends the connection with the earliest time, if any has one.
    fn end_earliest(&mut self, time: impl Fn(&Connection) -> Option<Instant>) -> Option<()> {
        let candidates = self.connections.values_mut().filter_map(|connection| Some((time(connection)?, connection)));
        let (_, connection) = candidates.min_by_key(|(time, _)| *time)?;
        connection.state = State::Ending;
        // This ends the read or write of its thread.
        let _ = connection.client.shutdown(Shutdown::Both);
        Some(())
    }
}

impl Place {
    /// Distinguishes the connection from all others of the server, including past ones.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Marks the beginning of a response. False: the connection was closed to make room.
    pub fn begin_answer(&self) -> bool {
        self.change(|_, state| match state {
            State::Ending => None,
            _ => Some(State::Answering(Instant::now())),
        })
    }

    /// Records that the client has taken a part of the response.
    pub fn advance(&self) {
        self.change(|_, state| match state {
            State::Answering(_) => Some(State::Answering(Instant::now())),
            _ => None,
        });
    }

    /// Marks the wait for a request. False: the connection was closed to make room, or the server stops.
    pub fn begin_wait(&self) -> bool {
        self.change(|stopping, state| match state {
            State::Answering(_) if !stopping => Some(State::Waiting(Instant::now())),
            _ => None,
        })
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

/// A peer: an IPv4 address, or an IPv6 /64, within which a client can choose any address.
pub(super) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// Both ends of a connection, for tests: the client's, and the server's.
#[cfg(test)]
pub(super) fn pair() -> (TcpStream, Arc<TcpStream>) {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, Arc::new(listener.accept().unwrap().0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::Ipv4Addr;

    const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

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

    /// A connection that is being answered. Its place is left when it has to give way.
    fn answer(connections: &Arc<Connections>, peer: IpAddr) -> Option<(TcpStream, Arc<Place>)> {
        let (client, server) = pair();
        let place = Arc::new(connections.enter(&server, peer)?);
        assert!(place.begin_answer());
        Some((client, place))
    }

    #[test]
    fn the_slowest_answer_gives_way_to_a_peer_with_fewer_connections() {
        let connections = Connections::new(4, 2);
        let open = [FIRST, FIRST, SECOND, SECOND].map(|peer| answer(&connections, peer).unwrap());
        assert!(answer(&connections, FIRST).is_none(), "the peer has its limit");
        // Given: of the second client's answers, one has advanced last and one least recently.
        [2, 0, 1, 3].into_iter().for_each(|number: usize| open[number].1.advance());
        let [first, second, slowest, last] = open;
        let (client, place) = slowest;
        let leaving = std::thread::spawn(move || {
            assert_eq!({ &client }.read(&mut [0]).unwrap(), 0, "it is ended");
            drop(place);
        });
        // When: a client without a connection asks.
        let third = answer(&connections, THIRD).unwrap();
        leaving.join().unwrap();
        assert!([&first, &second, &last, &third].iter().all(|(client, _)| is_open(client)));
        // Then: it has no second one in the place of clients with as many as it has.
        drop(first);
        let _fourth = answer(&connections, THIRD).unwrap();
        assert!(last.1.begin_wait());
    }

    #[test]
    fn no_answer_gives_way_to_a_peer_with_as_many_connections() {
        let connections = Connections::new(2, 2);
        let open = [FIRST, SECOND].map(|peer| answer(&connections, peer).unwrap());
        assert!(answer(&connections, FIRST).is_none());
        assert!(open.iter().all(|(client, _)| is_open(client)));
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
