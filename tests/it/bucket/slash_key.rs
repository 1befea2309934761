//! The key `v2/`, which answers the first request of registry clients at the host of a bucket.

use std::net::SocketAddr;

use ocisite::site::{Kind, SitePath};
use ocisite::store::bucket::BucketStore;
use ocisite::store::{Expected, Location, Store, StoreOptions};
use tempfile::TempDir;

use super::endpoint::BUCKET;
use super::tools;

const APP: &str = concat!("site.localhost/app=", env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts/app");

/// What the store answers for a key: the status, the media type, the cache policy and the content.
fn get(address: SocketAddr, key: &str) -> (u16, String, String, String) {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let mut response = agent.get(format!("http://{address}/{BUCKET}/{key}")).call().unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_string());
    let (media_type, policy) =
        (header("content-type").unwrap_or_default(), header("cache-control").unwrap_or_default());
    (response.status().as_u16(), media_type, policy, response.body_mut().read_to_string().unwrap())
}

fn assert_answers(address: SocketAddr, key: &str) {
    let expected = (200, "application/json".to_string(), "public, max-age=60".to_string(), "{}".to_string());
    assert_eq!(get(address, key), expected, "{key}");
}

#[test]
fn publish_and_copy_write_the_key_and_no_command_takes_it_for_anything_else() {
    // Given a site with the registry view in a bucket,
    let (moto, endpoint) = tools::moto();
    endpoint.publish(&["--registry", APP]);
    assert_answers(moto.address, "v2/");

    // when it is copied to a directory, and from there and from the bucket to other places in the bucket,
    let directory = TempDir::new().unwrap();
    let copy = directory.path().join("copy").to_str().unwrap().to_string();
    endpoint.run(&["copy", "--json", &endpoint.site(), &copy]).success();
    for (from, to) in
        [(copy.as_str(), "s3://site/from/directory"), ("s3://site/from/directory", "s3://site/from/bucket")]
    {
        endpoint.run(&["copy", "--json", "--delete", from, to]).success();
        // then each copy has the key,
        assert_answers(moto.address, &format!("{}/v2/", to.trim_start_matches("s3://site/")));
    }

    // and it is neither garbage nor a name that is no path.
    endpoint.run(&["gc", "--json", "--grace", "0", "s3://site/from/bucket"]).success();
    endpoint.run(&["copy", "--json", "--delete", &copy, "s3://site/from/bucket"]).success();
    assert_answers(moto.address, "from/bucket/v2/");
    let report = endpoint.run(&["verify", "--json", "--strict", "--deep", "s3://site/from/bucket"]).success();
    assert_eq!(report["findings"], serde_json::json!([]));
}

#[test]
fn a_site_without_the_key_gets_it() {
    // Given a site whose key another program did not copy,
    let (moto, endpoint) = tools::moto();
    endpoint.publish(&["--registry", APP]);
    let directory = TempDir::new().unwrap();
    let copy = directory.path().join("copy").to_str().unwrap().to_string();
    endpoint.run(&["copy", "--json", &endpoint.site(), &copy]).success();
    let without = || ureq::delete(format!("http://{}/{BUCKET}/v2/", moto.address)).call().unwrap();
    without();
    assert_eq!(get(moto.address, "v2/").0, 404);

    // when verify looks at the host of the bucket, then it says so,
    let address = moto.address.to_string();
    let verify = ["verify", "--protocol", "http", "--connect-to", &address, "https://site.localhost"];
    let run = endpoint.run(&verify);
    assert!(run.stdout.contains("registry-ping"), "{run:?}");

    // and the next publish, or copy, adds it, though nothing else changes.
    let list = directory.path().join("changed");
    let published = endpoint.publish(&["--registry", "--list-changed", list.to_str().unwrap(), APP]);
    assert_eq!(published["documentsWritten"]["objects"], 0, "{published}");
    assert_answers(moto.address, "v2/");
    let changed = "https://site.localhost/v2/\nhttps://site.localhost/v2/_ping.json\n";
    assert_eq!(std::fs::read_to_string(&list).unwrap(), changed);
    let run = endpoint.run(&verify);
    assert!(!run.stdout.contains("registry-ping"), "{run:?}");
    without();
    endpoint.run(&["copy", "--json", &copy, &endpoint.site()]).success();
    assert_answers(moto.address, "v2/");
}

#[test]
fn the_key_goes_with_its_object() {
    let (moto, endpoint) = tools::moto();
    let Location::Bucket(location) = Location::parse(&endpoint.site()).unwrap() else { panic!("no bucket") };
    let store = BucketStore::with_settings(&location, &StoreOptions::default(), &endpoint.environment).unwrap();
    let ping = SitePath::new("v2/_ping.json").unwrap();
    store.write_document(&ping, &Kind::RegistryPing, b"{}", &Expected::Absent).unwrap();
    assert_answers(moto.address, "v2/");
    store.delete(&ping).unwrap();
    assert_eq!(get(moto.address, "v2/").0, 404);
}
