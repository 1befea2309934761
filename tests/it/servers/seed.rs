//! The configurations in `nginx/` are what the program renders for the two examples of the specification.

use std::path::Path;
use std::process::Command;

use crate::support::fixtures::{self, EXAMPLES, Site};

const ARGS: [&str; 8] = [
    "--root",
    "/srv/example.com",
    "--server-name",
    "example.com",
    "--tls-certificate",
    "/etc/ssl/example.com/fullchain.pem",
    "--tls-key",
    "/etc/ssl/example.com/privkey.pem",
];

#[test]
fn the_configurations_in_the_repository_are_what_the_program_renders() {
    for (name, templates) in EXAMPLES {
        let site = Site::of_fixtures(&templates);
        let mut command = Command::new(fixtures::PROGRAM);
        command.args(["server-config", "nginx", "--site"]).arg(site.root()).args(ARGS);
        let rendered = fixtures::run(&mut command);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("nginx/{name}.conf"));
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == rendered,
            "{} is not what is rendered: publish with {templates:?}, and write to it what this prints:\n{command:?}",
            file.display()
        );
    }
}
