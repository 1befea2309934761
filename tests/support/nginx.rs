//! A real nginx with the configuration that the program renders, on a free port.

use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fixtures::{PROGRAM, readable_directory, run};
use super::http::{Base, PATIENCE};

/// Between two looks at whether nginx listens, or has ended.
const PAUSE: Duration = Duration::from_millis(10);
/// A free port can be taken by another program before nginx binds to it.
const ATTEMPTS: usize = 5;

/// A running nginx; it ends with the value.
pub struct Nginx {
    child: Child,
    base: Base,
    state: TempDir,
}

impl Nginx {
    /// Serves a site as `example.com`, with more arguments for `ocisite server-config nginx`.
    pub fn start(root: &Path, args: &[&str]) -> Nginx {
        Nginx::start_with(root, |state, port| {
            let listen = format!("127.0.0.1:{port}");
            write_config(root, state, &[&["--server-name", "example.com", "--listen", &listen], args].concat())
        })
    }

    /// Starts with the configuration that `write` writes, given a directory for nginx's state and a free port.
    pub fn start_with(root: &Path, write: impl Fn(&Path, u16) -> PathBuf) -> Nginx {
        let mut problem = String::new();
        for _ in 0..ATTEMPTS {
            match Nginx::try_start(root, &write) {
                Ok(nginx) => return nginx,
                Err(error) => problem = error,
            }
        }
        panic!("nginx does not start: {problem}");
    }

    fn try_start(root: &Path, write: impl Fn(&Path, u16) -> PathBuf) -> Result<Nginx, String> {
        let state = readable_directory();
        let port = free_port();
        let file = write(state.path(), port);
        let errors = state.path().join("start.log");
        let child = Command::new(program())
            .arg("-c")
            .arg(&file)
            .args(["-g", "daemon off;"])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&errors).unwrap())
            .spawn()
            .map_err(|error| error.to_string())?;
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let base = Base { address, host: "example.com".into(), root: root.into() };
        let mut nginx = Nginx { child, base, state };
        nginx.wait_until_it_listens().map_err(|problem| {
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            format!("{problem}\n{said}{}", nginx.error_log())
        })?;
        Ok(nginx)
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

    /// What it wrote to its error log.
    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("error.log")).unwrap_or_default()
    }
}

impl Deref for Nginx {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Drop for Nginx {
    /// The master ends its workers when it is asked to end; killed, it would leave them behind.
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

/// The nginx of this machine. Without one the test fails: nothing else shows that a configuration works.
pub fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = directories.map(|directory| directory.join("nginx")).find(|program| program.is_file());
    found.expect("this test needs nginx, in PATH or /usr/sbin: scripts/test installs it")
}

/// A whole configuration with its state in a directory. Gives the file.
pub fn write_config(root: &Path, state: &Path, args: &[&str]) -> PathBuf {
    let mut command = Command::new(PROGRAM);
    command.args(["server-config", "nginx", "--site"]).arg(root).arg("--standalone").arg(state).args(args);
    let file = state.join("nginx.conf");
    std::fs::write(&file, run(&mut command)).unwrap();
    file
}

/// `nginx -t`: whether nginx takes a configuration, and what it says.
pub fn test_config(file: &Path) -> Result<(), String> {
    let output = Command::new(program()).arg("-t").arg("-c").arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // A warning is about something that works now, and will not for long.
    let is_clean = output.status.success() && !said.contains("[warn]");
    if is_clean { Ok(()) } else { Err(said) }
}

/// A port that is free at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
