//! `--list-changed`: the URLs that a command changed, for a purge of the caches in front of a site.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use super::output;
use crate::site::requests;
use crate::store::changes::Served;
use crate::store::site::{self, SiteError};
use crate::store::{self, Changes, StoreOptions};
use crate::terminal;

/// The option.
#[derive(Debug, clap::Args)]
pub struct ListChanged {
    /// Write the URLs that the command changed to this file, sorted, one on each line: those of new, replaced and removed objects,
    /// without new blobs, which no cache has. For a purge of a CDN in front of the site.
    #[arg(long, value_name = "FILE")]
    list_changed: Option<PathBuf>,
}

/// The changes of a command, and the file for their list.
pub struct Recording {
    /// For the stores of the command.
    pub changes: Changes,
    file: Option<(PathBuf, File)>,
}

impl ListChanged {
    /// Creates the file, before anything changes.
    #[allow(clippy::disallowed_methods, reason = "the list goes where the user says")]
    pub fn begin(&self) -> anyhow::Result<Recording> {
        let Some(path) = &self.list_changed else { return Ok(Recording { changes: Changes::default(), file: None }) };
        let file = File::create(path).with_context(|| cannot_write(path))?;
        Ok(Recording { changes: Changes::recorded(), file: Some((path.clone(), file)) })
    }
}

impl Recording {
    /// Writes the list when the command is done. A command that failed may have changed a part of a bucket.
    pub fn end<T, E: Into<anyhow::Error>>(self, result: Result<T, E>) -> anyhow::Result<T> {
        let written = self.write();
        if let (Err(_), Err(error)) = (&result, &written) {
            terminal::message(format_args!("warning: {}", output::chain(error)));
        }
        let value = result.map_err(Into::into)?;
        written.map(|()| value)
    }

    fn write(self) -> anyhow::Result<()> {
        let Some((path, mut file)) = self.file else { return Ok(()) };
        let mut lines: Vec<u8> = Vec::new();
        for url in urls(&self.changes)? {
            lines.extend(url.into_bytes());
            lines.push(b'\n');
        }
        file.write_all(&lines).with_context(|| cannot_write(&path))
    }
}

fn cannot_write(path: &std::path::Path) -> String {
    format!("cannot write the list of changed URLs {}", path.display())
}

/// The URLs of the changed objects, at each host of their site.
fn urls(changes: &Changes) -> Result<BTreeSet<String>, SiteError> {
    let mut urls = BTreeSet::new();
    for (served, paths) in changes.objects() {
        let origins = match &served {
            Served::Origin(origin) => vec![origin.clone()],
            Served::Site(location) => {
                let options = StoreOptions { adopt: true, ..StoreOptions::default() };
                let settings = site::settings(&*store::open(location, &options)?)?;
                let hosts = settings.into_iter().flat_map(|settings| settings.hosts);
                hosts.map(|host| format!("https://{host}")).collect()
            }
        };
        let paths: Vec<String> = paths.iter().flat_map(requests::paths).collect();
        urls.extend(origins.iter().flat_map(|origin| paths.iter().map(move |path| format!("{origin}/{path}"))));
    }
    Ok(urls)
}
