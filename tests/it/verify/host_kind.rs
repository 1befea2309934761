//! `ocisite verify --host-kind`: what a static host does not accept or cannot send is found before an upload.

use super::good_site::GoodSite;
use super::program::{Verified, ocisite, verify};
use crate::support::program::fails;

/// The rules that are checked here.
pub const RULES: [&str; 4] = ["host-limit", "host-hidden", "host-media-type", "host-registry"];

fn verify_for(site: &GoodSite, host: &str) -> Verified {
    verify(&[&site.arg(), "--host-kind", host])
}

#[test]
fn a_site_within_the_limits_of_a_host_has_no_findings() {
    let site = GoodSite::with(&["--registry"]);
    for host in ["cloudflare-pages", "netlify", "firebase", "vercel"] {
        verify_for(&site, host).assert_clean();
    }
}

#[test]
fn host_limit() {
    // Given a file that is too large for one host, then it is an error there, and the advice helps.
    let site = GoodSite::new();
    site.write("large", "");
    let large = std::fs::File::options().write(true).open(site.root().join("large")).unwrap();
    large.set_len((25 << 20) + 1).unwrap();
    verify_for(&site, "cloudflare-pages").assert_breaks("host-limit");
    verify_for(&site, "netlify").assert_clean();
    large.set_len(25 << 20).unwrap();
    verify_for(&site, "cloudflare-pages").assert_clean();
}

#[test]
fn a_list_of_headers_that_is_too_long_is_found_like_a_file_that_is_too_large() {
    // Given 101 tags that have not the most frequent media type.
    let site = GoodSite::with(&["--registry"]);
    for number in 0..202 {
        let ending = if number % 2 == 0 { "oci-index" } else { "oci-manifest" };
        site.write(&format!("v2/app/_manifests/{number}.{ending}"), "{}");
    }
    let verified = verify_for(&site, "cloudflare-pages");
    let found = verified.of_severity("error");
    assert!(found.contains(&"host-limit the list of headers".to_string()), "{found:?}");
}

#[test]
fn hosts_that_send_no_headers() {
    // Given a site with the registry view, when it is for GitHub Pages, then each thing that does not work there is found.
    let site = GoodSite::with(&["--registry"]);
    let verified = verify_for(&site, "github-pages");
    assert_eq!(verified.rules(), ["host-hidden", "host-media-type", "host-registry"].into());
    for rule in ["host-hidden", "host-media-type", "host-registry"] {
        verified.assert_example_of(rule);
    }
    // GitLab Pages serves hidden files, and an empty file makes GitHub Pages serve them.
    assert_eq!(verify_for(&site, "gitlab-pages").rules(), ["host-media-type", "host-registry"].into());
    site.write(".nojekyll", "");
    assert_eq!(verify_for(&site, "github-pages").rules(), ["host-media-type", "host-registry"].into());
    // Indexes whose names end in .json have a media type that all consumers read; the ref-engines object cannot.
    let site = GoodSite::with(&["--preset", "layout"]);
    let verified = verify_for(&site, "gitlab-pages");
    assert_eq!(verified.code, 0);
    assert_eq!(verified.of_severity("warning"), ["host-media-type .well-known/oci-host-ref-engines"]);
}

#[test]
fn a_live_site_has_no_files_to_check_before_an_upload() {
    let mut command = ocisite();
    fails(command.args(["verify", "http://127.0.0.1:1", "--host-kind", "netlify"]), &["--host-kind", "a directory"]);
}
