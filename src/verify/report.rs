//! The report of a verification: as text, as JSON, and as JUnit XML for CI systems.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::finding::{Finding, Findings};
use super::rule::Severity;
use super::walk::Counts;
use crate::terminal;
use oci_discovery::name::ImageName;

/// All findings, and the amounts verified.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub site: String,
    pub errors: usize,
    pub warnings: usize,
    pub notes: usize,
    pub deep: bool,
    /// The verified images, sorted as text.
    pub images: Vec<ImageName>,
    /// The number of entries in indexes.
    pub entries: u64,
    /// The number of distinct blobs that the entries reach.
    pub blobs: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The number of findings that are counted and not listed.
    pub left_out: usize,
    /// The findings: first those of the whole site, then image by image, errors first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The report of a complete verification.
    pub fn new(site: String, mut images: Vec<ImageName>, counts: Counts, deep: bool, findings: Findings) -> Report {
        let collected = findings.finish();
        images.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Report {
            site,
            errors: collected.count(Severity::Error),
            warnings: collected.count(Severity::Warning),
            notes: collected.count(Severity::Note),
            deep,
            images,
            entries: counts.entries.load(Relaxed),
            blobs: counts.blobs.load(Relaxed),
            bytes: counts.bytes.load(Relaxed),
            left_out: collected.left_out(),
            findings: collected.into_findings(),
        }
    }

    /// The report of a verification that could not continue.
    pub fn stopped(site: String, findings: Findings) -> Report {
        Report::new(site, vec![], Counts::default(), false, findings)
    }

    /// Whether the site passes: no errors, and with `strict` no warnings.
    pub fn passes(&self, strict: bool) -> bool {
        self.errors == 0 && (!strict || self.warnings == 0)
    }

    /// The findings as text, grouped by image. `bytes` formats a number of bytes.
    pub fn to_lines(&self, bytes: impl Fn(u64) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        let mut last: Option<&Option<String>> = None;
        for finding in &self.findings {
            if last != Some(&finding.image) {
                last = Some(&finding.image);
                lines.push(finding.image.clone().unwrap_or("the site".into()));
            }
            let Finding { rule, object, expected, found, .. } = finding;
            lines.push(format!("  {:<7}  {}: {object}", rule.severity, rule.id));
            lines.push(format!("           expected {expected}, found {found}; {}", rule.advice));
        }
        if self.left_out > 0 {
            lines.push(format!("… and {} more", self.left_out));
        }
        let depth = if self.deep { ", each read" } else { "" };
        let counted = |number: u64, one, many| format!("{number} {}", if number == 1 { one } else { many });
        lines.push(format!(
            "{}: {}, {}, {} ({}{depth}): {}, {}, {}",
            self.site,
            counted(self.images.len() as u64, "image", "images"),
            counted(self.entries, "entry", "entries"),
            counted(self.blobs, "blob", "blobs"),
            bytes(self.bytes),
            counted(self.errors as u64, "error", "errors"),
            counted(self.warnings as u64, "warning", "warnings"),
            counted(self.notes as u64, "note", "notes"),
        ));
        lines
    }

    /// Writes the report as JUnit XML: a test case for the site, one for each image, and one for each finding that
    /// fails. Other findings are in the output of their case.
    pub fn write_junit(&self, strict: bool, out: &mut impl io::Write) -> io::Result<()> {
        let fails = |finding: &&Finding| match finding.rule.severity {
            Severity::Error => true,
            Severity::Warning => strict,
            Severity::Note => false,
        };
        let failures = self.findings.iter().filter(fails).count();
        // There may be findings of images that the site does not list.
        let mut subjects: BTreeSet<Option<&str>> = self.images.iter().map(|image| Some(image.as_str())).collect();
        subjects.insert(None);
        subjects.extend(self.findings.iter().map(|finding| finding.image.as_deref()));
        let tests = subjects.len() + failures;
        writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>")?;
        let site = xml(&self.site);
        writeln!(
            out,
            "  <testsuite name=\"ocisite verify {site}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">"
        )?;
        let mut rest = self.findings.iter().peekable();
        for subject in subjects {
            let mut output = String::new();
            while let Some(finding) = rest.next_if(|finding| finding.image.as_deref() <= subject) {
                if fails(&finding) {
                    out.write_all(failure(finding, subject).as_bytes())?;
                } else {
                    let _ = writeln!(output, "{}", sentence(finding));
                }
            }
            write!(out, "    <testcase classname=\"{site}\" name=\"{}\"", xml(subject.unwrap_or("site")))?;
            match output.is_empty() {
                true => writeln!(out, "/>")?,
                false => writeln!(out, "><system-out>{}</system-out></testcase>", xml(output.trim_end()))?,
            }
        }
        writeln!(out, "  </testsuite>\n</testsuites>")
    }
}

fn failure(finding: &Finding, subject: Option<&str>) -> String {
    let class = subject.unwrap_or("site");
    let name = format!("{}: {}", finding.rule.id, finding.object);
    let message = format!("expected {}, found {}", finding.expected, finding.found);
    format!(
        "    <testcase classname=\"{}\" name=\"{}\"><failure type=\"{}\" message=\"{}\">{}</failure></testcase>\n",
        xml(class),
        xml(&name),
        finding.rule.id,
        xml(&message),
        xml(finding.rule.advice)
    )
}

fn sentence(finding: &Finding) -> String {
    let Finding { rule, object, expected, found, .. } = finding;
    format!("{} {}: {object}: expected {expected}, found {found}; {}", rule.severity, rule.id, rule.advice)
}

/// Escapes text for XML. Characters that XML cannot represent (XML 1.0, section 2.2) or that are invisible are
/// replaced as on a terminal.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            c => terminal::push_printable(&mut escaped, c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::rule;

    fn report(images: &[&str]) -> Report {
        let findings = Findings::default();
        findings.push(Finding::new(&rule::CHARSET, "an index", "charset=utf-8", "no charset"));
        findings.push(Finding::new(&rule::BLOB_MISSING, "<a&b>", "7 bytes", "nothing\u{1}").of("example.com/b"));
        findings.push(Finding::new(&rule::SUBJECT_MISSING, "c", "7 bytes", "nothing").of("example.com/b"));
        let images = images.iter().map(|image| ImageName::parse(image).unwrap()).collect();
        Report::new("site".into(), images, Counts::default(), false, findings)
    }

    #[test]
    fn people_read_findings_by_image_and_one_line_of_totals() {
        let lines = report(&["example.com/a", "example.com/b"]).to_lines(|bytes| format!("{bytes} B"));
        assert_eq!(lines[0], "the site");
        assert_eq!(lines[1], "  warning  charset: an index");
        assert_eq!(lines[3], "example.com/b");
        assert_eq!(lines[4], "  error    blob-missing: <a&b>");
        assert_eq!(lines.last().unwrap(), "site: 2 images, 0 entries, 0 blobs (0 B): 1 error, 1 warning, 1 note");
    }

    #[test]
    fn junit_has_a_case_for_each_image_and_for_each_failure() {
        let report = report(&["example.com/a", "example.com/b"]);
        let junit = |strict| {
            let mut bytes = Vec::new();
            report.write_junit(strict, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let text = junit(false);
        assert_eq!(text.matches("<testcase ").count(), 4);
        assert!(text.contains("tests=\"4\" failures=\"1\""), "{text}");
        assert!(text.contains("name=\"blob-missing: &lt;a&amp;b&gt;\""), "{text}");
        assert!(text.contains("found nothing\\u{1}"), "{text}");
        assert!(text.contains("<system-out>note subject-missing: c:"), "{text}");
        assert!(junit(true).contains("failures=\"2\""));
    }

    #[test]
    fn junit_has_the_findings_of_images_that_are_not_listed() {
        // Given findings of example.com/b, which the site does not list, after the last image that it lists.
        let mut bytes = Vec::new();
        report(&["example.com/a"]).write_junit(false, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("tests=\"4\" failures=\"1\""), "{text}");
        assert_eq!(text.matches("<failure ").count(), 1, "{text}");
    }

    #[test]
    fn warnings_fail_only_when_strict() {
        let findings = Findings::default();
        findings.push(Finding::new(&rule::CHARSET, "an index", "charset=utf-8", "no charset"));
        let report = Report::stopped("site".into(), findings);
        assert!(report.passes(false) && !report.passes(true));
    }
}
