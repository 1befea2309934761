//! The location of a site: a directory, or a bucket of an object store by its URL.
//!
//! Every process of the machine can see a command line, so a URL must not contain a secret. A URL that seems to (with a user
//! name, a password or a query) is refused, and the message does not repeat it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::site::SitePath;
use crate::site::path::PathError;

/// A site's location, as `--site` takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A directory: a path, or a `file://` URL.
    Directory(PathBuf),
    /// A bucket, or a part of it.
    Bucket(BucketLocation),
}

/// A bucket, and the prefix of the site's keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketLocation {
    /// The protocol of the store.
    pub provider: Provider,
    /// The bucket; on Azure, the container.
    pub bucket: String,
    /// The prefix of every key, without slashes around it. None: the site is the whole bucket.
    pub prefix: Option<SitePath>,
}

/// The protocols of object stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// S3, of Amazon or compatible.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Provider {
    /// The scheme of printed URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Provider::S3 => "s3",
            Provider::Gcs => "gs",
            Provider::Azure => "az",
        }
    }
}

/// An invalid location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// An unknown scheme.
    #[error(
        "{scheme}:// is not a known store: expected a directory, file://PATH, s3://BUCKET[/PREFIX], \
         gs://BUCKET[/PREFIX] or az://CONTAINER[/PREFIX]"
    )]
    Scheme { scheme: String },
    /// A URL with a part that could be a secret, which is not repeated.
    #[error(
        "the {scheme}:// URL has a {part}: a site's URL must not contain credentials; set them in the environment, or use \
         the machine's role"
    )]
    Secret {
        scheme: String,
        /// `user name or password`, `query` or `fragment`.
        part: &'static str,
    },
    /// A `file://` URL of another machine, or without an absolute path.
    #[error("{text} is not an absolute path on this machine: expected file:///PATH")]
    File { text: String },
    /// No bucket, or one with characters that no bucket has.
    #[error("{text} does not name a bucket: expected {scheme}://BUCKET[/PREFIX]")]
    Bucket { text: String, scheme: String },
    /// A prefix that keys cannot begin with.
    #[error("the prefix of {text} cannot be used")]
    Prefix {
        text: String,
        #[source]
        source: PathError,
    },
}

impl Location {
    /// Reads a path or a URL. Text without `://` is a path, whatever it looks like.
    pub fn parse(text: &str) -> Result<Location, LocationError> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Location::Directory(text.into())) };
        let scheme = scheme.to_ascii_lowercase();
        let provider = match scheme.as_str() {
            "file" => return directory(text, rest),
            "s3" => Provider::S3,
            "gs" => Provider::Gcs,
            "az" | "azure" => Provider::Azure,
            _ => return Err(LocationError::Scheme { scheme }),
        };
        for (sign, part) in [('@', "user name or password"), ('?', "query"), ('#', "fragment")] {
            if rest.contains(sign) {
                return Err(LocationError::Secret { scheme, part });
            }
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '$');
        if bucket.is_empty() || !bucket.chars().all(is_plain) {
            return Err(LocationError::Bucket { text: text.into(), scheme });
        }
        let prefix = match prefix.trim_end_matches('/') {
            "" => None,
            prefix => {
                Some(SitePath::new(prefix).map_err(|source| LocationError::Prefix { text: text.into(), source })?)
            }
        };
        Ok(Location::Bucket(BucketLocation { provider, bucket: bucket.into(), prefix }))
    }

    /// The location of a part of this one, such as the root of one host.
    pub fn join(&self, name: &str) -> Result<Location, PathError> {
        match self {
            Location::Directory(path) => Ok(Location::Directory(path.join(name))),
            Location::Bucket(bucket) => {
                let prefix = match &bucket.prefix {
                    Some(prefix) => SitePath::new(&format!("{prefix}/{name}"))?,
                    None => SitePath::new(name)?,
                };
                Ok(Location::Bucket(BucketLocation { prefix: Some(prefix), ..bucket.clone() }))
            }
        }
    }

    /// The same location, where a relative path is meant to be relative to `base`.
    pub fn relative_to(self, base: &Path) -> Location {
        match self {
            Location::Directory(path) => Location::Directory(base.join(path)),
            bucket => bucket,
        }
    }
}

fn directory(text: &str, rest: &str) -> Result<Location, LocationError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8();
    match decoded {
        Ok(decoded) if decoded.starts_with('/') => Ok(Location::Directory(decoded.as_ref().into())),
        _ => Err(LocationError::File { text: text.into() }),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => path.display().fmt(f),
            Location::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for BucketLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.provider.scheme(), self.bucket)?;
        self.prefix.iter().try_for_each(|prefix| write!(f, "/{prefix}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_are_told_apart() {
        let parsed = |text: &str| Location::parse(text).unwrap().to_string();
        assert_eq!(parsed("site"), "site");
        assert_eq!(parsed("C:/site"), "C:/site");
        assert_eq!(parsed("file:///srv/my%20site"), "/srv/my site");
        assert_eq!(parsed("s3://bucket"), "s3://bucket");
        assert_eq!(parsed("gs://bucket/a/b/"), "gs://bucket/a/b");
        assert_eq!(parsed("azure://container/a"), "az://container/a");
    }

    #[test]
    fn what_is_no_store_is_refused() {
        let message = |text: &str| Location::parse(text).unwrap_err().to_string();
        assert!(message("https://example.com/site").contains("not a known store"));
        assert!(message("s3://").contains("does not name a bucket"));
        assert!(message("s3://a/../b").contains("prefix"));
        assert!(message("file://host/path").contains("file:///PATH"));
    }

    #[test]
    fn a_url_with_a_secret_is_refused_without_being_repeated() {
        for text in ["s3://key:hunter2@bucket/site", "az://container?sig=hunter2", "gs://bucket#hunter2"] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains("must not contain credentials"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
