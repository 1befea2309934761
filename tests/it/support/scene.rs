//! What most tests begin with: a temporary directory with a layout, and a place for a site beside it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;

use super::layout::Layout;
use super::program::{fails, ocisite};
use super::site::Snapshot;
use super::users::public_directory;

/// Commands are run in the directory, so that `example.com/app=layout` is an input and `site` is the site.
pub struct Scene {
    pub directory: TempDir,
    /// `site`; it does not exist yet.
    pub site: PathBuf,
    /// `layout`.
    pub layout: Layout,
}

impl Scene {
    /// The layout has no entries.
    pub fn new() -> Scene {
        Scene::of(Layout::new)
    }

    /// The layout has an image for linux/amd64, made of `content`, under the ref `1.0`.
    pub fn of_image(content: &str) -> Scene {
        Scene::of(|path| Layout::of_image(path, content))
    }

    /// The directory is every user's, with a copy of the program in it for [`users::as_user`](super::users::as_user). The layout
    /// has no entries.
    pub fn public() -> Scene {
        Scene::within(public_directory(), Layout::new)
    }

    fn of(layout: impl FnOnce(PathBuf) -> Layout) -> Scene {
        Scene::within(tempfile::tempdir().unwrap(), layout)
    }

    fn within(directory: TempDir, layout: impl FnOnce(PathBuf) -> Layout) -> Scene {
        let layout = layout(directory.path().join("layout"));
        Scene { site: directory.path().join("site"), layout, directory }
    }

    /// A path in the directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program, run in the directory.
    pub fn ocisite(&self) -> Command {
        let mut command = ocisite();
        command.current_dir(&self.directory);
        command
    }

    /// `ocisite publish --site SITE`, to be given more arguments.
    pub fn publish(&self) -> Command {
        let mut command = self.ocisite();
        command.args(["publish", "--site"]).arg(&self.site);
        command
    }

    /// Runs a publish that has to be refused: exit code 2, nothing on standard output, one message that has all of `words`, and
    /// the directory as it was. Gives the message.
    pub fn refused(&self, args: &[&str], words: &[&str]) -> String {
        let before = Snapshot::of(self.directory.path());
        let message = fails(self.publish().args(args), words);
        before.assert_unchanged(self.directory.path());
        message
    }
}
