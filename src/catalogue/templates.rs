//! The templates of the catalogue: built in, and overridden one by one with files of the same names.

#![allow(clippy::disallowed_methods, reason = "the templates are files that the user names")]

use std::path::{Path, PathBuf};

use oci_discovery::digest::{Algorithm, Digest};

/// The page that lists all images.
pub const LIST: &str = "index.html.j2";
/// The page of an image.
pub const IMAGE: &str = "image.html.j2";
/// What both begin and end with.
pub const LAYOUT: &str = "layout.html.j2";
/// The style sheet.
pub const STYLE: &str = "style.css";
/// The script.
pub const SCRIPT: &str = "script.js";

/// The built-in templates by name.
pub const BUILT_IN: [(&str, &str); 5] = [
    (LIST, include_str!("../../templates/catalogue/index.html.j2")),
    (IMAGE, include_str!("../../templates/catalogue/image.html.j2")),
    (LAYOUT, include_str!("../../templates/catalogue/layout.html.j2")),
    (STYLE, include_str!("../../templates/catalogue/style.css")),
    (SCRIPT, include_str!("../../templates/catalogue/script.js")),
];

/// Templates by name, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates {
    texts: Vec<(String, String)>,
}

/// Why templates cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TemplatesError {
    /// A file operation failed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// `open`, `read`, `list`, `create` or `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A directory without a template.
    #[error(
        "the template directory {} has no templates: expected some of {}; to start, write the built-in ones with \
         `ocisite catalogue templates DIR`",
        .path.display(), names()
    )]
    NoTemplate {
        /// The directory.
        path: PathBuf,
    },
    #[error(
        "the template directory {} does not exist: write the built-in templates to it with `ocisite catalogue templates DIR`, \
         or omit --template-dir", .path.display()
    )]
    Missing { path: PathBuf },
    /// A file that would be overwritten.
    #[error("{} exists: choose another directory, or move it away", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

fn names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

impl Templates {
    /// The built-in ones.
    pub fn built_in() -> Templates {
        Templates { texts: BUILT_IN.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect() }
    }

    /// The built-in ones, with those that a directory has in their place. Other `*.j2` files in it can be included.
    pub fn with_overrides(directory: &Path) -> Result<Templates, TemplatesError> {
        let fault = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| TemplatesError::Io { action, path, source }
        };
        if !directory.try_exists().map_err(fault("open", directory))? {
            return Err(TemplatesError::Missing { path: directory.into() });
        }
        let mut templates = Templates::built_in();
        let mut found = 0;
        for entry in std::fs::read_dir(directory).map_err(fault("list", directory))? {
            let path = entry.map_err(fault("list", directory))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let built_in = templates.texts.iter().position(|(known, _)| known == name);
            if built_in.is_none() && !name.ends_with(".j2") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(fault("read", &path))?;
            match built_in {
                Some(position) => templates.texts[position].1 = text,
                None => templates.texts.push((name.into(), text)),
            }
            found += usize::from(built_in.is_some());
        }
        templates.texts.sort();
        match found {
            0 => Err(TemplatesError::NoTemplate { path: directory.into() }),
            _ => Ok(templates),
        }
    }

    /// The text of one of the [`BUILT_IN`] names.
    pub fn text(&self, name: &str) -> &str {
        self.texts.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text)
    }

    /// All names and texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// A digest over all of them: pages rendered with other templates have another one.
    pub fn digest(&self) -> Digest {
        let mut sorted: Vec<&(String, String)> = self.texts.iter().collect();
        sorted.sort();
        let lengths = sorted.iter().map(|(name, text)| format!("{name}\n{}\n{text}\n", text.len()));
        Digest::of(Algorithm::Sha256, lengths.collect::<String>().as_bytes())
    }
}

/// Writes the built-in templates to a directory, which is made when it is not there. Nothing is overwritten.
pub fn write_built_in(directory: &Path) -> Result<Vec<PathBuf>, TemplatesError> {
    let fault = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| TemplatesError::Io { action, path, source }
    };
    std::fs::create_dir_all(directory).map_err(fault("create", directory))?;
    let paths: Vec<PathBuf> = BUILT_IN.iter().map(|(name, _)| directory.join(name)).collect();
    if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(TemplatesError::Exists { path: path.clone() });
    }
    for (path, (_, text)) in paths.iter().zip(BUILT_IN) {
        std::fs::write(path, text).map_err(fault("write", path))?;
    }
    Ok(paths)
}
