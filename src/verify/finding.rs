//! What a verification finds, and where it is collected.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::rule::{Rule, Severity};

/// So many findings of one rule are kept; the rest is counted. A damaged site of a million blobs is told by a few.
const KEPT_PER_RULE: usize = 1000;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is broken.
    pub rule: &'static Rule,
    /// The image that is affected; None: the site as a whole.
    pub image: Option<String>,
    /// What is wrong: a path, a URL, a digest, with its place where it is an entry.
    pub object: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl Finding {
    /// A finding about the site as a whole.
    pub fn new(
        rule: &'static Rule,
        object: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Finding {
        Finding { rule, image: None, object: object.into(), expected: expected.into(), found: found.into() }
    }

    /// The same finding for an image.
    pub fn of(self, image: impl Into<String>) -> Finding {
        Finding { image: Some(image.into()), ..self }
    }

    fn order(&self) -> (&Option<String>, Severity, &str, &str, &str) {
        (&self.image, self.rule.severity, self.rule.id, &self.object, &self.found)
    }
}

/// With the rule's severity and advice written out, for programs.
impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Printed<'a> {
            rule: &'a str,
            severity: Severity,
            #[serde(skip_serializing_if = "Option::is_none")]
            image: Option<&'a str>,
            object: &'a str,
            expected: &'a str,
            found: &'a str,
            advice: &'a str,
        }
        let Finding { rule, image, object, expected, found } = self;
        let (advice, severity) = (rule.advice, rule.severity);
        Printed { rule: rule.id, severity, image: image.as_deref(), object, expected, found, advice }
            .serialize(serializer)
    }
}

/// Collects findings from several threads.
#[derive(Debug, Default)]
pub struct Findings(Mutex<Collected>);

/// Findings in a fixed order, and how many more there were.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The findings: those of the site first, then image by image, errors first.
    pub findings: Vec<Finding>,
    /// How many there were of each rule.
    pub counts: BTreeMap<&'static str, usize>,
}

impl Findings {
    /// Adds one.
    pub fn push(&self, finding: Finding) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }

    /// Adds several.
    pub fn extend(&self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// All of them, sorted: the order in which threads found them leaves no trace.
    pub fn finish(self) -> Collected {
        let mut collected = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        collected.findings.sort_by(|a, b| a.order().cmp(&b.order()));
        // An image that was looked at twice has its findings twice.
        let Collected { findings, counts } = &mut collected;
        findings.dedup_by(|later, earlier| {
            let is_same = later == earlier;
            if is_same && let Some(count) = counts.get_mut(later.rule.id) {
                *count -= 1;
            }
            is_same
        });
        collected
    }
}

impl Collected {
    fn push(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.rule.id).or_default();
        *count += 1;
        if *count <= KEPT_PER_RULE {
            self.findings.push(finding);
        }
    }

    /// How many there are of a severity, those not kept included.
    pub fn count(&self, severity: Severity) -> usize {
        let rules = super::rule::ALL.iter().filter(|rule| rule.severity == severity);
        rules.filter_map(|rule| self.counts.get(rule.id)).sum()
    }

    /// How many were counted and not kept.
    pub fn left_out(&self) -> usize {
        self.counts.values().sum::<usize>() - self.findings.len()
    }
}
