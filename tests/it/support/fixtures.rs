//! The fixtures, published; and their blobs as the layouts have them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ocisite");

/// The pairs of templates that have a name.
pub const PRESETS: [&str; 3] = ["cas", "layout", "registry"];

/// The image paths that the fixtures have, each with a ref.
pub const IMAGES: [(&str, &str); 12] = [
    ("app", "1.1"),
    ("archive", "1.0"),
    ("artifact", "1.0"),
    ("attested", "1.0"),
    ("blake3", "1.0"),
    ("docker", "list"),
    ("nested", "1.0"),
    ("podman", "1.0"),
    ("sha512", "1.0"),
    ("team/app", "2.0"),
    ("windows", "1.0"),
    ("zstd", "1.0"),
];

/// The templates of the two examples that oci-discovery gives to publishers, as arguments of `ocisite publish`. Their
/// `{path}` makes `team%2Fapp` of `team/app`.
pub const EXAMPLES: [(&str, [&str; 4]); 2] = [
    (
        "cas",
        [
            "--index-template",
            "https://{host}/oci-index/{path}",
            "--cas-template",
            "https://example.com/oci-cas/{algorithm}/{encoded:2}/{encoded}",
        ],
    ),
    (
        "layout",
        [
            "--index-template",
            "https://{host}/oci-image/{path}/index.json",
            "--cas-template",
            "https://example.com/oci-image/{path}/blobs/{algorithm}/{encoded}",
        ],
    ),
];

/// The folder of layouts.
pub fn layouts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/layouts")
}

/// A temporary directory that another user may read: a web server's workers often have one of their own.
pub fn readable_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A site in a temporary directory.
pub struct Site {
    directory: TempDir,
}

impl Site {
    /// All fixtures, published for example.com with these arguments.
    pub fn of_fixtures(args: &[&str]) -> Site {
        let site = Site::empty();
        let layouts = layouts();
        site.publish(&[args, &["--host", "example.com", layouts.to_str().unwrap()]].concat());
        site
    }

    /// A place for sites, where nothing is published.
    pub fn empty() -> Site {
        Site { directory: readable_directory() }
    }

    /// The web root.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    /// A path beside the web root, for what is not of the site.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Publishes to the site.
    pub fn publish(&self, args: &[&str]) {
        run(Command::new(PROGRAM).args(["publish", "--quiet", "--site"]).arg(self.root()).args(args));
    }
}

/// Runs a command that has to succeed, and gives what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every blob of the fixtures by its digest, read from the layouts, archives included, without the program.
pub fn blobs() -> BTreeMap<String, Vec<u8>> {
    let mut blobs = BTreeMap::new();
    for entry in walkdir::WalkDir::new(layouts()).into_iter().map(Result::unwrap) {
        let path = entry.path().to_str().unwrap();
        if path.ends_with(".tar") {
            for member in tar::Archive::new(File::open(path).unwrap()).entries().unwrap() {
                let mut member = member.unwrap();
                let path = member.path().unwrap().to_str().unwrap().to_string();
                let mut bytes = Vec::new();
                member.read_to_end(&mut bytes).unwrap();
                blobs.extend(digest_of_file(&path).map(|digest| (digest, bytes)));
            }
        } else if entry.file_type().is_file() {
            blobs.extend(digest_of_file(path).map(|digest| (digest, std::fs::read(path).unwrap())));
        }
    }
    blobs
}

/// `…blobs/ALGORITHM/ENCODED` is the file of a blob.
fn digest_of_file(path: &str) -> Option<String> {
    let (_, digest) = path.rsplit_once("blobs/")?;
    let (algorithm, encoded) = digest.split_once('/')?;
    (!encoded.is_empty()).then(|| format!("{algorithm}:{encoded}"))
}
