//! Requests to S3 that the client library does not have. The library signs them, and they are sent like its own: through the same
//! proxies and with the same limits.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::path::Path as Key;
use object_store::signer::{SignedUrlOptions, Signer};

/// The validity of a signature.
const SIGNATURE_LIFE: Duration = Duration::from_secs(60);

/// A bucket of S3, to which requests of any kind are sent.
pub(super) struct S3 {
    pub objects: AmazonS3,
    pub http: HttpClient,
    pub region: String,
}

/// The response to a request.
pub(super) struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The response as an error, in the words of the library.
    pub(super) fn error(&self) -> object_store::Error {
        generic(&format!("status code: {}: {}", self.status, self.body))
    }
}

impl S3 {
    /// A request to the bucket itself.
    pub(super) async fn query<'q>(
        &self,
        query: impl IntoIterator<Item = (&'q str, &'q str)>,
    ) -> object_store::Result<Answer> {
        let options = SignedUrlOptions::new().with_query(query);
        let url = self.objects.signed_url_opts(Method::GET, &Key::default(), SIGNATURE_LIFE, &options).await?;
        self.send(request(Method::GET, &url, b"")?).await
    }

    /// A request for a key that ends in a slash. The library would remove the slash.
    pub(super) async fn slash_key(
        &self,
        method: Method,
        key: &Key,
        headers: &[(&'static str, &str)],
        body: &'static [u8],
    ) -> object_store::Result<Answer> {
        let mut url = self.objects.signed_url(method.clone(), key, SIGNATURE_LIFE).await?;
        url.set_query(None);
        url.set_path(&format!("{}/", url.path()));
        let mut request = request(method, &url, body)?;
        let value = |value: &str| HeaderValue::from_str(value).map_err(|_| generic("a value of a header"));
        let headers = headers.iter().map(|(name, text)| Ok((http::HeaderName::from_static(name), value(text)?)));
        request.headers_mut().extend(headers.collect::<object_store::Result<HeaderMap>>()?);
        let credential = self.objects.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(&mut request, None)?;
        self.send(request).await
    }

    async fn send(&self, request: HttpRequest) -> object_store::Result<Answer> {
        let failed = |error| object_store::Error::Generic { store: "S3", source: Box::new(error) };
        let response = self.http.execute(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.into_body().bytes().await.map_err(failed)?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

fn request(method: Method, url: &url::Url, body: &'static [u8]) -> object_store::Result<HttpRequest> {
    let body = HttpRequestBody::from(Bytes::from_static(body));
    http::Request::builder().method(method).uri(url.as_str()).body(body).map_err(|_| generic("a URL"))
}

pub(super) fn generic(text: &str) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: text.to_string().into() }
}
