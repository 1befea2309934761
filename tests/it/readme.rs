//! Every command that the README shows is run, and prints what the README shows.
//!
//! A block of ```` ```console ```` holds commands (lines after `$ `, continued by a backslash at their end), each with what it
//! prints. `…` stands for any text in a line, and alone on a line for any number of lines. The last command of a block of
//! ```` ```console keeps-running ```` goes on while the blocks after it are run: a server. Commands are run by bash in one
//! temporary directory that has a copy of what [`COPIED`] names, with the program under test as `ocisite`. The README's
//! ports are exchanged for free ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::process::{Pid, Signal};

use crate::support::tools;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ocisite");
/// What a reader has after a checkout, as far as commands use it.
const COPIED: [&str; 2] = ["fixtures/layouts", "scripts"];
/// Commands that cannot be run here, and why.
const NOT_RUN: [(&str, &str); 1] = [("./scripts/test", "it is what runs this test")];
/// How long a server may take until it listens, or a command until it ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at whether it does.
const PAUSE: Duration = Duration::from_millis(20);

/// A command with what it prints.
#[derive(Debug, PartialEq)]
struct Example {
    /// The line of the README, from 1.
    line: usize,
    command: String,
    output: Vec<String>,
    keeps_running: bool,
}

/// The commands of all console blocks. Blocks of another language that a reader would run are not allowed: nobody would
/// notice when they no longer work.
fn commands(readme: &str) -> Vec<Example> {
    let mut commands: Vec<Example> = Vec::new();
    let mut block: Option<&str> = None;
    let mut continues = false;
    for (number, line) in readme.lines().enumerate() {
        match (block, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let is_shell = ["sh", "bash", "shell"].iter().any(|shell| language.starts_with(shell));
                assert!(!is_shell, "line {}: use ```console, so that the commands are tested", number + 1);
                block = Some(language);
            }
            (Some(language), Some(_)) => {
                if language == "console keeps-running" {
                    commands.last_mut().expect("a command").keeps_running = true;
                }
                block = None;
            }
            (Some(language), None) if language.starts_with("console") => match (line.strip_prefix("$ "), continues) {
                (Some(command), false) => {
                    let command = command.to_string();
                    continues = command.ends_with('\\');
                    commands.push(Example { line: number + 1, command, output: vec![], keeps_running: false });
                }
                (_, true) => {
                    continues = line.ends_with('\\');
                    commands.last_mut().unwrap().command += &format!("\n{line}");
                }
                (None, false) => {
                    let shown = commands.last_mut();
                    shown.unwrap_or_else(|| panic!("line {}: output of nothing", number + 1)).output.push(line.into());
                }
            },
            _ => {}
        }
    }
    commands
}

/// Whether the output is what is shown, placeholders considered.
fn matches(shown: &[String], output: &str) -> bool {
    let mut pattern = String::from("^");
    for line in shown {
        match line.as_str() {
            "…" => pattern.push_str("(?:.*\n)*"),
            line => pattern.push_str(&format!("{}\n", regex::escape(line.trim_end()).replace('…', ".*"))),
        }
    }
    let lines: String = output.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    Regex::new(&(pattern + "$")).unwrap().is_match(&lines)
}

/// The ports that the README names, each with a free one.
fn ports(readme: &str) -> BTreeMap<String, String> {
    let named = Regex::new(r"127\.0\.0\.1:(\d+)").unwrap();
    let named = named.captures_iter(readme).map(|captures| captures[1].to_string());
    // All are held at once, so that they differ.
    let held: Vec<(String, TcpListener)> =
        named.map(|port| (port, TcpListener::bind("127.0.0.1:0").unwrap())).collect();
    held.iter().map(|(port, free)| (port.clone(), free.local_addr().unwrap().port().to_string())).collect()
}

/// The directory in which the commands are run, and the commands themselves. They end with the value.
struct Playground {
    directory: tempfile::TempDir,
    ports: BTreeMap<String, String>,
    running: Vec<Child>,
}

impl Playground {
    fn new(ports: BTreeMap<String, String>) -> Playground {
        let directory = tempfile::tempdir().unwrap();
        // nginx's workers are another user.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), mode).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in COPIED {
            let target = directory.path().join(name);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            let copied = Command::new("cp").arg("-r").arg(repository.join(name)).arg(&target).status().unwrap();
            assert!(copied.success(), "{name}");
        }
        Playground { directory, ports, running: vec![] }
    }

    /// bash with a command, its output in a file of the given name; both of its streams, as on a terminal.
    fn start(&self, command: &str, output: &Path) -> Child {
        let output = File::create(output).unwrap();
        let program = Path::new(PROGRAM);
        let mut path = vec![program.parent().unwrap().to_path_buf(), tools::path("python/bin")];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let path = std::env::join_paths(path).unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-c", command]).current_dir(self.directory.path()).stdin(Stdio::null());
        bash.env("PATH", path).env("OCISITE", program).env("HOME", self.directory.path()).env("LC_ALL", "C.UTF-8");
        bash.env("LISTEN", format!("127.0.0.1:{}", self.ports.get("8000").map_or("0", String::as_str)));
        std::os::unix::process::CommandExt::process_group(&mut bash, 0);
        bash.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap()
    }

    fn exchange_ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_string(), |text, (named, free)| {
            Regex::new(&format!(r"\b{named}\b")).unwrap().replace_all(&text, free.as_str()).into_owned()
        })
    }

    /// Runs a command and compares what it prints with what is shown.
    fn check(&mut self, shown: &Example) {
        let command = self.exchange_ports(&shown.command);
        let expected: Vec<String> = shown.output.iter().map(|line| self.exchange_ports(line)).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        let printed = || std::fs::read_to_string(file.path()).unwrap();
        let listening = self.listening();
        let mut child = self.start(&command, file.path());
        let start = Instant::now();
        let outcome = loop {
            match child.try_wait().unwrap() {
                Some(_) if shown.keeps_running => break Err("it ended, and should keep running".to_string()),
                Some(status) if status.success() => break Ok(()),
                Some(status) => break Err(format!("it ended with {status}")),
                None => {}
            }
            if shown.keeps_running && self.listening() > listening && matches(&expected, &printed()) {
                break Ok(());
            }
            if start.elapsed() > PATIENCE {
                break Err(format!("after {} s it has not come that far", PATIENCE.as_secs()));
            }
            std::thread::sleep(PAUSE);
        };
        // Whatever it is, from here on it ends with the playground.
        self.running.push(child);
        let outcome = outcome.and_then(|()| match matches(&expected, &printed()) {
            true => Ok(()),
            false => Err("it prints something else".into()),
        });
        if let Err(problem) = outcome {
            let (line, shown) = (shown.line, expected.join("\n"));
            panic!("README.md, line {line}: {command}\n{problem}\n--- shown\n{shown}\n--- printed\n{}", printed());
        }
    }

    /// How many of the README's ports have a server.
    fn listening(&self) -> usize {
        let answers = |port: &&String| TcpStream::connect(format!("127.0.0.1:{port}")).is_ok();
        self.ports.values().filter(answers).count()
    }
}

impl Drop for Playground {
    /// Each command has a process group of its own, so that what it started ends with it.
    fn drop(&mut self) {
        for child in &mut self.running {
            if child.try_wait().is_ok_and(|status| status.is_none()) {
                let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::TERM);
                let _ = child.wait();
            }
        }
    }
}

#[test]
fn every_command_prints_what_the_readme_shows() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let shown = commands(&readme);
    for (command, reason) in NOT_RUN {
        assert!(shown.iter().any(|shown| shown.command == command), "{command} ({reason}) is no longer in the README");
    }
    let mut playground = Playground::new(ports(&readme));
    for shown in shown.iter().filter(|shown| NOT_RUN.iter().all(|(command, _)| *command != shown.command)) {
        eprintln!("$ {}", shown.command);
        playground.check(shown);
    }
}

#[test]
fn blocks_are_read_as_commands_with_their_output() {
    let readme =
        "text\n```console\n$ a\none\n$ b \\\n    c\n```\n```toml\n$ no\n```\n```console keeps-running\n$ d\n```\n";
    let shown = |line, command: &str, output: &[&str], keeps_running| Example {
        line,
        command: command.into(),
        output: output.iter().map(|line| line.to_string()).collect(),
        keeps_running,
    };
    let expected = [shown(3, "a", &["one"], false), shown(5, "b \\\n    c", &[], false), shown(12, "d", &[], true)];
    assert_eq!(commands(readme), expected);
}

#[test]
fn placeholders_stand_for_text_and_for_lines() {
    let matches =
        |shown: &[&str], output: &str| matches(&shown.iter().map(|line| line.to_string()).collect::<Vec<_>>(), output);
    assert!(matches(&["took … s.", "done"], "took 0.5 s.\ndone\n"));
    assert!(matches(&["a", "…", "z"], "a\nb\nc\nz\n") && matches(&["a", "…", "z"], "a\nz\n"));
    assert!(!matches(&["a"], "a\nb\n") && !matches(&["a", "b"], "a\n") && !matches(&["a.c"], "abc\n"));
    assert!(!matches(&["took … s."], "took 0.5\n"));
    assert!(matches(&[], "") && !matches(&[], "something\n"));
}
