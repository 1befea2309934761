//! Findings of a verification, and their collection.

use std::sync::Mutex;

use serde::Serialize;

use super::rule::{Rule, Severity};
use crate::terminal;
use oci_discovery::parallel::{into_inner, lock};

/// The findings that are kept for each rule; further ones are counted. A few describe the damage of a site of a
/// million blobs.
const KEPT_PER_RULE: usize = 1000;

/// The most characters of a text in a finding. Much of it comes from the site, which may be hostile.
const MAX_TEXT: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static Rule,
    /// The image. None: the whole site.
    pub image: Option<String>,
    /// The path, URL or digest; for an entry of a list, also its position.
    pub object: String,
    pub expected: String,
    pub found: String,
}

impl Finding {
    /// A finding about the whole site.
    pub fn new(
        rule: &'static Rule,
        object: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Finding {
        let cut = |text: String| terminal::cut(&text, MAX_TEXT).into_owned();
        let (object, expected, found) = (cut(object.into()), cut(expected.into()), cut(found.into()));
        Finding { rule, image: None, object, expected, found }
    }

    /// The same finding, for an image.
    pub fn of(self, image: impl Into<String>) -> Finding {
        Finding { image: Some(image.into()), ..self }
    }

    fn order(&self) -> (&Option<String>, Severity, &str, &str, &str) {
        (&self.image, self.rule.severity, self.rule.id, &self.object, &self.found)
    }
}

/// The form for programs, with the severity and advice of the rule.
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

/// Collects findings of several threads.
#[derive(Debug, Default)]
pub struct Findings(Mutex<Collected>);

/// The first findings of each rule, and the number of further ones. All checks add to such a collection, because a
/// site decides how many findings it has.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    findings: Vec<Finding>,
    /// The number of findings of each rule. A list, because there can be a collection for each image, and a map takes
    /// several times the memory of one finding.
    counts: Vec<(&'static str, usize)>,
}

impl Findings {
    pub fn push(&self, finding: Finding) {
        lock(&self.0).push(finding);
    }

    pub fn extend(&self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// Adds all findings of a collection.
    pub fn merge(&self, collected: Collected) {
        lock(&self.0).merge(collected);
    }

    /// Adds all findings of an image.
    pub fn add_image(&self, image: &str, mut collected: Collected) {
        collected.findings.iter_mut().for_each(|finding| finding.image = Some(image.into()));
        self.merge(collected);
    }

    /// All findings, sorted, so that the order of threads does not matter.
    pub fn finish(self) -> Collected {
        let mut collected = into_inner(self.0);
        collected.findings.sort_by(|a, b| a.order().cmp(&b.order()));
        // An image that was verified twice has its findings twice.
        let Collected { findings, counts } = &mut collected;
        findings.dedup_by(|later, earlier| {
            let is_same = later == earlier;
            *count_of(counts, later.rule.id) -= usize::from(is_same);
            is_same
        });
        collected
    }
}

impl Collected {
    /// Adds a finding, or counts it.
    pub fn push(&mut self, finding: Finding) {
        let count = count_of(&mut self.counts, finding.rule.id);
        *count += 1;
        if *count <= KEPT_PER_RULE {
            self.findings.push(finding);
        }
    }

    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// Adds the findings and counts of another collection.
    pub fn merge(&mut self, others: Collected) {
        let mut left_out = others.counts;
        for finding in others.findings {
            *count_of(&mut left_out, finding.rule.id) -= 1;
            self.push(finding);
        }
        for (rule, count) in left_out {
            *count_of(&mut self.counts, rule) += count;
        }
    }

    /// Frees unused memory, before the collection is kept for long.
    pub fn shrink(&mut self) {
        self.findings.shrink_to_fit();
        self.counts.shrink_to_fit();
    }

    pub fn find_mut(&mut self, rule: &Rule) -> Option<&mut Finding> {
        self.findings.iter_mut().find(|finding| finding.rule == rule)
    }

    /// The kept findings: first those of the whole site, then image by image, errors first.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// The number of kept findings.
    pub fn kept(&self) -> usize {
        self.findings.len()
    }

    /// The number of all findings.
    pub fn total(&self) -> usize {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    pub fn has_error(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// The number of findings of a severity, including those that are only counted.
    pub fn count(&self, severity: Severity) -> usize {
        let is_of = |id: &str| super::rule::ALL.iter().any(|rule| rule.id == id && rule.severity == severity);
        self.counts.iter().filter(|(id, _)| is_of(id)).map(|(_, count)| count).sum()
    }

    /// The number of findings that are only counted.
    pub fn left_out(&self) -> usize {
        self.total() - self.kept()
    }
}

/// The count of a rule, initially 0.
fn count_of<'c>(counts: &'c mut Vec<(&'static str, usize)>, rule: &'static str) -> &'c mut usize {
    let position = counts.iter().position(|(id, _)| *id == rule).unwrap_or_else(|| {
        counts.push((rule, 0));
        counts.len() - 1
    });
    &mut counts[position].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::rule;

    #[test]
    fn what_a_site_says_cannot_fill_the_memory() {
        let finding = Finding::new(&rule::MEDIA_TYPE, "a", "b", "é".repeat(MAX_TEXT + 1));
        assert_eq!(finding.found, "é".repeat(MAX_TEXT) + "…");
    }

    #[test]
    fn a_great_many_findings_of_one_rule_are_counted_and_not_kept() {
        let mut image = Collected::default();
        image.extend((0..2 * KEPT_PER_RULE).map(|n| Finding::new(&rule::BLOB_MISSING, n.to_string(), "b", "nothing")));
        image.push(Finding::new(&rule::SUBJECT_MISSING, "s", "b", "nothing"));
        let findings = Findings::default();
        findings.add_image("example.com/app", image);
        findings.push(Finding::new(&rule::BLOB_MISSING, "another", "b", "nothing"));
        let collected = findings.finish();
        assert_eq!(collected.count(Severity::Error), 2 * KEPT_PER_RULE + 1);
        assert_eq!((collected.findings.len(), collected.left_out()), (KEPT_PER_RULE + 1, KEPT_PER_RULE + 1));
        assert_eq!(collected.findings[0].image.as_deref(), Some("example.com/app"));
    }
}
