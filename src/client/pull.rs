//! From an image name to an OCI layout.
//!
//! ```text
//! resolve -> choose -> walk the manifests -> fetch the blobs -> index.json
//! ```
//!
//! Every blob is verified while it arrives and then gets its name, and `index.json` is written last: after a kill, the
//! next pull completes the layout and fetches only missing blobs. Entries keep their properties except `casEngines`,
//! which give the *site's* places of the blobs.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::choose::{Platforms, choose};
use super::error::PullError;
use super::http::Http;
use super::manifests::SiteManifests;
use super::referrers::referrers;
use super::transfer::{BlobCount, Transfer};
use crate::layout::writer::LayoutWriter;
use crate::layout::{ARCHIVE_TRANSPORT, after_transport};
use crate::progress::Progress;
use oci_discovery::discovery::{DiscoverySettings, Keep, Remarks, resolve};
use oci_discovery::json::ValueText;
use oci_discovery::name::ImageName;
use oci_discovery::oci::Descriptor;
use oci_discovery::oci::descriptor::REF_NAME;

#[derive(Clone, Debug)]
pub struct PullOptions {
    pub name: ImageName,
    pub target: Target,
    pub platforms: Platforms,
    /// Whether to pull its referrers, too.
    pub referrers: bool,
    /// The most bytes of the image, including its referrers.
    pub max_size: u64,
    /// The number of parallel requests.
    pub jobs: NonZeroUsize,
}

/// The destination of an image: `LAYOUT` or `LAYOUT:REF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A directory, or a tar archive.
    pub layout: PathBuf,
    /// The ref of the image in the layout. None: the site's.
    pub reference: Option<String>,
}

impl std::str::FromStr for Target {
    type Err = String;

    /// Splits at the first colon, as skopeo does, because a ref may have colons.
    fn from_str(text: &str) -> Result<Target, String> {
        let argument = after_transport("".as_ref(), text);
        let place = argument.unwrap_or(text);
        let (layout, reference) = match place.split_once(':') {
            Some((layout, reference)) => (layout, Some(reference)),
            None => (place, None),
        };
        if layout.is_empty() || reference == Some("") {
            return Err("expected LAYOUT or LAYOUT:REF, such as images/app or app.tar:1.0".into());
        }
        let is_archive = Path::new(layout).extension().is_some_and(|end| end == "tar");
        if argument.is_some() && is_archive != text.starts_with(ARCHIVE_TRANSPORT) {
            return Err("expected oci:DIR[:REF], or oci-archive:FILE[:REF] with a FILE that ends in .tar".into());
        }
        Ok(Target { layout: layout.into(), reference: reference.map(str::to_string) })
    }
}

/// The result of a pull.
#[derive(Debug, Default)]
pub struct Summary {
    /// The new entries of the layout: the image's first, then referrers.
    pub entries: Vec<Descriptor>,
    pub fetched: BlobCount,
    /// Blobs that the layout had.
    pub present: BlobCount,
    pub remarks: Remarks,
}

/// Pulls an image into a layout.
pub fn pull(
    http: &Http,
    settings: &DiscoverySettings,
    request: &PullOptions,
    progress: &dyn Progress,
) -> Result<Summary, PullError> {
    let layout = LayoutWriter::open(&request.target.layout)?;
    let keep = if request.referrers { Keep::Entries } else { Keep::Roots };
    let resolution = resolve(http, settings, &request.name, keep);
    let mut remarks = resolution.remarks;
    if resolution.roots.is_empty() {
        return Err(PullError::NoRoot { name: request.name.clone(), remarks });
    }
    let manifests = SiteManifests::new(http, &layout);
    let chosen = choose(&request.name, &resolution.roots, &request.platforms, &manifests, &mut remarks)?;
    let transfer = Transfer::new(manifests, &request.name, request.max_size, request.jobs, remarks);
    let walked = transfer.walk(&chosen)?;
    let mut extra = Vec::new();
    if request.referrers {
        extra = referrers(&transfer, &request.name, &resolution.indexes, walked)?;
    }
    // Refusals come before the first write, so that they leave no trace.
    transfer.check_room()?;
    layout.prepare()?;
    transfer.store_manifests()?;
    let (fetched, present) = transfer.fetch_all(progress)?;
    let remarks = transfer.into_remarks();
    let entries: Vec<Descriptor> = chosen
        .into_iter()
        .map(|found| entry(found.descriptor, request.target.reference.as_deref()))
        .chain(extra.into_iter().map(|found| entry(found.descriptor, None)))
        .collect();
    layout.finish(|old| merged(old, &entries))?;
    Ok(Summary { entries, fetched, present, remarks })
}

fn entry(mut descriptor: Descriptor, reference: Option<&str>) -> Descriptor {
    descriptor.edit(|properties| drop(properties.remove("casEngines")));
    if reference.is_some() {
        descriptor.set_ref_name(reference);
    }
    descriptor
}

/// The entries of an index with `new` added: a pulled ref is replaced whole, and duplicates are removed.
fn merged(old: Vec<ValueText>, new: &[Descriptor]) -> Vec<ValueText> {
    let new_refs: HashSet<&str> = new.iter().filter_map(Descriptor::ref_name).collect();
    let unnamed: HashSet<&str> =
        new.iter().filter(|entry| entry.ref_name().is_none()).map(|entry| entry.digest.as_str()).collect();
    let is_replaced = |entry: &ValueText| {
        let annotations = entry.get("annotations");
        let reference = annotations.as_ref().and_then(|annotations| annotations.get(REF_NAME)?.as_str());
        match reference {
            Some(reference) => new_refs.contains(reference),
            None => {
                entry.get("digest").is_some_and(|digest| digest.as_str().is_some_and(|digest| unnamed.contains(digest)))
            }
        }
    };
    let kept = old.into_iter().filter(|entry| !is_replaced(entry));
    kept.chain(new.iter().map(Descriptor::text).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::{Algorithm, Digest};
    use serde_json::json;

    fn descriptor(content: &str, reference: Option<&str>) -> Descriptor {
        let mut descriptor = Descriptor::new("a/b", Digest::of(Algorithm::Sha256, content.as_bytes()), 1);
        descriptor.set_ref_name(reference);
        descriptor
    }

    fn merged_with(old: &[Descriptor], new: &[Descriptor]) -> Vec<ValueText> {
        merged(old.iter().map(Descriptor::text).cloned().collect(), new)
    }

    #[test]
    fn a_pulled_ref_is_replaced_and_others_are_kept() {
        let (one, two) = (descriptor("1", Some("1")), descriptor("2", Some("2")));
        let new = descriptor("new", Some("1"));
        assert_eq!(
            merged_with(&[one, two.clone()], std::slice::from_ref(&new)),
            [two.text().clone(), new.text().clone()]
        );
    }

    #[test]
    fn an_entry_without_a_ref_stands_there_once_and_beside_others() {
        let (one, two) = (descriptor("1", None), descriptor("2", None));
        let again = descriptor("1", None);
        assert_eq!(
            merged_with(&[one, two.clone()], std::slice::from_ref(&again)),
            [two.text().clone(), again.text().clone()]
        );
        let odd = ValueText::from(&json!({"odd": 1}));
        assert_eq!(merged(vec![odd.clone()], &[]), [odd]);
    }

    #[test]
    fn an_entry_keeps_its_properties_but_not_the_site_s_engines() {
        let mut published = descriptor("1", Some("1"));
        published.edit(|properties| {
            properties.insert("casEngines".into(), json!([]));
            properties.insert("x-own".into(), json!({"a": 1}));
        });
        let kept = entry(published.clone(), None);
        assert_eq!(kept.property("x-own"), Some(json!({"a": 1})));
        assert_eq!(kept.property("casEngines"), None);
        assert_eq!(entry(published, Some("2")).ref_name(), Some("2"));
    }

    #[test]
    fn a_target_is_split_at_its_first_colon() {
        let target = |text: &str| text.parse::<Target>().map(|target| (target.layout, target.reference));
        assert_eq!(target("a/b"), Ok(("a/b".into(), None)));
        assert_eq!(target("a.tar:example.com/x:1"), Ok(("a.tar".into(), Some("example.com/x:1".into()))));
        assert!(target(":1").is_err() && target("a:").is_err() && target("").is_err());
    }
}
