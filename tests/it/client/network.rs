//! A network of a test's own: a network namespace with addresses of the public and of private networks, and a name service that
//! answers what the test says. Names, addresses and port 80 are real there, and nothing leaves the machine.
//!
//! A test enters it by running itself once more below `unshare`. It needs root, or user namespaces.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::server::Server;

/// Set for a test that runs inside of its namespace.
const INSIDE: &str = "OCISITE_TEST_INSIDE_NAMESPACE";

/// What answers for each name: one list of addresses for each look-up, and the last of them for all further ones.
type Answers = Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>;

/// The network.
pub struct Network {
    answers: Answers,
}

/// Runs `body` in a network of its own. `test` is the name of the test in its module `module_path!()`.
pub fn in_network(module: &str, test: &str, body: impl FnOnce(&Network)) {
    if std::env::var_os(INSIDE).is_some() {
        return body(&Network::new());
    }
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount"]);
        // Root needs no user namespace of its own, in which servers would have no other user to run as.
        unshare.args((!rustix::process::geteuid().is_root()).then_some("--map-root-user"));
        unshare
    };
    let is_possible = unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_possible {
        return eprintln!("{test} CANNOT RUN HERE: unshare makes no namespaces; run it as root");
    }
    // Without the name of the crate, as the test harness calls it.
    let (_, module) = module.split_once("::").unwrap();
    let output = unshare()
        .arg(std::env::current_exe().unwrap())
        .args([&format!("{module}::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

impl Network {
    fn new() -> Network {
        run("ip", &["link", "set", "lo", "up"]);
        let directory = tempfile::tempdir().unwrap();
        let configuration = directory.path().join("resolv.conf");
        std::fs::write(&configuration, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
        run("mount", &["--bind", configuration.to_str().unwrap(), "/etc/resolv.conf"]);
        let answers = Answers::default();
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        let shared = answers.clone();
        std::thread::spawn(move || serve(&socket, &shared));
        Network { answers }
    }

    /// A server at an address that the network gets for it, on port 80.
    pub fn server(&self, address: &str) -> Server {
        self.add(address);
        Server::at(std::net::SocketAddr::new(address.parse().unwrap(), 80))
    }

    /// An address at which nothing listens.
    pub fn add(&self, address: &str) {
        run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"]);
    }

    /// A name's addresses: for the first look-up, the second, and so on.
    pub fn name(&self, name: &str, answers: &[&[&str]]) {
        let parsed = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        self.answers.lock().unwrap().insert(name.into(), answers.iter().map(parsed).collect());
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

const A: u16 = 1;
const AAAA: u16 = 28;

/// A name service (RFC 1035): a question for A and one for AAAA make one look-up.
fn serve(socket: &UdpSocket, answers: &Answers) {
    let mut asked: HashMap<(String, u16), usize> = HashMap::new();
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..length];
        let Some((name, kind, end)) = read_question(question) else { continue };
        let times = asked.entry((name.clone(), kind)).or_default();
        let known = answers.lock().unwrap().get(&name).map(|answers| answers[(*times).min(answers.len() - 1)].clone());
        *times += 1;
        let _ = socket.send_to(&answer(question, end, kind, known), client);
    }
}

/// The name and the type of the question, and where it ends.
fn read_question(message: &[u8]) -> Option<(String, u16, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(std::str::from_utf8(message.get(at..at + length)?).ok()?.to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

/// The answer; without known addresses, that there is no such name.
fn answer(question: &[u8], end: usize, kind: u16, known: Option<Vec<IpAddr>>) -> Vec<u8> {
    let records: Vec<Vec<u8>> = known
        .iter()
        .flatten()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), A) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), AAAA) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let code = if known.is_some() { 0x80 } else { 0x83 };
    let mut message = question[..2].to_vec();
    message.extend([0x81, code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    message.extend(&question[12..end]);
    for record in records {
        // The name of the question, the type, the class IN, no time to live, and the address.
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 0, 0, record.len() as u8]);
        message.extend(record);
    }
    message
}
