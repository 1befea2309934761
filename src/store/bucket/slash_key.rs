//! The second key of an object that clients request as a directory ([`Kind::slash_path`]): registry clients begin with `/v2/`, and no
//! server stands before a bucket that would answer with another object.
//!
//! The key is written before the object and removed before it, so that an object that this program wrote has both. Other programs
//! that copy sites omit it; the next publish adds it. Only S3 and compatible stores get the key: in the URLs of Azure, a container
//! stands in the path, and no client requests `/v2/`.

use http::Method;

use super::signed::Answer;
use super::{BucketStore, MAX_ATTEMPTS, Stop};
use crate::site::registry::{Endpoint, PING};
use crate::site::{Kind, SitePath};
use crate::store::StoreError;

/// The status of a store that has no such keys, or only empty ones.
const NOT_SUPPORTED: [u16; 3] = [400, 405, 501];

impl BucketStore {
    /// Writes the second key, if an object of this kind has one.
    pub(super) fn put_slash_key(&self, kind: &Kind) -> Result<(), StoreError> {
        let (Some(path), Some(s3)) = (kind.slash_path(), &self.client.s3) else { return Ok(()) };
        let (content_type, cache_control) = (kind.content_type(), kind.cache_control());
        let headers = [("content-type", &*content_type), ("cache-control", &*cache_control)];
        // In some stores, the key is a directory, which they serve without content.
        for body in [PING, b""] {
            let answer = self.send(path, "write", async |key| s3.slash_key(Method::PUT, key, &headers, body).await)?;
            if !NOT_SUPPORTED.contains(&answer.status) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the second key of an object of this kind is missing. A store in which the key is a directory may answer otherwise
    /// than 404; then nothing can be added.
    pub(super) fn lacks_slash_key(&self, kind: &Kind) -> Result<bool, StoreError> {
        let (Some(path), Some(s3)) = (kind.slash_path(), &self.client.s3) else { return Ok(false) };
        let key = self.key(path.trim_end_matches('/'))?;
        let answer = self.run(async || s3.slash_key(Method::HEAD, &key, &[], b"").await);
        Ok(answer.map_err(|stop| self.stopped("read", path, stop))?.status == 404)
    }

    /// Removes the second key of the object at a path, if it has one.
    pub(super) fn delete_slash_key(&self, path: &SitePath) -> Result<(), StoreError> {
        let kind = Endpoint::parse(path.as_str()).map(|endpoint| endpoint.kind());
        let (Some(path), Some(s3)) = (kind.and_then(|kind| kind.slash_path()), &self.client.s3) else { return Ok(()) };
        self.send(path, "remove", async |key| s3.slash_key(Method::DELETE, key, &[], b"").await).map(drop)
    }

    /// Sends a request for the key, again while the store asks for that.
    fn send(
        &self,
        path: &str,
        action: &'static str,
        call: impl AsyncFn(&object_store::path::Path) -> object_store::Result<Answer>,
    ) -> Result<Answer, StoreError> {
        let key = self.key(path.trim_end_matches('/'))?;
        let mut attempt = 1;
        loop {
            let answer = self.run(async || call(&key).await).map_err(|stop| self.stopped(action, path, stop))?;
            match answer.status {
                200..300 => return Ok(answer),
                404 if action == "remove" => return Ok(answer),
                status if NOT_SUPPORTED.contains(&status) => return Ok(answer),
                429 | 500.. if attempt < MAX_ATTEMPTS => self.pause(attempt),
                _ => return Err(self.stopped(action, path, Stop::Failed(answer.error()))),
            }
            attempt += 1;
        }
    }
}
