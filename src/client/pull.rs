//! From an image name to an OCI layout.
//!
//! ```text
//! resolve -> choose -> walk the manifests -> fetch the blobs -> index.json
//! ```
//!
//! Every blob is verified while it streams and gets its name only then, and `index.json` comes last: a pull that is killed
//! leaves a layout that the next one completes, fetching only what is not there. Entries keep the properties that the site
//! published them with, except `casEngines`, which say where the *site* keeps the blobs: now they are here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use url::Url;

use super::choose::{MAX_CANDIDATES, Platforms, choose};
use super::fetch::{Begun, FetchError, Sink, fetch};
use super::http::Http;
use super::manifests::{Found, SiteManifests};
use super::referrers::referrers;
use crate::layout::writer::{LayoutWriter, UnfinishedBlob, WriteError};
use crate::progress::Progress;
use oci_discovery::digest::Digest;
use oci_discovery::discovery::{Keep, Remark, Remarks, Settings, resolve};
use oci_discovery::error::chain;
use oci_discovery::json::{MAX_MANIFEST_BYTES, ValueText};
use oci_discovery::name::ImageName;
use oci_discovery::oci::descriptor::REF_NAME;
use oci_discovery::oci::manifest::{ManifestError, may_hold_descriptors};
use oci_discovery::oci::walk::{Graph, Limit, Next, TooLarge, descriptor_key, manifest_bytes, walk};
use oci_discovery::oci::{Descriptor, Platform};
use oci_discovery::parallel;
use oci_discovery::seen::{Key, Seen};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image.
    pub name: ImageName,
    /// Where it goes.
    pub target: Target,
    /// Which platforms of it.
    pub platforms: Platforms,
    /// Whether what refers to it comes too.
    pub referrers: bool,
    /// The most bytes that the image may have, with all that comes with it.
    pub max_size: u64,
    /// How many blobs at once.
    pub jobs: NonZeroUsize,
}

/// A place for an image: `LAYOUT` or `LAYOUT:REF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A directory, or a tar archive.
    pub layout: PathBuf,
    /// The ref under which the image is entered; none: the site's.
    pub reference: Option<String>,
}

impl std::str::FromStr for Target {
    type Err = String;

    /// Splits at the first colon, as skopeo does, because a ref may have colons.
    fn from_str(text: &str) -> Result<Target, String> {
        let (layout, reference) = match text.split_once(':') {
            Some((layout, reference)) => (layout, Some(reference)),
            None => (text, None),
        };
        if layout.is_empty() || reference == Some("") {
            return Err("expected LAYOUT or LAYOUT:REF, such as images/app or app.tar:1.0".into());
        }
        Ok(Target { layout: layout.into(), reference: reference.map(str::to_string) })
    }
}

/// What a pull did.
#[derive(Debug, Default)]
pub struct Summary {
    /// The entries that the layout has now, the image's first, then referrers.
    pub entries: Vec<Descriptor>,
    /// Blobs that were fetched.
    pub fetched: Count,
    /// Blobs that were there.
    pub present: Count,
    /// What there is to say.
    pub remarks: Remarks,
}

/// A number of blobs and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// How many.
    pub blobs: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes += bytes;
    }
}

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The name means nothing.
    #[error("{name} resolves to nothing")]
    NoRoot {
        /// The name.
        name: ImageName,
        /// What was found on the way.
        remarks: Remarks,
    },
    /// The name means several images.
    #[error("{name} is ambiguous; choose with #REF, --platform or --all-platforms")]
    Ambiguous {
        /// The name.
        name: ImageName,
        /// One line for each.
        choices: Vec<String>,
    },
    /// None of the images is for the platform.
    #[error("{name} has no image for {wanted}; choose with --platform or --all-platforms")]
    NoPlatform {
        /// The name.
        name: ImageName,
        /// The platform.
        wanted: Platform,
        /// One line for each that there is.
        choices: Vec<String>,
    },
    /// A blob that cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A manifest that is malformed although its digest is right: it was published so.
    #[error("the manifest {digest} from {uri} is wrong")]
    Manifest {
        /// Its digest.
        digest: Digest,
        /// Where it came from.
        uri: Url,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// A manifest that is larger than manifests are.
    #[error("the manifest {digest} has {size} bytes: expected at most {MAX_MANIFEST_BYTES}")]
    ManifestTooLarge {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A graph that is larger than those of images.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// An index of more images than are looked at.
    #[error("the index {digest} holds more than {MAX_CANDIDATES} images; name one with #REF")]
    TooManyImages {
        /// The index's digest.
        digest: Digest,
    },
    /// More bytes than the user accepts.
    #[error(
        "{name} has {size} bytes by its manifests: expected at most {limit}; a larger --max-size accepts more, and nothing \
         was written"
    )]
    TooManyBytes {
        /// The name.
        name: ImageName,
        /// The sum of the sizes of all blobs.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The layout cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl PullError {
    /// Whether the site or the name is at fault, rather than this machine.
    pub fn is_about_site(&self) -> bool {
        !matches!(self, PullError::Write(_) | PullError::Fetch(FetchError::Sink { .. }))
    }

    /// What the message is followed by: what there is to choose from, or what was found on the way.
    pub fn list(&self) -> Vec<String> {
        match self {
            PullError::NoRoot { remarks, .. } => {
                remarks.iter().map(|remark| format!("{}: {remark}", remark.severity())).collect()
            }
            PullError::Ambiguous { choices, .. } | PullError::NoPlatform { choices, .. } => choices.clone(),
            _ => vec![],
        }
    }
}

/// Pulls an image into a layout.
pub fn pull(
    http: &Http,
    settings: &Settings,
    request: &Request,
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
    let mut pull = Pull {
        http,
        layout: &layout,
        manifests,
        jobs: request.jobs,
        seen: Seen::new(),
        parts: Mutex::default(),
        remarks: Mutex::new(remarks),
    };
    pull.walk(&chosen)?;
    let mut extra = Vec::new();
    if request.referrers {
        extra = referrers(&pull, &request.name, &resolution.indexes)?;
    }
    // Nothing is written before it is known what, and that there is room for it: what is refused leaves no trace.
    pull.check_size(request)?;
    layout.prepare()?;
    pull.store_manifests()?;
    let (fetched, present) = pull.fetch_all(progress)?;
    let remarks = pull.remarks.into_inner().unwrap_or_else(PoisonError::into_inner);
    let entries: Vec<Descriptor> = chosen
        .into_iter()
        .map(|found| entry(found.descriptor, request.target.reference.as_deref()))
        .chain(extra.into_iter().map(|found| entry(found.descriptor, None)))
        .collect();
    layout.finish(|old| merged(old, &entries))?;
    Ok(Summary { entries, fetched, present, remarks })
}

/// A site's entry as an entry of a layout.
fn entry(mut descriptor: Descriptor, reference: Option<&str>) -> Descriptor {
    descriptor.edit(|properties| drop(properties.remove("casEngines")));
    if reference.is_some() {
        descriptor.set_ref_name(reference);
    }
    descriptor
}

/// The entries of an index with `new` added: a ref that is pulled is replaced whole, and nothing stands there twice.
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

/// What the image consists of, as far as it was walked.
#[derive(Debug, Default)]
struct Parts {
    /// The manifests.
    manifests: BTreeMap<Digest, Found>,
    /// The other blobs.
    blobs: Vec<Found>,
    fetched: Count,
    present: Count,
}

pub(super) struct Pull<'a> {
    http: &'a Http,
    layout: &'a LayoutWriter,
    pub(super) manifests: SiteManifests<'a>,
    pub(super) jobs: NonZeroUsize,
    seen: Seen,
    parts: Mutex<Parts>,
    remarks: Mutex<Remarks>,
}

/// Manifests are read several at once; they and the blobs that they name are noted.
impl Graph for Pull<'_> {
    type Node = Found;
    type Error = PullError;

    fn identity<'n>(&'n self, found: &'n Found) -> Option<(&'n Seen, Key)> {
        Some((&self.seen, descriptor_key(&found.descriptor)))
    }

    fn bytes(&self, found: &Found) -> u64 {
        manifest_bytes(&found.descriptor)
    }

    fn visit(&self, mut found: Found, next: &mut Next<Found>) -> Result<(), PullError> {
        if !is_manifest(&found.descriptor) {
            // To fetch it, no more is needed; there may be a great many.
            found.descriptor.edit(|properties| properties.retain(|property, _| property == "urls"));
            self.parts().blobs.push(found);
            return Ok(());
        }
        let Descriptor { digest, size, .. } = &found.descriptor;
        let was_there = self.layout.has(digest, *size);
        let mut remarks = Remarks::default();
        let manifest = self.manifests.parse(&found, &mut remarks)?;
        self.remark(remarks);
        let mut parts = self.parts();
        let count = if was_there { &mut parts.present } else { &mut parts.fetched };
        count.add(*size);
        parts.manifests.insert(digest.clone(), found);
        manifest.children.into_iter().for_each(|child| next.below(child));
        Ok(())
    }

    fn refuse(&self, found: Found, limit: Limit, _next: &mut Next<Found>) -> Result<(), PullError> {
        Err(TooLarge { digest: found.descriptor.digest, limit }.into())
    }
}

impl Pull<'_> {
    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds remarks.
    pub(super) fn remark(&self, remarks: impl IntoIterator<Item = Remark>) {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).extend(remarks);
    }

    /// The manifests that are part of the image so far.
    pub(super) fn manifests_so_far(&self) -> BTreeSet<Digest> {
        self.parts().manifests.keys().cloned().collect()
    }

    /// Reads the manifests below `roots`, and notes the blobs that they name.
    pub(super) fn walk(&self, roots: &[Found]) -> Result<(), PullError> {
        walk(self, roots.iter().cloned(), self.jobs)
    }

    /// Whether the layout has a blob already.
    fn has(&self, found: &Found) -> bool {
        self.layout.has(&found.descriptor.digest, found.descriptor.size)
    }

    /// Checks that the user accepts this many bytes, and that the file system has room for those that are missing.
    fn check_size(&self, request: &Request) -> Result<(), PullError> {
        let parts = self.parts();
        let (mut size, mut missing) = (0_u64, 0_u64);
        let all: Vec<&Found> = parts.manifests.values().chain(&parts.blobs).collect();
        let there = parallel::map(&all, self.jobs, |found| Ok::<_, PullError>(self.has(found)))?;
        for (found, is_there) in all.iter().zip(there) {
            let Descriptor { digest, size: bytes, .. } = &found.descriptor;
            size = size.saturating_add(*bytes);
            if !is_there {
                // What a killed program left of it has its room already.
                missing = missing.saturating_add(bytes - self.layout.unfinished(digest, *bytes));
            }
        }
        if size > request.max_size {
            return Err(PullError::TooManyBytes { name: request.name.clone(), size, limit: request.max_size });
        }
        Ok(self.layout.check_room(missing)?)
    }

    /// Puts the manifests into the layout.
    fn store_manifests(&self) -> Result<(), PullError> {
        let manifests: Vec<Found> = self.parts().manifests.values().cloned().collect();
        parallel::map(&manifests, self.jobs, |found| self.manifests.store(found))?;
        Ok(())
    }

    /// Fetches the blobs that are not there, several at once. How many were fetched and how many were there, manifests included.
    fn fetch_all(&mut self, progress: &dyn Progress) -> Result<(Count, Count), PullError> {
        let Parts { blobs, mut fetched, mut present, .. } = std::mem::take(&mut *self.parts());
        let there = parallel::map(&blobs, self.jobs, |found| Ok::<_, PullError>(self.has(found)))?;
        let (there, missing): (Vec<_>, Vec<_>) = blobs.into_iter().zip(there).partition(|(_, is_there)| *is_there);
        for (found, _) in &there {
            present.add(found.descriptor.size);
        }
        let missing: Vec<Found> = missing.into_iter().map(|(found, _)| found).collect();
        progress.start("pulling", missing.iter().map(|found| found.descriptor.size).sum());
        let outcome = parallel::map(&missing, self.jobs, |found| self.fetch_blob(found, progress));
        progress.finish();
        for (found, left_out) in missing.iter().zip(outcome?) {
            match left_out {
                Some(remark) => self.remark([remark]),
                None => fetched.add(found.descriptor.size),
            }
        }
        Ok((fetched, present))
    }

    /// Fetches one blob; a remark where it was left out, as layers that may not be distributed can be.
    fn fetch_blob(&self, found: &Found, progress: &dyn Progress) -> Result<Option<Remark>, PullError> {
        let descriptor = &found.descriptor;
        let part = progress.part(descriptor.digest.encoded(), descriptor.size);
        let mut blob = self.layout.begin(&descriptor.digest)?;
        if let Some(bytes) = self.manifests.cached(&descriptor.digest) {
            let written = blob.restart().and_then(|()| blob.write_all(&bytes));
            written.map_err(|source| blob.error(source))?;
            part.at(descriptor.size);
            blob.commit()?;
            return Ok(None);
        }
        let (hasher, bytes) = blob.read_begun(descriptor.size)?;
        part.at(bytes);
        self.layout.check_room(descriptor.size - bytes)?;
        let begun = Some(Begun { hasher, bytes });
        match fetch(self.http, descriptor, &found.engines, &mut blob, begun, &*part) {
            Ok(_) => blob.commit()?,
            Err(error @ (FetchError::NoEngine { .. } | FetchError::Unavailable { .. })) if descriptor.is_foreign() => {
                return Ok(Some(Remark::LeftOut(chain(&error))));
            }
            Err(FetchError::Sink { source, .. }) => return Err(blob.error(source).into()),
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }
}

/// Whether a blob is read as a manifest. Without a media type, anything small enough may be one.
pub(super) fn is_manifest(descriptor: &Descriptor) -> bool {
    let is_small = descriptor.size <= MAX_MANIFEST_BYTES;
    may_hold_descriptors(&descriptor.media_type) && (is_small || !descriptor.media_type.is_empty())
}

impl Sink for UnfinishedBlob<'_> {
    fn restart(&mut self) -> io::Result<()> {
        UnfinishedBlob::restart(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::Algorithm;
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
