//! A real web server with the configuration that the program renders, on a free port.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fixtures::{PROGRAM, readable_directory, run};
use super::http::{Base, PATIENCE};

/// What is particular to a server: how it is called, and how it is started in the foreground.
#[derive(Debug)]
pub struct Kind {
    /// The subcommand of `ocisite server-config`.
    pub name: &'static str,
    /// The program.
    pub program: &'static str,
    /// The arguments before the file, and after it.
    pub run: (&'static [&'static str], &'static [&'static str]),
    /// The same for a check of the configuration.
    pub check: (&'static [&'static str], &'static [&'static str]),
    /// What the configuration calls: the subcommand that prints it, and its name beside the configuration.
    pub script: Option<(&'static str, &'static str)>,
}

pub const NGINX: Kind = Kind {
    name: "nginx",
    program: "nginx",
    run: (&["-c"], &["-g", "daemon off;"]),
    check: (&["-t", "-c"], &[]),
    script: None,
};

pub const APACHE: Kind =
    Kind { name: "apache", program: "apache2", run: (&["-X", "-f"], &[]), check: (&["-t", "-f"], &[]), script: None };

pub const CADDY: Kind = Kind {
    name: "caddy",
    program: "caddy",
    run: (&["run", "--adapter", "caddyfile", "--config"], &[]),
    check: (&["validate", "--adapter", "caddyfile", "--config"], &[]),
    script: None,
};

pub const LIGHTTPD: Kind = Kind {
    name: "lighttpd",
    program: "lighttpd",
    run: (&["-D", "-f"], &[]),
    check: (&["-tt", "-f"], &[]),
    script: Some(("lighttpd-script", "ocisite.lua")),
};

/// Between two looks at whether nginx listens, or has ended.
const PAUSE: Duration = Duration::from_millis(10);
/// A free port can be taken by another program before the server binds to it.
const ATTEMPTS: usize = 5;

/// A running server; it ends with the value.
pub struct WebServer {
    child: Child,
    base: Base,
    state: TempDir,
}

impl WebServer {
    /// Serves a site as `example.com`, with more arguments for `ocisite server-config`.
    pub fn start(kind: &Kind, root: &Path, args: &[&str]) -> WebServer {
        WebServer::start_with(kind, root, |state, port| {
            let listen = format!("127.0.0.1:{port}");
            write_config(kind, root, state, &[&["--server-name", "example.com", "--listen", &listen], args].concat())
        })
    }

    /// Serves a site, or the sites below a directory, under the server's address.
    pub fn start_at_its_address(kind: &Kind, root: &Path) -> WebServer {
        WebServer::start_with(kind, root, |state, port| {
            let listen = format!("127.0.0.1:{port}");
            write_config(kind, root, state, &["--listen", &listen, "--server-name", "127.0.0.1"])
        })
    }

    /// Starts with the configuration that `write` writes, given a directory for the server's state and a free port.
    pub fn start_with(kind: &Kind, root: &Path, write: impl Fn(&Path, u16) -> PathBuf) -> WebServer {
        let mut problem = String::new();
        for _ in 0..ATTEMPTS {
            match WebServer::try_start(kind, root, &write) {
                Ok(server) => return server,
                Err(error) => problem = error,
            }
        }
        panic!("{} does not start: {problem}", kind.name);
    }

    fn try_start(kind: &Kind, root: &Path, write: impl Fn(&Path, u16) -> PathBuf) -> Result<WebServer, String> {
        let state = readable_directory();
        let port = free_port();
        let file = write(state.path(), port);
        let errors = state.path().join("start.log");
        let child = Command::new(program(kind))
            .args(kind.run.0)
            .arg(&file)
            .args(kind.run.1)
            .env("HOME", state.path())
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&errors).unwrap())
            .spawn()
            .map_err(|error| error.to_string())?;
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let base = Base { address, host: "example.com".into(), root: root.into() };
        let mut server = WebServer { child, base, state };
        server.wait_until_it_listens().map_err(|problem| {
            let printed = std::fs::read_to_string(&errors).unwrap_or_default();
            format!("{problem}\n{printed}{}", server.error_log())
        })?;
        Ok(server)
    }

    /// The server at another of its addresses. It opens one after the other.
    pub fn at(&self, address: impl Into<SocketAddr>) -> Base {
        let (address, start) = (address.into(), Instant::now());
        while TcpStream::connect(address).is_err() && start.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
        }
        Base { address, ..self.base.clone() }
    }

    fn wait_until_it_listens(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while TcpStream::connect(self.base.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended with {status}"));
            }
            if start.elapsed() > PATIENCE {
                return Err("it does not listen".into());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// What nginx wrote to its log of requests. It writes before it ends the response.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("access.log")).unwrap()
    }

    /// What it wrote to its error log.
    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("error.log")).unwrap_or_default()
    }
}

impl Deref for WebServer {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Drop for WebServer {
    /// A master ends its workers when it is asked to end; killed, it would leave them behind.
    fn drop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The server of this machine. Without one the test fails: nothing else shows that a configuration works.
pub fn program(kind: &Kind) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = directories.map(|directory| directory.join(kind.program)).find(|program| program.is_file());
    let missing = || panic!("this test needs {}, in PATH or /usr/sbin: scripts/test installs it", kind.program);
    found.unwrap_or_else(missing)
}

/// A whole configuration with its state in a directory. Gives the file.
pub fn write_config(kind: &Kind, root: &Path, state: &Path, args: &[&str]) -> PathBuf {
    let mut command = Command::new(PROGRAM);
    command.args(["server-config", kind.name, "--site"]).arg(root).arg("--standalone").arg(state).args(args);
    let file = state.join("server.conf");
    std::fs::write(&file, run(&mut command)).unwrap();
    if let Some((subcommand, name)) = kind.script {
        let script = run(Command::new(PROGRAM).args(["server-config", subcommand]));
        std::fs::write(state.join(name), script).unwrap();
    }
    file
}

/// Whether the server takes a configuration, and what it says.
pub fn test_config(kind: &Kind, file: &Path) -> Result<(), String> {
    let output = Command::new(program(kind)).args(kind.check.0).arg(file).args(kind.check.1).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    // A warning is about something that works now, and will not for long.
    let is_clean = output.status.success() && !printed.contains("[warn]");
    if is_clean { Ok(()) } else { Err(printed) }
}

/// A port that is free at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
