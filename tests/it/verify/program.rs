//! Runs `ocisite verify` and reads what it found.

use std::collections::BTreeSet;

use assert_cmd::Command;
use ocisite::verify::rule::{self, Rule, Severity};
use regex::Regex;
use serde_json::Value;

use crate::support::program;

/// The program, away from the proxies and the certificates of this machine.
pub fn ocisite() -> Command {
    let mut command = program::ocisite();
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"] {
        command.env_remove(name);
    }
    command
}

/// A report, and how the program ended.
pub struct Verified {
    pub code: i32,
    pub report: Value,
}

/// `ocisite verify ARGS… --json`, which has to come to a report.
pub fn verify(args: &[&str]) -> Verified {
    Verified::of(ocisite().arg("verify").args(args).arg("--json"))
}

impl Verified {
    /// Runs a command that prints a report as JSON.
    pub fn of(command: &mut Command) -> Verified {
        let output = command.output().unwrap();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{command:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
        Verified { code: output.status.code().unwrap(), report }
    }

    /// The findings.
    pub fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().unwrap()
    }

    /// The ids of the rules that are broken.
    pub fn rules(&self) -> BTreeSet<&str> {
        self.findings().iter().map(|finding| finding["rule"].as_str().unwrap()).collect()
    }

    /// The findings of a severity, each as `RULE OBJECT`.
    pub fn of_severity(&self, severity: &str) -> Vec<String> {
        let found = self.findings().iter().filter(|finding| finding["severity"] == severity);
        found.map(|f| format!("{} {}", f["rule"].as_str().unwrap(), f["object"].as_str().unwrap())).collect()
    }

    /// Nothing is wrong, not even a note.
    pub fn assert_clean(&self) {
        assert_eq!((self.code, self.findings()), (0, &[][..]));
    }

    /// Exactly one rule is broken, by its example in the table.
    pub fn assert_breaks(&self, id: &str) {
        let rule = rule::find(id).unwrap_or_else(|| panic!("no rule {id}"));
        assert_eq!(self.rules(), BTreeSet::from([id]), "{:#}", self.report);
        assert_eq!(self.code, i32::from(rule.severity == Severity::Error));
        for finding in self.findings() {
            assert_eq!(finding["advice"], rule.advice);
            assert_eq!(finding["severity"], rule.severity.to_string());
        }
        self.assert_example(rule);
    }

    /// A finding of a rule is the rule's example.
    pub fn assert_example_of(&self, id: &str) {
        self.assert_example(rule::find(id).unwrap());
    }

    fn assert_example(&self, rule: &Rule) {
        let sentences: Vec<String> = self.findings().iter().map(sentence).collect();
        assert!(sentences.iter().any(|sentence| sentence == rule.example), "EXAMPLE {} {sentences:?}", rule.id);
    }
}

/// A finding as the table has its example, digests cut.
fn sentence(finding: &Value) -> String {
    let part = |name: &str| finding[name].as_str().unwrap();
    let text = format!("`{}`: expected {}, found {}", part("object"), part("expected"), part("found"));
    Regex::new("([0-9a-f]{12})[0-9a-f]{52}").unwrap().replace_all(&text, "$1…").into_owned()
}
