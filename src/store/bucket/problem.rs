//! Errors of an object store, classified by what the user can do about them.
//!
//! The errors of the client and the responses of the store are analysed and never printed: they contain signed URLs,
//! key ids, session tokens and signed text.

use std::error::Error;
use std::sync::LazyLock;

use object_store::client::{HttpError, HttpErrorKind};
use regex::Regex;

use super::endpoint::Endpoint;
use crate::outbound::object_store::{Redirected, Refused};
use crate::store::{BucketProblem, Provider};

#[expect(clippy::unwrap_used, reason = "constants of this program, compiled by its tests")]
static CODE: LazyLock<Regex> = LazyLock::new(|| Regex::new("<Code>([A-Za-z0-9]{1,64})</Code>").unwrap());
#[expect(clippy::unwrap_used, reason = "constants of this program, compiled by its tests")]
static STATUS: LazyLock<Regex> = LazyLock::new(|| Regex::new("status code: ([0-9]{3})").unwrap());

/// The facts about a failed request that messages may contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    pub status: Option<u16>,
    /// The store's error code, from the body of the response.
    pub code: Option<String>,
    /// The failure of the connection, if there was no response.
    pub transport: Option<String>,
    /// Whether the search for credentials failed.
    is_credentials: bool,
    redirect: Option<String>,
    /// Why the body of a response ended early.
    refused: Option<Refused>,
    /// Whether the response was a redirect without a location, as S3 sends for a bucket in another region.
    is_bare_redirect: bool,
}

impl Failure {
    /// Collects the facts from an error and its causes.
    pub(super) fn of(error: &object_store::Error) -> Failure {
        let mut failure = Failure::default();
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            let group = |regex: &Regex| regex.captures(&text).map(|captures| captures[1].to_string());
            failure.status = failure.status.or(group(&STATUS).and_then(|status| status.parse().ok()));
            failure.code = failure.code.take().or(group(&CODE));
            failure.is_bare_redirect |= text.contains("redirect without LOCATION");
            failure.is_credentials |= ["169.254.", "metadata.google.internal", "InstanceCredential", "/token"]
                .iter()
                .any(|sign| text.contains(sign));
            if let Some(Redirected { host }) = error.downcast_ref() {
                failure.redirect = Some(host.clone());
            }
            failure.refused = failure.refused.or(error.downcast_ref().copied());
            if let Some(http) = error.downcast_ref::<HttpError>() {
                failure.transport = Some(transport(http));
            }
            next = error.source();
        }
        failure
    }

    /// Whether there was no complete response, so that the request may have been carried out or not.
    pub(super) fn is_transport(&self) -> bool {
        self.transport.is_some() && self.status.is_none() && self.redirect.is_none() && self.refused.is_none()
    }

    /// The store's error code, or the status.
    fn name(&self) -> String {
        match (&self.code, self.status) {
            (Some(code), _) => code.clone(),
            (None, Some(status)) => format!("status {status}"),
            (None, None) => "a malformed response".into(),
        }
    }

    /// Classifies the failure.
    pub(super) fn problem(&self, endpoint: &Endpoint) -> BucketProblem {
        let code = self.name();
        let bucket = endpoint.bucket.clone();
        if let Some(host) = &self.redirect {
            return BucketProblem::Redirect { host: host.clone() };
        }
        match self.refused {
            Some(Refused::Oversized { limit }) => return BucketProblem::Oversized { limit },
            Some(Refused::TooSlow(slow)) => return BucketProblem::TooSlow { endpoint: endpoint.host.clone(), slow },
            None => {}
        }
        if self.is_credentials && !endpoint.has_credentials {
            return BucketProblem::NoCredentials { hint: where_credentials_are(endpoint.provider) };
        }
        if self.is_bare_redirect || self.status == Some(301) {
            let code = "PermanentRedirect".into();
            return BucketProblem::Region { code, region: endpoint.region.clone() };
        }
        match code.as_str() {
            "NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName" | "InvalidResourceName" => {
                BucketProblem::NoBucket { bucket, code }
            }
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
                BucketProblem::Region { code, region: endpoint.region.clone() }
            }
            "InvalidAccessKeyId" | "NotSignedUp" => {
                BucketProblem::Credentials { code, hint: "the store does not know the access key id" }
            }
            "SignatureDoesNotMatch" | "AuthenticationFailed" => {
                BucketProblem::Credentials { code, hint: "the secret key does not belong to the account or key id" }
            }
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
                BucketProblem::Credentials { code, hint: "the session token has expired or is wrong; get a new one" }
            }
            "RequestTimeTooSkewed" => BucketProblem::Credentials { code, hint: "the clock of this machine is wrong" },
            "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => {
                BucketProblem::Credentials { code, hint: "the store cannot parse them; check their format" }
            }
            _ => self.problem_by_status(code, endpoint),
        }
    }

    fn problem_by_status(&self, code: String, endpoint: &Endpoint) -> BucketProblem {
        match (self.status, &self.transport) {
            (Some(401), _) => BucketProblem::Credentials { code, hint: "check the key and the secret" },
            (Some(403), _) => BucketProblem::Forbidden {
                code,
                hint: "ocisite needs to list the bucket, and to get, put and delete its objects; \
                       also check that the bucket is yours",
            },
            (Some(status), _) => {
                BucketProblem::Answer { code, is_temporary: status >= 500 || matches!(status, 408 | 429) }
            }
            (None, Some(cause)) => BucketProblem::Unreachable { endpoint: endpoint.host.clone(), cause: cause.clone() },
            (None, None) => BucketProblem::Answer { code, is_temporary: false },
        }
    }
}

/// Where the credentials of a provider come from.
fn where_credentials_are(provider: Provider) -> &'static str {
    match provider {
        Provider::S3 => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role provides them (an instance, a task, a \
             web identity)"
        }
        Provider::Gcs => {
            "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account, or run where one is attached"
        }
        Provider::Azure => {
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or run where a managed identity is attached"
        }
    }
}

/// The innermost cause: a message of the operating system, or of the HTTP or TLS library. None of them contains the
/// URL.
fn transport(error: &HttpError) -> String {
    if error.kind() == HttpErrorKind::Timeout {
        return "timed out".into();
    }
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            provider: Provider::S3,
            bucket: "site".into(),
            region: "eu-central-1".into(),
            host: "s3.example.com".into(),
            has_credentials: true,
        }
    }

    fn problem(text: &str) -> BucketProblem {
        let error = object_store::Error::Generic { store: "S3", source: text.to_string().into() };
        Failure::of(&error).problem(&endpoint())
    }

    #[test]
    fn the_message_tells_credentials_bucket_and_region_apart() {
        let answer = |status: &str, code: &str| {
            problem(&format!("Server returned non-2xx status code: {status}: <Error><Code>{code}</Code></Error>"))
                .to_string()
        };
        assert!(answer("403 Forbidden", "InvalidAccessKeyId").contains("does not know the access key id"));
        assert!(answer("403 Forbidden", "SignatureDoesNotMatch").contains("the secret key does not belong"));
        assert!(answer("403 Forbidden", "AccessDenied").contains("do not permit this"));
        assert!(answer("404 Not Found", "NoSuchBucket").contains("the bucket site does not exist"));
        assert!(answer("400 Bad Request", "AuthorizationHeaderMalformed").contains("not in eu-central-1"));
        assert!(answer("503 Service Unavailable", "SlowDown").contains("try later"));
        assert!(problem("Received redirect without LOCATION").to_string().contains("the region is wrong"));
    }

    #[test]
    fn nothing_of_an_answer_is_repeated_but_its_code() {
        let body = "<Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIDSECRET</AWSAccessKeyId>\
                    <StringToSign>AWS4 hunter2</StringToSign>";
        let problem = problem(&format!("https://x/?X-Amz-Signature=feed status code: 403 Forbidden: {body}"));
        let text = format!("{problem} {problem:?}");
        for secret in ["AKIDSECRET", "hunter2", "feed"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
