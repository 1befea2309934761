use url::Url;

use super::fetch::FetchError;
use crate::layout::writer::WriteError;
use oci_discovery::digest::Digest;
use oci_discovery::discovery::Remarks;
use oci_discovery::json::MAX_MANIFEST_BYTES;
use oci_discovery::name::ImageName;
use oci_discovery::oci::Platform;
use oci_discovery::oci::manifest::ManifestError;
use oci_discovery::oci::walk::TooLarge;

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The name means nothing.
    #[error("{name} resolves to nothing{}", did_you_mean(.name))]
    NoRoot {
        /// The name.
        name: ImageName,
        /// What was found on the way.
        remarks: Remarks,
    },
    /// The name has several refs, with different content.
    #[error("{name} is ambiguous; choose with #REF")]
    SeveralRefs {
        /// The name.
        name: ImageName,
        /// One line for each.
        choices: Vec<String>,
    },
    /// One ref means several images.
    #[error("{name} is ambiguous; choose with --platform, or pull all with --all-platforms")]
    Ambiguous {
        /// The name.
        name: ImageName,
        /// One line for each.
        choices: Vec<String>,
    },
    /// None of the images is for the platform.
    #[error("{name} has no image for {wanted}; choose with --platform or --all-platforms")]
    NoPlatform { name: ImageName, wanted: Platform, choices: Vec<String> },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the manifest {digest} from {uri} is malformed")]
    Manifest {
        digest: Digest,
        uri: Url,
        #[source]
        source: ManifestError,
    },
    #[error("the manifest {digest} has {size} bytes: expected at most {MAX_MANIFEST_BYTES}, the limit of registries")]
    ManifestTooLarge {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A graph that is larger than those of images.
    #[error(
        "the manifests of the image and of all that is pulled with it are too large together; to pull less, omit --referrers \
         or --all-platforms, or name one image with #REF"
    )]
    TooLarge(#[from] TooLarge),
    #[error("the index {digest} has more than {limit} images; name one with #REF")]
    TooManyImages { digest: Digest, limit: usize },
    #[error(
        "{name} has {size} bytes or more by its manifests: expected at most {limit}; a larger --max-size accepts more; \
         nothing was written"
    )]
    TooManyBytes {
        /// The name.
        name: ImageName,
        /// The sum of the sizes of the blobs that were found until it passed the limit.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The layout cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What to ask about a name that resolves to nothing and looks like one with a tag.
pub fn did_you_mean(name: &ImageName) -> String {
    name.with_tag_as_fragment().map(|meant| format!("; did you mean {meant}?")).unwrap_or_default()
}

impl PullError {
    /// Whether the site or the name caused the error, rather than this machine.
    pub fn is_about_site(&self) -> bool {
        !matches!(self, PullError::Write(_) | PullError::Fetch(FetchError::Sink { .. }))
    }

    /// The lines after the message: choices or remarks.
    pub fn list(&self) -> Vec<String> {
        match self {
            PullError::NoRoot { remarks, .. } => {
                remarks.iter().map(|remark| format!("{}: {remark}", remark.severity())).collect()
            }
            PullError::SeveralRefs { choices, .. }
            | PullError::Ambiguous { choices, .. }
            | PullError::NoPlatform { choices, .. } => choices.clone(),
            _ => vec![],
        }
    }
}
