//! The HTTP checks: what every server that serves a site has to do, whatever the site's templates are.
//!
//! Each check is told where a server is and finds its way as a consumer does, so a new server costs one line.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use crate::support::consumer::Consumer;
use crate::support::fixtures::{self, Site};
use crate::support::http::{Base, Response};

const REF_ENGINES: &str = "/.well-known/oci-host-ref-engines";

/// Puts things into and beside the site that no server may serve.
pub fn prepare(site: &Site) {
    std::fs::write(site.beside("secret"), "secret").unwrap();
    std::fs::write(site.root().join("other.txt"), "secret").unwrap();
    std::fs::write(site.root().join(".ocisite/lock"), "secret").unwrap();
    std::fs::write(site.root().join(".well-known/other"), "secret").unwrap();
    symlink("../secret", site.root().join("link")).unwrap();
    // A file that changed within the last second gets a weak entity tag from some servers: it may change again unseen.
    let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for entry in walkdir::WalkDir::new(site.root()).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            std::fs::File::options().write(true).open(entry.path()).unwrap().set_modified(earlier).unwrap();
        }
    }
}

fn index_path(base: &Base) -> String {
    Consumer::new(base).index_uri("app").path().to_string()
}

/// The largest blob of one image: its path, and its bytes as the layout has them.
fn blob(base: &Base) -> (String, Vec<u8>) {
    let consumer = Consumer::new(base);
    let blobs = consumer.walk("team/app", None);
    let (digest, _) = blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let bytes = fixtures::blobs()[digest].clone();
    assert!(bytes.len() > 100, "too small to ask for ranges of");
    (consumer.blob_uri("team/app", digest).path().to_string(), bytes)
}

pub(super) fn assert_served(response: &Response, content_type: &str, cache_control: &str) {
    assert_eq!(response.status, 200);
    assert_eq!(response.expect("Content-Type"), content_type);
    assert_eq!(response.expect("Cache-Control"), cache_control);
    assert_eq!(response.expect("X-Content-Type-Options"), "nosniff");
}

/// An error is JSON of the distribution-spec's form, and no cache keeps it: what is missing now may be published next.
pub(super) fn assert_error(response: &Response, status: u16, code: &str) {
    assert_eq!(response.status, status);
    assert_eq!(response.expect("Content-Type"), "application/json; charset=utf-8");
    assert_eq!(response.expect("Cache-Control"), "no-store");
    assert_eq!(response.expect("X-Content-Type-Options"), "nosniff");
    assert_eq!(response.json()["errors"][0]["code"], code);
}

pub fn documents_have_their_media_types_and_may_be_cached_for_a_minute(base: &Base) {
    let minute = "public, max-age=60";
    assert_served(&base.get(REF_ENGINES), "application/vnd.oci.ref-engines.v1+json; charset=utf-8", minute);
    let index = index_path(base);
    assert_served(&base.get(&index), "application/vnd.oci.image.index.v1+json; charset=utf-8", minute);
    assert_served(&base.get("/ocisite.json"), "application/json; charset=utf-8", minute);
    // Where an index is a layout's index.json, the layout is whole.
    if let Some(directory) = index.strip_suffix("index.json") {
        let marker = base.get(&format!("{directory}oci-layout"));
        assert_served(&marker, "application/vnd.oci.layout.header.v1+json", minute);
        assert_eq!(marker.json()["imageLayoutVersion"], "1.0.0");
    }
}

pub fn blobs_may_be_cached_for_ever(base: &Base) {
    let (path, bytes) = blob(base);
    let response = base.get(&path);
    assert_served(&response, "application/octet-stream", "public, max-age=31536000, immutable");
    assert_eq!(response.body, bytes);
}

pub fn head_says_what_get_says(base: &Base) {
    for path in [REF_ENGINES.into(), index_path(base), blob(base).0, "/missing".into()] {
        let (get, head) = (base.get(&path), base.request("HEAD", &path, &[]));
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        for name in ["Content-Type", "Cache-Control", "Content-Length", "ETag", "Last-Modified", "Accept-Ranges"] {
            // Which servers leave it out of an error is in the table of capabilities.
            if name == "Content-Length" && get.status == 404 && head.header(name).is_none() {
                continue;
            }
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
}

pub fn lengths_are_always_known(base: &Base) {
    for path in [REF_ENGINES.into(), index_path(base), blob(base).0, "/missing".into()] {
        // A server that compresses on the fly knows no length and changes the bytes; nor need it send chunks to a client that
        // says it takes them, as every client of HTTP/1.1 does.
        let response = base.get_with(&path, &[("Accept-Encoding", "gzip, br, zstd"), ("TE", "chunked")]);
        assert_eq!(response.expect("Content-Length"), response.body.len().to_string(), "{path}");
        assert_eq!(response.header("Transfer-Encoding"), None, "{path}");
        assert_eq!(response.header("Content-Encoding"), None, "{path}");
    }
}

pub fn a_single_range_is_served(base: &Base) {
    let (path, bytes) = blob(base);
    let size = bytes.len();
    assert_eq!(base.get(&path).expect("Accept-Ranges"), "bytes");
    for (range, start, end) in [
        ("bytes=0-0".to_string(), 0, 0),
        ("bytes=10-19".into(), 10, 19),
        ("bytes=10-".into(), 10, size - 1),
        ("bytes=-5".into(), size - 5, size - 1),
        (format!("bytes=10-{}", size * 2), 10, size - 1),
        (format!("bytes=-{}", size * 2), 0, size - 1),
    ] {
        let response = base.get_with(&path, &[("Range", &range)]);
        assert_eq!(response.status, 206, "{range}");
        assert_eq!(response.expect("Content-Range"), format!("bytes {start}-{end}/{size}"), "{range}");
        assert_eq!(response.expect("Content-Length"), (end - start + 1).to_string(), "{range}");
        assert_eq!(response.expect("Cache-Control"), "public, max-age=31536000, immutable", "{range}");
        assert_eq!(response.body, bytes[start..=end], "{range}");
    }
}

pub fn a_range_outside_of_the_blob_is_refused(base: &Base) {
    let (path, bytes) = blob(base);
    let response = base.get_with(&path, &[("Range", &format!("bytes={}-", bytes.len()))]);
    assert_eq!(response.status, 416);
    // Which servers leave it out, and nosniff with it, is in the table of capabilities.
    if let Some(range) = response.header("Content-Range") {
        assert_eq!(range, format!("bytes */{}", bytes.len()));
    }
    assert_ne!(response.body, bytes);
}

pub fn several_ranges_are_served(base: &Base) {
    let (path, bytes) = blob(base);
    let (middle, size) = (bytes.len() / 2, bytes.len());
    let wanted = [(0, 1), (middle, middle + 1), (size - 2, size - 1)];
    for ranges in [format!("0-1,{middle}-{},-2", middle + 1), format!("0-1,{middle}-{},-2,{size}-", middle + 1)] {
        let response = base.get_with(&path, &[("Range", &format!("bytes={ranges}"))]);
        assert_eq!(response.status, 206, "{ranges}");
        assert_eq!(response.expect("Cache-Control"), "public, max-age=31536000, immutable", "{ranges}");
        let parts = parts(&response, size);
        // Ranges that are near each other may be made one (RFC 9110, section 15.3.7.2).
        for (start, end) in wanted {
            let holds = |(at, part): &&(usize, Vec<u8>)| *at <= start && end < at + part.len();
            assert!(parts.iter().any(|part| holds(&part)), "{start}-{end} of {ranges}");
        }
        for (at, part) in &parts {
            assert_eq!(*part, bytes[*at..at + part.len()], "{ranges}");
        }
        assert!(parts.iter().map(|(_, part)| part.len()).sum::<usize>() < size, "{ranges}");
    }
    assert_eq!(base.get_with(&path, &[("Range", &format!("bytes={size}-,{size}-"))]).status, 416);
    // A client that asks for more than there is gets all of it, once, or what it asked for, put together.
    let all = "0-,".repeat(30);
    let response = base.get_with(&path, &[("Range", &format!("bytes={}", all.trim_end_matches(',')))]);
    assert!(matches!(response.status, 200 | 206) && response.body.len() < 2 * size, "{}", response.body.len());
}

/// The parts of a response to a request for ranges, each with its position in all `size` bytes.
fn parts(response: &Response, size: usize) -> Vec<(usize, Vec<u8>)> {
    let start_of = |range: &str| {
        let (range, length) = range.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
        assert_eq!(length, size.to_string());
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|number| number.parse::<usize>().unwrap());
        (start, end + 1 - start)
    };
    if let Some(range) = response.header("Content-Range") {
        return vec![(start_of(range).0, response.body.clone())];
    }
    let boundary = response.expect("Content-Type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let (delimiter, mut rest, mut parts) = (format!("\r\n--{}", boundary.trim_matches('"')), Vec::new(), Vec::new());
    rest.extend_from_slice(b"\r\n");
    rest.extend_from_slice(&response.body);
    loop {
        let at = memchr::memmem::find(&rest, delimiter.as_bytes()).expect("a delimiter");
        rest.drain(..at + delimiter.len());
        if rest.starts_with(b"--") {
            assert_eq!(response.expect("Content-Length"), response.body.len().to_string());
            return parts;
        }
        let end = memchr::memmem::find(&rest, b"\r\n\r\n").expect("the end of the headers of a part");
        let head = String::from_utf8(rest.drain(..end + 4).collect()).unwrap();
        let range = head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("Content-Range")));
        let (start, length) = start_of(range.unwrap().1);
        parts.push((start, rest.drain(..length).collect()));
    }
}

pub fn an_entity_tag_saves_the_body(base: &Base) {
    for path in [REF_ENGINES.into(), index_path(base), blob(base).0] {
        let tag = base.get(&path).expect("ETag").to_string();
        assert!(tag.starts_with('"'), "a strong entity tag, so that ranges of it can be put together: {tag}");
        let several = format!("\"other\", {tag}");
        for tags in [tag.as_str(), several.as_str(), "*"] {
            let response = base.get_with(&path, &[("If-None-Match", tags)]);
            assert_eq!(response.status, 304, "{path} {tags}");
            assert_eq!(response.expect("ETag"), tag, "{path}");
            assert!(response.body.is_empty(), "{path}");
            // If it is there, it is that of the 200 (RFC 9110, section 8.6).
            assert_ne!(response.header("Content-Length"), Some("0"), "{path}");
        }
        assert_eq!(base.get_with(&path, &[("If-None-Match", "\"other\"")]).status, 200, "{path}");
    }
}

pub fn a_date_saves_the_body(base: &Base) {
    for path in [REF_ENGINES.into(), index_path(base), blob(base).0] {
        let date = base.get(&path).expect("Last-Modified").to_string();
        assert_eq!(base.get_with(&path, &[("If-Modified-Since", &date)]).status, 304, "{path}");
        let long_ago = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(base.get_with(&path, &[("If-Modified-Since", long_ago)]).status, 200, "{path}");
        // Where both are there, the entity tag alone decides (RFC 9110, section 13.2.2).
        let both = base.get_with(&path, &[("If-None-Match", "\"other\""), ("If-Modified-Since", &date)]);
        assert_eq!(both.status, 200, "{path}");
    }
}

pub fn an_encoded_slash_is_a_slash(base: &Base) {
    let path = Consumer::new(base).index_uri("team/app").path().to_string();
    let encoded = path.replace("team/app", "team%2Fapp");
    assert_ne!(path, encoded);
    assert_eq!(base.get(&encoded).status, 200, "{encoded}");
    assert_eq!(base.get(&encoded).body, base.get(&path).body);
}

pub fn a_path_is_decoded_once(base: &Base) {
    let path = index_path(base);
    assert_eq!(base.get(&path.replace("app", "%61%70p")).status, 200);
    assert_error(&base.get(&path.replace("app", "%2561pp")), 404, "NOT_FOUND");
}

pub fn pages_are_served_with_their_policy(base: &Base) {
    let minute = "public, max-age=60";
    for page in ["/", "/index.html", "/catalogue/images/example.com/team/app.html"] {
        let response = base.get(page);
        assert_served(&response, "text/html; charset=utf-8", minute);
        let policy = response.expect("Content-Security-Policy");
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(response.expect("Referrer-Policy"), "no-referrer");
    }
    for (path, content_type) in [
        ("/catalogue.json", "application/json"),
        ("/catalogue/images/example.com/team/app.json", "application/json"),
        ("/catalogue/style.css", "text/css; charset=utf-8"),
        ("/catalogue/script.js", "text/javascript; charset=utf-8"),
    ] {
        assert_served(&base.get(path), content_type, minute);
    }
    assert_eq!(base.get("/").body, base.get("/index.html").body);
}

pub fn what_is_not_published_is_not_found(base: &Base) {
    let (index, (blob, _)) = (index_path(base), blob(base));
    let other_blob = format!("{}{}", &blob[..blob.len() - 4], if blob.ends_with("0000") { "1111" } else { "0000" });
    let paths = [
        "/missing".to_string(),
        "/index.htm".into(),
        "/catalogue".into(),
        "/catalogue/".into(),
        "/catalogue/images/".into(),
        "/catalogue/other.html".into(),
        "/.well-known".into(),
        "/.well-known/".into(),
        "/.well-known/other".into(),
        // Directories are not objects, with a slash or without, and there is no listing and no redirect.
        index[..=index.rfind('/').unwrap()].into(),
        index[..index.rfind('/').unwrap()].into(),
        blob[..=blob.rfind('/').unwrap()].into(),
        blob[..blob.rfind('/').unwrap()].into(),
        index.replace("app", "team"),
        format!("{index}/"),
        format!("{index}x"),
        format!("{blob}/"),
        other_blob,
        REF_ENGINES.to_uppercase(),
    ];
    for path in paths {
        eprintln!("{path}");
        let response = base.get(&path);
        assert_error(&response, 404, "NOT_FOUND");
    }
}

pub fn nothing_outside_of_the_site_is_served(base: &Base) {
    let index = index_path(base);
    let directory = &index[..=index.rfind('/').unwrap()];
    let hostile = [
        "/.ocisite".to_string(),
        "/.ocisite/".into(),
        "/.ocisite/lock".into(),
        "/%2eocisite/lock".into(),
        "/.ocisite%2flock".into(),
        "//.ocisite/lock".into(),
        "/./.ocisite/lock".into(),
        "/other.txt".into(),
        "/link".into(),
        "/../secret".into(),
        "/%2e%2e/secret".into(),
        "/..%2fsecret".into(),
        "/%2e%2e%2fsecret".into(),
        "/..%5csecret".into(),
        "/.ocisite/../../secret".into(),
        "/other.txt%00".into(),
        format!("{index}%00"),
        format!("{directory}../.ocisite/lock"),
        format!("{directory}..%2f.ocisite%2flock"),
        format!("{directory}../../../../../../secret"),
        format!("{directory}%2e%2e/%2e%2e/%2e%2e/secret"),
        format!("{directory}%252e%252e/%252e%252e/secret"),
        format!("{}", base.root.join("other.txt").display()),
        format!("/{}", base.root.join("other.txt").display()),
    ];
    for target in hostile {
        let response = base.get(&target);
        assert!(matches!(response.status, 400 | 404), "{target}: {}", response.status);
        let body = String::from_utf8_lossy(&response.body);
        assert!(!body.contains("secret\n") && body != "secret", "{target}: {body}");
    }
}

pub fn other_methods_are_not_allowed(base: &Base) {
    for path in [index_path(base), blob(base).0, "/missing".into()] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let response = base.request(method, &path, &[("Content-Length", "0")]);
            eprintln!("{method} {path}");
            assert_error(&response, 405, "UNSUPPORTED");
            // Several lines are one list, and an empty element is none (RFC 9110, sections 5.3 and 5.6.1.2).
            let lines = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Allow"));
            let elements = lines.flat_map(|(_, line)| line.split(',').map(str::trim));
            let allowed: BTreeSet<&str> = elements.filter(|method| !method.is_empty()).collect();
            assert_eq!(allowed, BTreeSet::from(["GET", "HEAD"]));
        }
    }
}

pub fn pages_of_other_origins_may_read(base: &Base) {
    let origin = [("Origin", "http://localhost:3000")];
    let is_allowed = |response: &Response| {
        let allowed = response.expect("Access-Control-Allow-Origin");
        assert!(matches!(allowed, "*" | "http://localhost:3000"), "{allowed}");
        assert!(response.expect("Access-Control-Expose-Headers").contains("Docker-Content-Digest"));
    };
    for path in [REF_ENGINES.into(), index_path(base), blob(base).0, "/".into(), "/missing".into()] {
        eprintln!("{path}");
        is_allowed(&base.get_with(&path, &origin));
        is_allowed(&base.get_with(&path, &[origin[0], ("Range", "bytes=0-1")]));
        let preflight =
            [origin[0], ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "range")];
        let response = base.request("OPTIONS", &path, &preflight);
        assert_eq!((response.status, response.body.len()), (204, 0));
        is_allowed(&response);
        assert_eq!(response.expect("Access-Control-Allow-Methods"), "GET, HEAD");
        assert_eq!(response.expect("Access-Control-Allow-Headers"), "*");
        assert_eq!(base.get_with(&path, &origin).header("Access-Control-Allow-Methods"), None);
    }
}

pub fn a_publish_is_seen_at_once(base: &Base) {
    let path = index_path(base).replace("app", "new");
    assert_eq!(base.get(&path).status, 404);
    let layout = fixtures::layouts().join("zstd");
    let image = format!("example.com/new={}", layout.display());
    let mut publish = std::process::Command::new(fixtures::PROGRAM);
    fixtures::run(publish.args(["publish", "--site"]).arg(&base.root).arg(image));
    let fetched = Consumer::new(base).walk("new", Some("1.0"));
    assert_eq!(fetched, Consumer::new(base).walk("zstd", Some("1.0")));
}

pub fn a_part_is_sent_only_of_what_the_client_knows(base: &Base) {
    let (path, _) = blob(base);
    let tag = base.get(&path).expect("ETag").to_string();
    let status = |condition: &str| base.get_with(&path, &[("Range", "bytes=0-1"), ("If-Range", condition)]).status;
    assert_eq!(status(&tag), 206);
    assert_eq!(status("\"other\""), 200);
}

pub fn a_malformed_path_is_refused(base: &Base) {
    let path = index_path(base);
    for malformed in [format!("{path}%"), format!("{path}%2"), path.replace("app", "%zz"), path[1..].into()] {
        assert_eq!(base.get(&malformed).status, 400, "{malformed}");
    }
}

pub fn a_target_may_be_a_whole_uri(base: &Base) {
    let target = format!("http://{}{}", base.host, index_path(base));
    assert_eq!(base.get(&target).status, 200, "{target}");
}

pub fn http_1_0_is_understood(base: &Base) {
    let (path, bytes) = blob(base);
    let mut connection = base.connect();
    connection.send_text(&format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", base.host));
    let head = connection.head();
    assert_eq!((head.status, head.header("Transfer-Encoding")), (200, None));
    assert_eq!(connection.rest(), bytes, "the connection ends after the body");
}

pub fn one_connection_serves_many_requests(base: &Base) {
    let (index, (blob, bytes)) = (index_path(base), blob(base));
    let mut connection = base.connect();
    for _ in 0..10 {
        connection.send("GET", &index, &[], 1);
        assert_eq!(connection.response().status, 200);
    }
    // Asked before the first is answered; the answers come in the order of the questions.
    connection.send("GET", &blob, &[], 3);
    connection.send("GET", &index, &[], 1);
    for _ in 0..3 {
        assert_eq!(connection.response().body, bytes);
    }
    assert!(connection.response().expect("Content-Type").contains("index"));
}

/// More than all buffers between a server and a client take.
pub const LARGE: u64 = 256 * 1024 * 1024;

/// Adds a blob of so many bytes, and gives its path. It is a hole, so it takes no room; and as no server looks into a blob, it
/// has any digest.
pub fn add_large_blob(base: &Base) -> String {
    let digest = format!("sha256:{}", "0".repeat(64));
    let path = Consumer::new(base).blob_uri("app", &digest).path().to_string();
    let file = base.root.join(&*percent_encoding::percent_decode_str(&path[1..]).decode_utf8().unwrap());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::File::create(file).unwrap().set_len(LARGE).unwrap();
    path
}

pub fn idle_connections_hold_up_nobody(base: &Base) {
    // Given: connections that all come at once, as a browser's or a container tool's do.
    let path = index_path(base);
    for _ in 0..3 {
        let mut connections: Vec<_> = (0..40).map(|_| base.connect()).collect();
        // When: each is used, the last first, while the others stay open.
        for connection in connections.iter_mut().rev() {
            connection.send("GET", &path, &[], 1);
            // Then: it is answered.
            assert_eq!(connection.response().status, 200);
        }
    }
}

pub fn a_slow_client_holds_up_nobody(base: &Base) {
    // Given: clients that ask for more than all buffers take and read nothing, one of them for much more.
    let (large, path) = (add_large_blob(base), index_path(base));
    let mut stalled: Vec<_> = (0..8).map(|_| base.connect()).collect();
    for (number, connection) in stalled.iter_mut().enumerate() {
        connection.send("GET", &large, &[], if number == 0 { 300 } else { 1 });
        assert_eq!(connection.head().status, 200);
    }
    // When: others ask, while these wait.
    for _ in 0..20 {
        // Then: they are answered.
        assert_eq!(base.get(&path).status, 200);
    }
}

pub fn a_client_that_goes_away_does_no_harm(base: &Base) {
    let (large, path) = (add_large_blob(base), index_path(base));
    for _ in 0..20 {
        let mut connection = base.connect();
        connection.send("GET", &large, &[], 1);
        assert_eq!(connection.head().status, 200);
    }
    drop(base.connect());
    base.connect().send_text("GET /oci-ind");
    assert_eq!(base.get(&path).status, 200);
}
