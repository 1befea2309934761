//! Uploads in parts that were neither completed nor aborted.
//!
//! Listings of objects omit their parts, which take space until the upload is aborted. S3 can list such uploads; the
//! client library has no call for that ([`super::signed`]). Azure discards
//! unfinished blocks after a week. Google's store needs a lifecycle rule of the bucket.

use std::time::{Duration, SystemTime};

use object_store::multipart::MultipartStore;
use serde::Deserialize;

use super::BucketStore;
use super::pages::Pages;
use super::signed::{S3, generic};
use crate::store::{Provider, StoreError, Upload};

/// A response to ListMultipartUploads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    #[serde(rename = "Upload")]
    uploads: Vec<Entry>,
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    upload_id: String,
    initiated: String,
}

impl BucketStore {
    /// The unfinished uploads below the prefix that began before a time. None: the store cannot list them.
    pub(super) fn uploads_before(&self, before: SystemTime) -> Result<Option<Vec<Upload>>, StoreError> {
        let Some(s3) = &self.client.s3 else {
            return Ok((self.client.endpoint.provider == Provider::Azure).then(Vec::new));
        };
        let stopped = |stop| self.stopped("list the unfinished uploads of", "", stop);
        let mut uploads = Vec::new();
        let mut markers = (String::new(), String::new());
        let mut pages = Pages::default();
        loop {
            let Some(page) = self.run(async || self.uploads_page(s3, &markers).await).map_err(stopped)? else {
                return Ok(None);
            };
            let entries: Vec<String> =
                page.uploads.iter().map(|entry| format!("{} {}", entry.key, entry.upload_id)).collect();
            uploads.extend(page.uploads.into_iter().filter_map(|entry| self.old_upload(entry, before)));
            if !page.is_truncated {
                return Ok(Some(uploads));
            }
            pages.next(entries.iter().map(String::as_str)).map_err(|problem| self.endless(problem))?;
            markers = (page.next_key_marker, page.next_upload_id_marker);
        }
    }

    fn old_upload(&self, entry: Entry, before: SystemTime) -> Option<Upload> {
        let initiated = chrono::DateTime::parse_from_rfc3339(&entry.initiated).ok()?;
        let initiated = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(initiated.timestamp()).ok()?);
        if initiated >= before {
            return None;
        }
        Some(Upload { path: self.path(&entry.key)?, id: entry.upload_id, begun: initiated })
    }

    /// One page. None: the store has no such request.
    async fn uploads_page(
        &self,
        s3: &S3,
        (key_marker, upload_id_marker): &(String, String),
    ) -> object_store::Result<Option<Page>> {
        let prefix = self.location.prefix.as_ref().map(|prefix| format!("{prefix}/"));
        let query = [
            ("uploads", ""),
            ("prefix", prefix.as_deref().unwrap_or_default()),
            ("key-marker", key_marker),
            ("upload-id-marker", upload_id_marker),
        ];
        let query = query.into_iter().filter(|(name, value)| *name == "uploads" || !value.is_empty());
        let answer = s3.query(query).await?;
        match answer.status {
            200 => {
                quick_xml::de::from_str(&answer.body).map(Some).map_err(|_| generic("a response that is not a listing"))
            }
            405 | 501 => Ok(None),
            _ => Err(answer.error()),
        }
    }

    pub(super) fn abort(&self, upload: &Upload) -> Result<(), StoreError> {
        let Some(s3) = &self.client.s3 else { return Ok(()) };
        let key = self.key(upload.path.as_str())?;
        match self.run(async || s3.objects.abort_multipart(&key, &upload.id).await) {
            Ok(()) => Ok(()),
            Err(stop) if self.is_absent(&stop) => Ok(()),
            Err(stop) => Err(self.stopped("abort the upload of", upload.path.as_str(), stop)),
        }
    }
}
