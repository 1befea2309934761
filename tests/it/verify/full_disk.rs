//! A site on a disk that is full: taking an image out, and then a gc, need no space that they do not have, and free some.

use std::path::Path;

use crate::support::layout::Layout;
use crate::support::namespace::in_mount_namespace;

/// Two images of which one is to go, with everything that a site can have.
fn inputs(directory: &Path) -> String {
    let input = |name: &str| {
        let layout = Layout::of_image(directory.join(name), &name.repeat(10_000));
        format!("example.com/team/{name}={}", layout.arg())
    };
    format!("--registry --catalogue {} {}", input("stays"), input("goes"))
}

/// Publishes to a tmpfs, and fills it to the last byte.
fn on_a_full_disk(directory: &Path, then: &str) -> String {
    format!(
        "mount -t tmpfs -o size=2m tmpfs $2
         $1 publish --quiet --site $2/site {}
         cat /dev/zero >$2/filler 2>/dev/null || true
         if head -c 1 /dev/zero >$2/more 2>/dev/null; then echo the disk is not full >&2; exit 1; fi
         rm -f $2/more
         {then}",
        inputs(directory)
    )
}

#[test]
fn an_image_can_be_taken_out_and_its_blobs_freed() {
    let directory = tempfile::tempdir().unwrap();
    let script = "before=$(stat -f -c %f $2)
         $1 remove $2/site example.com/team/goes >&2
         $1 gc $2/site --grace 0 >&2
         test $(stat -f -c %f $2) -gt $((before + 4))
         $1 verify $2/site --deep --strict
         $1 list $2/site";
    let output = in_mount_namespace(&on_a_full_disk(directory.path(), script), directory.path());
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("team/stays") && !printed.contains("team/goes"), "{printed}");
}

#[test]
fn a_ref_can_be_taken_out() {
    let directory = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(directory.path().join("two"));
    for reference in ["1.0", "2.0"] {
        let image = layout.image(reference);
        layout.add(reference, image);
    }
    let script = format!(
        "rm $2/filler; $1 publish --quiet --site $2/site example.com/two={}
         cat /dev/zero >$2/filler 2>/dev/null || true
         $1 remove $2/site example.com/two#2.0 >&2
         $1 gc $2/site --grace 0 >&2
         $1 verify $2/site --deep --strict",
        layout.arg()
    );
    in_mount_namespace(&on_a_full_disk(directory.path(), &script), directory.path());
}

/// Killed at any rename or removal, it leaves nothing that leads to something missing, and can be done again.
#[test]
fn a_removal_that_is_killed_in_between_leaves_nothing_without_a_target() {
    let mut killed = 0;
    for call in ["renameat", "unlinkat"] {
        for number in (1..).step_by(2) {
            let directory = tempfile::tempdir().unwrap();
            let script = format!(
                "code=0
                 strace -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={number} \
                     $1 remove $2/site example.com/team/goes >&2 || code=$?
                 $1 verify $2/site --deep >&2
                 $1 remove $2/site example.com/team/goes >/dev/null 2>&1 || true
                 $1 gc $2/site --grace 0 >&2
                 $1 verify $2/site --deep --strict >&2
                 echo $code"
            );
            let output = in_mount_namespace(&on_a_full_disk(directory.path(), &script), directory.path());
            if String::from_utf8_lossy(&output.stdout).trim_end().ends_with('0') {
                break;
            }
            killed += 1;
        }
    }
    assert!(killed > 5, "killed {killed} times");
}
