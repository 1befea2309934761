//! The preview server, started as a person would, on a free port.

use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::fixtures::PROGRAM;
use super::http::Base;

/// A running preview; it ends with the value.
pub struct Preview {
    child: Child,
    base: Base,
}

impl Preview {
    /// Serves a site.
    pub fn start(root: &Path) -> Preview {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(root).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
        let address = greeting.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("no address in {greeting:?}");
        };
        Preview { child, base: Base { address, host: "localhost".into(), root: root.into() } }
    }
}

impl Deref for Preview {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
