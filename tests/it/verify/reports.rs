//! What the program says, in which form, and with which exit code.

use std::collections::BTreeMap;
use std::path::Path;

use super::good_site::{GoodSite, REF_ENGINES};
use super::program::{ocisite, verify};
use crate::support::program::fails;

fn stdout(args: &[&str]) -> (i32, String) {
    let output = ocisite().arg("verify").args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn all_is_well_in_one_line() {
    let site = GoodSite::new();
    let (code, text) = stdout(&[&site.arg(), "--deep"]);
    let totals = "2 images, 5 entries, 15 blobs (3.33 KiB, each read): 0 errors, 0 warnings, 0 notes";
    assert_eq!((code, text), (0, format!("{}: {totals}\n", site.arg())));
    assert_eq!(stdout(&[&site.arg(), "--quiet"]), (0, String::new()));
}

#[test]
fn findings_are_grouped_by_image_and_say_what_to_do() {
    let site = GoodSite::new();
    std::fs::remove_file(site.layer()).unwrap();
    site.write(".ocisite/tmp/.tmpAAAAAA", "");
    // The next publish does not remove the former version of a document.
    site.write(".ocisite/tmp/former-AAAAAA", "");
    let (code, text) = stdout(&[&site.arg()]);
    assert_eq!(code, 1);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "the site");
    assert_eq!(lines[1], "  note     leftover: .ocisite/tmp/");
    assert!(lines[2].contains("found 1 of them"), "{text}");
    assert_eq!(lines[3], "example.com/app");
    assert!(lines[4].starts_with("  error    blob-missing: oci-cas/sha256/"), "{text}");
    assert!(lines[5].contains("expected 7 bytes, for sha256:"), "{text}");
    assert!(lines[5].ends_with("found nothing; publish the image again"), "{text}");
    assert!(lines[6].ends_with("1 error, 0 warnings, 1 note"), "{text}");
    assert_eq!(lines.len(), 7);
}

#[test]
fn warnings_fail_only_when_that_is_asked_for_and_notes_never() {
    let site = GoodSite::new();
    site.write(".ocisite/tmp/.tmpAAAAAA", "");
    assert_eq!(verify(&[&site.arg(), "--strict"]).code, 0);
    site.edit_entry("1.0", |entry| drop(entry.as_object_mut().unwrap().remove("mediaType")));
    assert_eq!(verify(&[&site.arg()]).code, 0);
    assert_eq!(verify(&[&site.arg(), "--strict"]).code, 1);
}

#[test]
fn a_junit_report_has_a_case_for_each_image_and_for_each_failure() {
    let site = GoodSite::new();
    let file = site.directory.path().join("junit.xml");
    let report = |args: &[&str]| {
        ocisite().arg("verify").arg(site.root()).arg("--junit").arg(&file).args(args).output().unwrap();
        std::fs::read_to_string(&file).unwrap()
    };
    let xml = report(&[]);
    assert!(xml.contains(r#"tests="3" failures="0""#), "{xml}");
    assert!(xml.contains(r#"name="example.com/team/app"/>"#), "{xml}");
    std::fs::remove_file(site.layer()).unwrap();
    let xml = report(&[]);
    assert!(xml.contains(r#"tests="4" failures="1""#), "{xml}");
    assert!(xml.contains(r#"<testcase classname="example.com/app" name="blob-missing: oci-cas/sha256/"#), "{xml}");
}

#[test]
fn the_report_is_the_same_however_many_work_on_it() {
    // Given a blob that two images share, wrong in a way that only reading tells, and blobs that are not there.
    let site = GoodSite::new();
    let shared = site.blob(&site.manifest("3.0")["layers"][0]);
    std::fs::write(shared, "A LAYER that all share").unwrap();
    std::fs::remove_file(site.layer()).unwrap();
    let report = |jobs| verify(&[&site.arg(), "--deep", "--jobs", jobs]).report;
    let one = report("1");
    let images: BTreeMap<&str, usize> =
        one["findings"].as_array().unwrap().iter().fold(BTreeMap::new(), |mut images, finding| {
            *images.entry(finding["image"].as_str().unwrap()).or_default() += 1;
            images
        });
    assert_eq!(images, BTreeMap::from([("example.com/app", 2), ("example.com/team/app", 1)]));
    for _ in 0..5 {
        assert_eq!(report("8"), one);
    }
}

#[test]
fn what_cannot_be_looked_at_is_no_finding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let refused = |args: &[&str], words: &[&str]| fails(ocisite().arg("verify").args(args), words);
    refused(&[path], &["is not a site", "ocisite.json"]);
    refused(&[&format!("{path}/missing")], &["cannot open", "No such file"]);
    refused(&["https://example.com/site/"], &["is not the root of a host"]);
    refused(&["http://127.0.0.1:1"], &["no answer from http://127.0.0.1:1/"]);
    // A site that nobody described, of a host that nobody gave.
    let site = GoodSite::new();
    site.remove("ocisite.json");
    refused(&[&site.arg()], &["give the names", "--host"]);
    verify(&[&site.arg(), "--host", "example.com"]).assert_clean();
}

#[test]
fn names_are_derived_where_the_template_names_the_host() {
    let site = GoodSite::with(&["--index-template", "https://example.com/oci-index/{+path}"]);
    site.remove("ocisite.json");
    let verified = verify(&[&site.arg()]);
    verified.assert_clean();
    assert_eq!(verified.report["images"].as_array().unwrap().len(), 2);
}

#[test]
fn one_ref_is_checked_by_itself() {
    let site = GoodSite::new();
    std::fs::remove_file(site.layer()).unwrap();
    assert_eq!(verify(&[&site.arg(), "example.com/app#1.0"]).rules(), ["blob-missing"].into());
    verify(&[&site.arg(), "example.com/app#2.0"]).assert_clean();
}

#[test]
fn the_table_of_rules_in_the_readme_is_the_one_in_the_code() {
    let (_, table) = stdout(&["--rules"]);
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap_or_default();
    assert!(readme.contains(&table), "README.md lacks the table that `ocisite verify --rules` prints");
}

#[test]
fn the_layout_preset_and_the_registry_view_verify_clean() {
    for args in [&["--preset", "layout"][..], &["--registry"], &["--preset", "registry", "--registry"]] {
        let site = GoodSite::with(args);
        verify(&[&site.arg(), "--deep", "--strict"]).assert_clean();
    }
}

#[test]
fn a_template_by_hand_that_names_the_image_is_one_warning_and_not_one_for_each_blob() {
    // Given the second example of the specification: layouts, served as they are.
    let site = GoodSite::with(&["--preset", "layout"]);
    site.remove("ocisite.json");
    let object = serde_json::json!({
        "refEngines": [{"protocol": "oci-index-template-v1", "uri": "https://{host}/oci-image/{path}/index.json"}],
        "casEngines": [{
            "protocol": "oci-cas-template-v1",
            "uri": "https://example.com/oci-image/{path}/blobs/{algorithm}/{encoded}",
        }],
    });
    site.write(REF_ENGINES, object.to_string());
    site.edit("oci-image/app/index.json", |index| {
        for entry in index["manifests"].as_array_mut().unwrap() {
            entry.as_object_mut().unwrap().remove("casEngines");
        }
    });
    let verified = verify(&[&site.arg(), "example.com/app"]);
    assert_eq!(verified.of_severity("warning"), [format!("template-name-in-cas {REF_ENGINES}, casEngines")]);
    assert_eq!(verified.rules(), ["template-name-in-cas"].into());
}
