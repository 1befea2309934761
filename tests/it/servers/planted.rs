//! Somebody exchanges a directory of the site for a link to another, again and again, while the preview is asked for a file
//! in it.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};

use crate::support::fixtures::Site;
use crate::support::preview::Preview;

const RACE: Duration = Duration::from_secs(2);

#[test]
fn no_file_outside_is_ever_sent() {
    // Given a file outside of the site, of the name of one of its indexes.
    let site = Site::of_fixtures(&[]);
    let server = Preview::start(&site.root());
    let (directory, link, outside) = (site.root().join("oci-index"), site.beside("link"), site.beside("outside"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("app"), "secret").unwrap();
    symlink(&outside, &link).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        // When it is asked for the index, again and again.
        let mut connection = server.connect();
        let (mut found, mut missing, mut secret, mut others) = (0, 0, 0, Vec::new());
        let start = Instant::now();
        while start.elapsed() < RACE {
            connection.send("GET", "/oci-index/app", &[], 1);
            let response = connection.response();
            match response.status {
                200 if response.body == b"secret" => secret += 1,
                200 => found += 1,
                404 => missing += 1,
                status => others.push(status),
            }
        }
        is_done.store(true, Ordering::Relaxed);
        // Then it sends the index or nothing.
        assert!(others.is_empty(), "{others:?}");
        assert_eq!(secret, 0, "beside {found} that were right and {missing} that were not found");
        assert!(found > 10 && missing > 10, "the race was not run: {found} found, {missing} missing");
    });
}
