//! What a person asks to publish, turned into opened layouts and the image names their entries go to.

#![allow(clippy::disallowed_methods, reason = "layouts are the user's, and links in them are followed (SECURITY.md)")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use crate::layout::archive::MemberBudget;
use crate::layout::{DOCKER_TRANSPORT, Layout, LayoutError, after_transport};
use crate::shell;
use oci_discovery::name::{ImageName, NameError};
use oci_discovery::parallel;

/// One thing to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A layout under a name: `NAME[#REF]=LAYOUT[:REF]`.
    Image {
        /// The name; its fragment is the ref to publish under.
        name: ImageName,
        /// The layout's directory or archive.
        layout: PathBuf,
        /// The one ref of the layout to publish; None: all of its entries.
        reference: Option<String>,
    },
    /// All layouts below a folder, named by their relative paths.
    Folder(PathBuf),
}

/// Why an input cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Nothing was given.
    #[error(
        "nothing to publish: give an image (`example.com/app=LAYOUT`), or a folder of layouts and the host for their \
         names (`--host example.com FOLDER`)"
    )]
    Nothing,
    /// A name is malformed.
    #[error("cannot publish {}", .layout.display())]
    Name {
        /// The layout that was to have the name.
        layout: PathBuf,
        /// What is wrong with the name.
        #[source]
        source: NameError,
    },
    /// A folder without a host to put before its paths.
    #[error(
        "the layouts below {} have no host: give the host for their names with `--host example.com`",
        .folder.display()
    )]
    NoHost {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder that is a layout.
    #[error(
        "{} is itself a layout, not a folder of layouts: give its image name, as in `{}`",
        .folder.display(), shell::quote(&format!("example.com/app={}", .folder.display()))
    )]
    FolderIsLayout {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder without a single layout.
    #[error(
        "no layout below {}: expected directories that contain a file oci-layout, or .tar archives of such directories",
        .folder.display()
    )]
    NoLayouts {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder that cannot be walked.
    #[error("cannot look for layouts below {}", .folder.display())]
    Walk {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: walkdir::Error,
    },
    /// A path that is no UTF-8 and so cannot become a name.
    #[error("{} is not UTF-8, so the path cannot become an image name; rename the file or directory", .path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A layout cannot be opened.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A name, and nothing behind the equals sign.
    #[error("{text:?} gives no layout after `=`: write NAME[#REF]=LAYOUT[:REF]")]
    EmptyLayout {
        /// The argument.
        text: String,
    },
    /// A command-line argument without a name, for a path that does not exist.
    #[error("{text:?} is neither NAME[#REF]=LAYOUT[:REF] nor a folder of layouts (no such directory)")]
    NoFolder { text: String },
    /// A command-line argument that is neither a name with a layout nor a folder.
    #[error("{text:?} is neither NAME[#REF]=LAYOUT[:REF] nor a folder of layouts")]
    Argument {
        /// The argument.
        text: String,
        /// Why it is no name.
        #[source]
        source: Option<NameError>,
    },
}

/// Something below a folder that looks like a layout and is not published.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why it was skipped.
    pub reason: String,
}

/// An image to publish: a name, and entries of one layout.
#[derive(Clone, Debug)]
pub struct Source {
    /// The image, without a fragment.
    pub image: ImageName,
    /// The ref to publish under, where it is not the layout's own.
    pub rename: Option<String>,
    /// The position in [`Gathered::layouts`].
    pub layout: usize,
    /// The one ref to publish; None: all entries.
    pub select: Option<String>,
}

/// All input, opened.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The layouts, each once.
    pub layouts: Vec<Layout>,
    /// What is to be published from them.
    pub sources: Vec<Source>,
    /// What was found and left alone.
    pub skipped: Vec<Skipped>,
    /// What the archives among the layouts may have together.
    members: Arc<MemberBudget>,
}

impl Input {
    /// Reads a command-line argument.
    ///
    /// A name and a path may have equals signs. The layout follows the first one behind which a layout exists, or else the
    /// first one behind a name.
    pub fn parse(text: &str) -> Result<Input, InputError> {
        let is_path = Path::new(text).exists();
        let Some((first, _)) = text.split_once('=') else {
            return match is_path || !text.contains('#') {
                true => Ok(Input::Folder(text.into())),
                false => Err(InputError::Argument { text: text.into(), source: None }),
            };
        };
        let splits = text.match_indices('=').map(|(at, _)| (&text[..at], &text[at + 1..]));
        let named = splits.filter_map(|(name, layout)| Some((ImageName::parse(name).ok()?, layout)));
        let named: Vec<(ImageName, &str)> = named.collect();
        let exists =
            |(_, layout): &&(ImageName, &str)| !layout.is_empty() && split_reference("".as_ref(), layout).0.exists();
        match named.iter().find(exists).or(named.first()) {
            _ if is_path && !named.iter().any(|split| exists(&split)) => Ok(Input::Folder(text.into())),
            Some((_, "")) => Err(InputError::EmptyLayout { text: text.into() }),
            Some((name, layout)) => {
                let (layout, reference) = split_reference("".as_ref(), layout);
                Ok(Input::Image { name: name.clone(), layout, reference })
            }
            None => Err(InputError::Argument { text: text.into(), source: ImageName::parse(first).err() }),
        }
    }
}

/// Splits `LAYOUT[:REF]`, also behind a transport as skopeo writes it, and takes a relative path as one below `base`. A path
/// that exists as it stands is a path, colons and all.
pub fn split_reference(base: &Path, text: &str) -> (PathBuf, Option<String>) {
    let argument = after_transport(base, text);
    let split = match argument {
        Some(argument) => argument.split_once(':'),
        None if text.starts_with(DOCKER_TRANSPORT) => None,
        None => text.rsplit_once(':'),
    };
    match split {
        Some((path, reference)) if !base.join(text).exists() && !path.is_empty() && !reference.contains('/') => {
            (base.join(path), Some(reference.into()))
        }
        _ => (base.join(argument.unwrap_or(text)), None),
    }
}

/// Opens every layout once, up to `jobs` at a time, and finds those below folders.
pub fn gather(inputs: &[Input], host: Option<&str>, jobs: NonZeroUsize) -> Result<Gathered, InputError> {
    if inputs.is_empty() {
        return Err(InputError::Nothing);
    }
    let mut gathered = Gathered::default();
    for input in inputs {
        match input {
            Input::Image { name, layout, reference } => {
                let layout = gathered.open(layout)?;
                let rename = name.fragment().map(str::to_string);
                gathered.sources.push(Source { image: name.image(), rename, layout, select: reference.clone() });
            }
            Input::Folder(folder) if !folder.exists() => {
                return Err(InputError::NoFolder { text: folder.display().to_string() });
            }
            // A file or a layout is refused before the host is asked for, which it has no use for.
            Input::Folder(folder) if !folder.is_dir() || Layout::is_directory_layout(folder) => {
                Layout::open(folder)?;
                return Err(InputError::FolderIsLayout { folder: folder.clone() });
            }
            Input::Folder(folder) => {
                let host = host.ok_or_else(|| InputError::NoHost { folder: folder.clone() })?;
                gathered.add_folder(folder, host, jobs)?;
            }
        }
    }
    Ok(gathered)
}

impl Gathered {
    fn open(&mut self, path: &Path) -> Result<usize, InputError> {
        if let Some(position) = self.layouts.iter().position(|layout| layout.path() == path) {
            return Ok(position);
        }
        Ok(self.add(Layout::open_within(path, &self.members)?))
    }

    fn add(&mut self, layout: Layout) -> usize {
        self.layouts.push(layout);
        self.layouts.len() - 1
    }

    fn add_folder(&mut self, folder: &Path, host: &str, jobs: NonZeroUsize) -> Result<(), InputError> {
        let before = self.sources.len();
        let members = self.members.clone();
        let open = |candidate: Candidate| match Layout::open_within(&candidate.path, &members) {
            Ok(layout) => Ok((candidate, Ok(layout))),
            // A folder may hold other archives; what was not published is said in the summary.
            Err(error @ LayoutError::NotALayout { .. }) if candidate.is_archive => Ok((candidate, Err(error))),
            Err(error) => Err(error),
        };
        for (candidate, opened) in parallel::map(candidates(folder)?, jobs, open)? {
            let Candidate { path, is_archive } = candidate;
            match opened {
                Ok(layout) if is_archive => self.add_found(folder, &path.with_extension(""), host, layout)?,
                Ok(layout) => self.add_found(folder, &path, host, layout)?,
                Err(error) => self.skip(&path, &error),
            }
        }
        match self.sources.len() > before {
            true => Ok(()),
            false => Err(InputError::NoLayouts { folder: folder.into() }),
        }
    }

    fn skip(&mut self, path: &Path, error: &LayoutError) {
        self.skipped.push(Skipped { path: path.into(), reason: error.to_string() });
    }

    fn add_found(&mut self, folder: &Path, path: &Path, host: &str, layout: Layout) -> Result<(), InputError> {
        let relative = path.strip_prefix(folder).unwrap_or(path);
        let relative = relative.to_str().ok_or_else(|| InputError::NotUtf8 { path: path.into() })?;
        let image = ImageName::new(host, relative, None)
            .map_err(|source| InputError::Name { layout: layout.path().into(), source })?;
        let layout = self.add(layout);
        self.sources.push(Source { image, rename: None, layout, select: None });
        Ok(())
    }
}

/// What may be a layout, by its name or by what is in it.
struct Candidate {
    path: PathBuf,
    is_archive: bool,
}

/// The layout directories and the archives below a folder, sorted.
fn candidates(folder: &Path) -> Result<Vec<Candidate>, InputError> {
    let mut candidates = Vec::new();
    let mut walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(|source| InputError::Walk { folder: folder.into(), source })?;
        if !entry.file_type().is_dir() && is_archive_name(entry.path()) {
            candidates.push(Candidate { path: entry.into_path(), is_archive: true });
        } else if entry.file_type().is_dir() && Layout::is_directory_layout(entry.path()) {
            walk.skip_current_dir();
            candidates.push(Candidate { path: entry.into_path(), is_archive: false });
        }
    }
    Ok(candidates)
}

/// Names that archives of layouts have, compressed ones included: those get an error that says how to unpack them.
fn is_archive_name(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LAYOUT_MARKER;

    #[test]
    fn the_archives_of_one_publish_have_a_limit_together() {
        // Given two archives, with two members each besides their layout.
        let folder = tempfile::tempdir().unwrap();
        let archives = ["one.tar", "two.tar"].map(|name| folder.path().join(name));
        for archive in &archives {
            let mut builder = tar::Builder::new(std::fs::File::create(archive).unwrap());
            for name in ["oci-layout", "a", "b"] {
                let mut header = tar::Header::new_gnu();
                header.set_size(LAYOUT_MARKER.len() as u64);
                builder.append_data(&mut header, name, LAYOUT_MARKER).unwrap();
            }
            builder.finish().unwrap();
        }
        // When both are opened with a limit for one, by name or as a folder, then the second one is refused.
        let within = |limit| Gathered { members: Arc::new(MemberBudget::new(limit)), ..Gathered::default() };
        let open = |mut gathered: Gathered| archives.iter().try_for_each(|path| gathered.open(path).map(drop));
        let open_folder = |mut gathered: Gathered| gathered.add_folder(folder.path(), "example.com", NonZeroUsize::MIN);
        for opened in [open(within(5)), open_folder(within(5))] {
            assert!(matches!(opened, Err(InputError::Layout(LayoutError::Archive { .. }))), "{opened:?}");
        }
        open(within(6)).unwrap();
        open_folder(within(6)).unwrap();
    }

    #[test]
    fn an_argument_is_a_name_with_a_layout_or_a_folder() {
        let image = |name: &str, layout: &str, reference: Option<&str>| Input::Image {
            name: ImageName::parse(name).unwrap(),
            layout: layout.into(),
            reference: reference.map(str::to_string),
        };
        let parse = |text: &str| Input::parse(text).unwrap();
        assert_eq!(parse("example.com/app=dir"), image("example.com/app", "dir", None));
        assert_eq!(parse("example.com/app#2=a/b:1.0"), image("example.com/app#2", "a/b", Some("1.0")));
        assert_eq!(parse("example.com/app=a:b/c"), image("example.com/app", "a:b/c", None));
        assert_eq!(parse("layouts"), Input::Folder("layouts".into()));
        assert!(Input::parse("example.com:80/app=dir").is_err());
        assert!(Input::parse("example.com/app#1.0").is_err());
    }
}
