//! A good site broken once for each rule: what is found is that rule and nothing else, in the words of its example; and when the
//! rule's advice is followed, the rule is no longer broken.

use std::os::unix::fs::PermissionsExt;

use ocisite::verify::rule::{self, Scope};
use serde_json::json;

use super::good_site::{APP, CAS, GoodSite, REF, REF_ENGINES};
use super::program::{ocisite, verify};
use crate::support::layout::Layout;
use crate::support::program::publish;

/// What a rule advises, followed.
type Advice = fn(&GoodSite);

/// Publish again.
const PUBLISH: Advice = |site| drop(site.publish(&[]));
/// Publish again with `--recheck`.
const RECHECK: Advice = |site| drop(site.publish(&["--recheck"]));
/// Publish again with `--replace`.
const REPLACE: Advice = |site| drop(site.publish(&["--replace"]));
/// Nothing has to be done.
const NOTHING: Option<Advice> = None;

/// Breaks a site, finds what is broken, and does what the rule says.
fn check(site: &GoodSite, rule: &str, break_it: fn(&GoodSite), advice: Option<Advice>) {
    let rule = rule.replace('_', "-");
    break_it(site);
    verify(&[&site.arg()]).assert_breaks(&rule);
    let says = rule::find(&rule).unwrap().advice;
    assert_eq!(advice.is_none(), says.starts_with("nothing"), "{rule}: {says}");
    if let Some(follow) = advice {
        for (command, way) in [("--recheck", RECHECK), ("--replace", REPLACE)] {
            assert_eq!(says.contains(command), std::ptr::fn_addr_eq(follow, way), "{rule}: {says}");
        }
        follow(site);
        let verified = verify(&[&site.arg(), "--deep"]);
        // What was published by mistake may be left for the gc, as a note then says.
        assert!(!verified.rules().contains(rule.as_str()) && verified.code == 0, "{rule}: {:#}", verified.report);
    }
}

/// One test for each rule, and the list of them: how it is broken, and what is advised then.
macro_rules! rules {
    ($($name:ident: $break:expr, $advice:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check(&GoodSite::new(), stringify!($name), $break, $advice);
            }
        )*

        const IN_TABLE: &[&str] = &[$(stringify!($name)),*];
    };
}

rules! {
    well_known_missing: |site| site.remove(REF_ENGINES), Some(PUBLISH);
    well_known_form: |site| site.write(REF_ENGINES, "[]"), Some(PUBLISH);
    engine_form: |site| site.add_engine("refEngines", json!({"uri": "/x"})), Some(PUBLISH);
    engine_protocol: |site| site.add_engine("refEngines", json!({"protocol": "docker"})), NOTHING;
    ref_engine_missing: |site| site.edit(REF_ENGINES, |object| object["refEngines"] = json!([])), Some(PUBLISH);
    description_form: |site| {
        std::fs::copy(site.root().join("ocisite.json"), site.directory.path().join("description")).unwrap();
        site.write("ocisite.json", "{");
    }, Some((|site| {
        std::fs::copy(site.directory.path().join("description"), site.root().join("ocisite.json")).unwrap();
    }) as Advice);
    description_differs: |site| site.edit("ocisite.json", |object| {
        object["indexTemplate"] = "https://{host}/oci-index/{path}".into();
    }), Some(PUBLISH);

    template_syntax: |site| site.add_engine("casEngines", json!({"protocol": CAS, "uri": "/{digest"})), Some(PUBLISH);
    template_variable: |site| site.add_engine("casEngines", json!({
        "protocol": CAS, "uri": "/oci-cas/{algorithm}/{encoded:2}/{encoded}{tag}",
    })), Some(PUBLISH);
    template_name_in_cas: |site| site.add_engine("casEngines", json!({
        "protocol": CAS, "uri": "/{fragment}oci-cas/{algorithm}/{encoded:2}/{encoded}",
    })), Some(PUBLISH);
    template_encoded_slash: |site| {
        let template = "https://{host}/oci-index/{path}";
        site.edit("ocisite.json", |object| object["indexTemplate"] = template.into());
        site.edit(REF_ENGINES, |object| object["refEngines"][0]["uri"] = template.into());
    }, Some((|site| {
        let template = "https://{host}/oci-index/{+path}";
        site.edit("ocisite.json", |object| object["indexTemplate"] = template.into());
        site.edit(REF_ENGINES, |object| object["refEngines"][0]["uri"] = template.into());
    }) as Advice);
    template_url: |site| site.add_engine("refEngines", json!({"protocol": REF, "uri": "ftp://{host}/{+path}"})), Some(PUBLISH);
    template_insecure: |site| site.add_engine("casEngines", json!({
        "protocol": CAS, "uri": "http://example.com/oci-cas/{algorithm}/{encoded:2}/{encoded}",
    })), Some(PUBLISH);
    template_elsewhere: |site| site.add_engine("casEngines", json!({
        "protocol": CAS, "uri": "https://cdn.example.net/{digest}",
    })), NOTHING;

    index_missing: |site| site.remove(APP), Some(PUBLISH);
    index_form: |site| site.write(APP, r#"{"schemaVersion": 2, "manifests": {}}"#), Some(RECHECK);
    index_unlisted: |site| site.edit("ocisite.json", |object| object["images"] = json!(["example.com/app"])), Some(PUBLISH);
    index_empty: |site| site.edit("oci-index/team/app", |index| index["manifests"] = json!([])), Some(PUBLISH);
    descriptor_form: |site| site.add_entry(json!({"mediaType": "a/b", "size": 1})), Some(RECHECK);
    descriptor_media_type: |site| site.edit_entry("1.0", |entry| {
        entry.as_object_mut().unwrap().remove("mediaType");
    }), Some(PUBLISH);
    descriptor_data: |site| site.edit_entry("1.0", |entry| entry["data"] = "e30=".into()), Some(PUBLISH);
    digest_algorithm: |site| site.add_entry(json!({
        "mediaType": "a/b", "size": 1, "digest": "md5:d41d8cd98f00b204e9800998ecf8427e",
    })), Some(RECHECK);
    ref_ambiguous: |site| {
        let annotations = site.entry("1.0")["annotations"].clone();
        site.edit_entry("2.0", |entry| entry["annotations"] = annotations);
    }, Some(PUBLISH);
    ref_unspellable: |site| site.edit_entry("1.0", |entry| {
        entry["annotations"]["org.opencontainers.image.ref.name"] = "one zero".into();
    }), Some(REPLACE);
    cas_engine_missing: |site| {
        site.edit(REF_ENGINES, |object| drop(object.as_object_mut().unwrap().remove("casEngines")));
        site.edit_entry("1.0", |entry| drop(entry.as_object_mut().unwrap().remove("casEngines")));
    }, Some(PUBLISH);
    cas_engine_incomplete: |site| site.edit_entry("1.0", |entry| {
        entry["casEngines"].as_array_mut().unwrap().insert(0, json!({"protocol": CAS, "uri": "/old/{digest}"}));
    }), Some(PUBLISH);

    blob_missing: |site| std::fs::remove_file(site.layer()).unwrap(), Some(PUBLISH);
    blob_foreign: |site| site.edit_manifest("3.0", |manifest| {
        manifest["layers"].as_array_mut().unwrap().push(json!({
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": format!("sha256:{}", "0".repeat(64)),
            "size": 7,
            "urls": ["https://example.net/layer"],
        }));
    }), NOTHING;
    blob_size: |site| std::fs::write(site.layer(), "content and more").unwrap(), Some(RECHECK);
    manifest_form: |site| site.replace_manifest("3.0", br#"{"schemaVersion": 2, "layers": {}}"#), Some(PUBLISH);
    manifest_media_type: |site| site.edit_manifest("3.0", |manifest| {
        manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
    }), Some(PUBLISH);
    platform_differs: |site| site.edit_entry("1.0", |entry| entry["platform"]["architecture"] = "riscv64".into()), Some(PUBLISH);
    subject_missing: |site| site.edit_manifest("-", |manifest| {
        manifest["subject"]["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    }), NOTHING;
    graph_depth: |site| {
        let mut descriptor = site.manifest("2.0")["manifests"][0].clone();
        for _ in 0..40 {
            descriptor = site.put_index_of(&descriptor);
        }
        site.add_entry(descriptor);
    }, Some(REPLACE);

    too_large: |site| {
        let object = std::fs::read_to_string(site.root().join(REF_ENGINES)).unwrap();
        site.write(REF_ENGINES, object + &" ".repeat(64 * 1024));
    }, Some(PUBLISH);
    not_a_file: |site| {
        std::fs::remove_file(site.layer()).unwrap();
        std::fs::create_dir(site.layer()).unwrap();
        std::fs::write(site.layer().join("file"), "").unwrap();
    }, Some((|site| {
        std::fs::rename(site.layer(), site.directory.path().join("away")).unwrap();
        site.publish(&[]);
    }) as Advice);
    permissions: |site| std::fs::set_permissions(site.layer(), PermissionsExt::from_mode(0o640)).unwrap(), Some((|site| std::fs::set_permissions(site.layer(), PermissionsExt::from_mode(0o644)).unwrap()) as Advice);
    symlink: |site| {
        let elsewhere = site.directory.path().join("elsewhere");
        std::fs::rename(site.layer(), &elsewhere).unwrap();
        std::os::unix::fs::symlink("../../../../elsewhere", site.layer()).unwrap();
    }, Some((|site| {
        std::fs::remove_file(site.layer()).unwrap();
        std::fs::rename(site.directory.path().join("elsewhere"), site.layer()).unwrap();
    }) as Advice);
    leftover: |site| site.write(".ocisite/tmp/.tmpAbCdEf", "half a blob"), NOTHING;
    orphans: |site| drop(site.put(b"a blob of nobody")), Some((|site| drop(ocisite().arg("gc").arg(site.root()).args(["--grace", "0"]).assert().success())) as Advice);
}

/// The same for the registry view.
macro_rules! registry_rules {
    ($($name:ident: $break:expr, $advice:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check(&GoodSite::with(&["--registry"]), stringify!($name), $break, $advice);
            }
        )*

        const OF_REGISTRY: &[&str] = &[$(stringify!($name)),*];
    };
}

registry_rules! {
    registry_ping: |site| site.remove("v2/_ping.json"), Some(PUBLISH);
    registry_tags_list: |site| site.remove("v2/app/tags/list"), Some(PUBLISH);
    registry_tag: |site| site.remove("v2/app/manifests/1.0"), Some(PUBLISH);
    registry_blob: |site| {
        let layer = &site.manifest("1.0")["layers"][1]["digest"];
        site.remove(&format!("v2/app/blobs/{}", layer.as_str().unwrap()));
    }, Some(PUBLISH);
    registry_differs: |site| site.write("v2/app/manifests/1.0", "{}"), Some(PUBLISH);
}

#[test]
fn the_registry_view_differs_in_a_list_of_tags_or_referrers_or_in_a_typed_manifest() {
    let breaks: &[fn(&GoodSite)] = &[
        |site| site.edit("v2/app/tags/list", |list| list["tags"] = json!(["1.0", "2.0"])),
        |site| site.edit("v2/app/tags/list", |list| list["tags"] = json!(["1.0", "2.0", "3.0", "4.0"])),
        |site| {
            let subject = site.entry("1.0")["digest"].as_str().unwrap().to_string();
            site.edit(&format!("v2/app/referrers/{subject}"), |list| list["manifests"] = json!([]));
        },
        |site| {
            let subject = site.entry("1.0")["digest"].as_str().unwrap().to_string();
            site.remove(&format!("v2/app/referrers/{subject}"));
        },
        |site| {
            let subject = site.entry("1.0")["digest"].as_str().unwrap().to_string();
            site.edit(&format!("v2/app/referrers/{subject}"), |list| {
                let mut other = list["manifests"][0].clone();
                other["digest"] = format!("sha256:{}", "0".repeat(64)).into();
                list["manifests"].as_array_mut().unwrap().push(other);
            });
        },
        |site| {
            let subject = site.entry("1.0")["digest"].as_str().unwrap().to_string();
            site.edit(&format!("v2/app/referrers/{subject}"), |list| {
                list["manifests"][0]["artifactType"] = json!("a/b")
            });
        },
        |site| {
            let tag = site.entry("1.0")["digest"].as_str().unwrap().replace(':', "-");
            site.remove(&format!("v2/app/manifests/{tag}"));
        },
        |site| site.edit("v2/app/tags/_last/1.0", |list| list["tags"] = json!([])),
        |site| site.write("v2/app/_facts.json", "{}"),
        |site| {
            site.edit("v2/app/_facts.json", |facts| {
                facts["manifests"].as_object_mut().unwrap().values_mut().for_each(|relation| *relation = json!({}));
            })
        },
        |site| site.write("v2/app/_manifests/1.0.oci-manifest", "{}"),
    ];
    for break_it in breaks {
        let site = GoodSite::with(&["--registry"]);
        break_it(&site);
        assert_eq!(verify(&[&site.arg()]).rules(), ["registry-differs"].into());
    }
}

#[test]
fn a_ref_of_several_platforms_is_a_tag_too() {
    // Given a ref with an entry for each platform, whose tag leads to an index made for it.
    let site = GoodSite::with(&["--registry"]);
    let layouts: Vec<String> = ["amd64", "arm64"]
        .map(|architecture| {
            let mut layout = Layout::new(site.directory.path().join(architecture));
            let image = layout.image_with(architecture, json!({"os": "linux", "architecture": architecture}));
            layout.add("1.0", image);
            format!("example.com/both={}", layout.arg())
        })
        .into();
    publish(&site.root(), &layouts.iter().map(String::as_str).collect::<Vec<_>>());
    verify(&[&site.arg(), "--deep", "--strict"]).assert_clean();
    // When it is another one.
    site.write("v2/both/manifests/1.0", "{}");
    assert_eq!(verify(&[&site.arg()]).rules(), ["registry-differs"].into());
}

#[test]
fn catalogue_differs() {
    // Given a site with a catalogue.
    let site = GoodSite::with(&["--catalogue"]);
    verify(&[&site.arg()]).assert_clean();
    // When it says something else than the indexes, the advice helps.
    let break_it: fn(&GoodSite) = |site| site.write("catalogue.json", "{}");
    check(&site, "catalogue-differs", break_it, Some(RECHECK));
}

#[test]
fn a_missing_list_of_the_catalogue_is_not_other_content() {
    let site = GoodSite::with(&["--catalogue"]);
    site.remove("catalogue.json");
    let verified = verify(&[&site.arg()]);
    let finding = &verified.findings()[0];
    assert_eq!((&finding["object"], &finding["found"]), (&"catalogue.json".into(), &"nothing".into()), "{finding}");
}

#[test]
fn name_unlisted() {
    // Given a name that the site does not have, the finding is not that its index is missing.
    let site = GoodSite::new();
    let verified = verify(&[&site.arg(), "example.com/nope"]);
    verified.assert_breaks("name-unlisted");
    // The index of an image that the site has is missing.
    site.remove(APP);
    assert_eq!(verify(&[&site.arg(), "example.com/app"]).rules(), ["index-missing"].into());
}

#[test]
fn blob_digest() {
    // Given a layer whose bytes have changed and whose size has not.
    let site = GoodSite::new();
    std::fs::write(site.layer(), "CONTENT").unwrap();
    // Only reading it tells.
    verify(&[&site.arg()]).assert_clean();
    verify(&[&site.arg(), "--deep"]).assert_breaks("blob-digest");
    // A plain publish takes what has its size for right; the one that is advised repairs it.
    assert!(site.publish(&[]).contains("Nothing to do"));
    let report = site.publish(&["--recheck"]);
    assert!(report.contains("repaired   1 blob that was damaged (7 B)"), "{report}");
    verify(&[&site.arg(), "--deep"]).assert_clean();
}

#[test]
fn ref_missing() {
    let site = GoodSite::new();
    verify(&[&site.arg(), "example.com/app#4.0"]).assert_breaks("ref-missing");
    verify(&[&site.arg(), "example.com/app#2.0"]).assert_clean();
}

#[test]
fn ref_index_differs() {
    // Given a site whose refs have indexes of their own.
    let site = GoodSite::with(&["--index-template", "https://{host}/ref/{name}"]);
    let rules = |site: &GoodSite| -> Vec<String> {
        let verified = verify(&[&site.arg()]);
        let mut rules: Vec<String> = verified.rules().into_iter().map(String::from).collect();
        // On a live server this is tried instead.
        rules.retain(|rule| rule != "template-encoded-slash");
        rules
    };
    assert_eq!(rules(&site), [""; 0]);
    // When the index of a ref has other entries, or is missing, that is found, and publishing it again helps.
    let other = std::fs::read(site.root().join("ref/example.com/app#2.0")).unwrap();
    site.write("ref/example.com/app#1.0", other);
    let verified = verify(&[&site.arg()]);
    verified.assert_example_of("ref-index-differs");
    assert_eq!(rules(&site), ["ref-index-differs"]);
    site.publish(&[]);
    site.remove("ref/example.com/app#3.0");
    assert_eq!(rules(&site), ["index-missing"]);
    site.publish(&[]);
    // And an index of a ref that its image does not have.
    site.write("ref/example.com/app#4.0", r#"{"schemaVersion": 2, "manifests": []}"#);
    assert_eq!(rules(&site), ["index-unlisted"]);
    // A site without a description is checked by the names that its files give.
    site.remove("ref/example.com/app#4.0");
    site.remove("ocisite.json");
    let verified = verify(&[&site.arg(), "--host", "example.com"]);
    assert_eq!(verified.report["images"], json!(["example.com/app", "example.com/team/app"]));
    site.remove("ref/example.com/team/app");
    let verified = verify(&[&site.arg(), "--host", "example.com"]);
    assert_eq!(verified.report["images"], json!(["example.com/app", "example.com/team/app#2.0"]));
    assert_eq!(verified.code, 0, "{:#}", verified.report);
}

#[test]
fn blob_elsewhere() {
    // Given a site that keeps its blobs at another origin.
    let cdn = tempfile::tempdir().unwrap();
    let store = format!("https://cdn.example.net={}", cdn.path().display());
    let site = GoodSite::with(&["--cas-template", "https://cdn.example.net/{digest}", "--store", &store]);
    // Without that origin's directory nobody can say whether they are there; with it, they are.
    verify(&[&site.arg()]).assert_breaks("blob-elsewhere");
    verify(&[&site.arg(), "--store", &store]).assert_clean();
    // And when one is not, it is found.
    let blob = std::fs::read_dir(cdn.path()).unwrap().map(Result::unwrap).find(|entry| entry.path().is_file()).unwrap();
    std::fs::remove_file(blob.path()).unwrap();
    assert_eq!(verify(&[&site.arg(), "--store", &store]).rules(), ["blob-missing"].into());
}

#[test]
fn a_good_site_has_no_finding() {
    let site = GoodSite::new();
    verify(&[&site.arg(), "--strict"]).assert_clean();
    let verified = verify(&[&site.arg(), "--deep", "--strict"]);
    verified.assert_clean();
    assert_eq!(verified.report["images"], json!(["example.com/app", "example.com/team/app"]));
    // 1.0, its signature, 2.0 and 3.0; and 2.0 again.
    assert_eq!(verified.report["entries"], 5);
    // Four manifests, each with a layer of its own, and the layer and two configs that they share; an index; and a signature's
    // manifest, empty config and content.
    assert_eq!(verified.report["blobs"], 4 * 2 + 3 + 1 + 3);
}

#[test]
fn every_rule_has_a_test() {
    // Keys that are no paths are in buckets alone: tests/it/bucket/hostile.rs.
    let elsewhere = [
        "blob-digest",
        "name-unlisted",
        "ref-missing",
        "ref-index-differs",
        "blob-elsewhere",
        "catalogue-differs",
        "name-unusable",
    ]
    .map(String::from);
    let mut tested: Vec<String> = IN_TABLE.iter().map(|name| name.replace('_', "-")).chain(elsewhere).collect();
    tested.extend(super::host_kind::RULES.map(String::from));
    tested.extend(OF_REGISTRY.iter().map(|name| name.replace('_', "-")));
    tested.extend(super::broken_server::TESTED.iter().map(|name| name.replace('_', "-")));
    let mut rules: Vec<&str> = rule::ALL.iter().map(|rule| rule.id).collect();
    tested.sort();
    rules.sort();
    assert_eq!(tested, rules);
}

#[test]
fn rules_of_a_server_are_tested_on_a_server() {
    for name in IN_TABLE.iter().chain(OF_REGISTRY) {
        let rule = rule::find(&name.replace('_', "-")).unwrap();
        assert_ne!(rule.scope, Scope::Server, "{name}");
    }
}
