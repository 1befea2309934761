//! Creates the client of a bucket from its location and the environment.
//!
//! Credentials, region and endpoint come from where each provider's own tools take them: environment variables, or the
//! role of the instance or task. Only the client keeps credentials, and no message contains them.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::HttpConnector;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::PaginatedListStore;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

use super::endpoint::Endpoint;
use super::problem::Failure;
use super::signed::S3;
use crate::outbound::object_store::{Connector, SETTINGS, is_true};
use crate::outbound::proxy;
use crate::store::{BucketLocation, BucketProblem, Provider, StoreError};

/// The most retries of a request, after a broken connection or a response that asks for a retry.
const MAX_RETRIES: usize = 8;
/// The time limit for all retries of a request.
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// The client of a bucket: the interfaces of the library that the store uses.
pub(super) struct Client {
    pub objects: Arc<dyn ObjectStore>,
    pub pages: Arc<dyn PaginatedListStore>,
    /// Further requests. None: not S3, or requests are not signed.
    pub s3: Option<S3>,
    /// Whether listings are sorted by key and can begin at any key.
    pub has_offsets: bool,
    /// The server and bucket in messages.
    pub endpoint: Endpoint,
}

/// Environment variables.
pub type Variables = Vec<(String, String)>;

/// The variables of this process. Names and values that are not UTF-8 are ignored.
pub(super) fn process_variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The variables with a prefix, with the names that the library uses.
fn settings_of<'a>(variables: &'a Variables, prefix: &str) -> impl Iterator<Item = (String, &'a String)> {
    let begins = move |name: &&(String, String)| name.0.starts_with(prefix) && !name.1.is_empty();
    variables.iter().filter(begins).map(|(name, value)| (name.to_ascii_lowercase(), value))
}

/// Creates the client. No request is sent.
pub(super) fn connect(location: &BucketLocation, variables: &Variables) -> Result<Client, StoreError> {
    proxy::from_environment().map_err(|error| StoreError::Bucket {
        action: "open",
        object: location.to_string(),
        problem: BucketProblem::Settings { what: error.to_string() },
    })?;
    // The HTTP client uses the cryptography of the process; an earlier choice is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match location.provider {
        Provider::S3 => s3(location, variables),
        Provider::Gcs => gcs(location, variables),
        Provider::Azure => azure(location, variables),
    }
}

fn s3(location: &BucketLocation, variables: &Variables) -> Result<Client, StoreError> {
    let mut builder = AmazonS3Builder::new();
    for (key, value) in settings_of(variables, "AWS_") {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder = builder.with_bucket_name(&location.bucket).with_retry(retries()).with_http_connector(Connector);
    let value = |builder: &AmazonS3Builder, key| builder.get_config_value(&key).filter(|value| !value.is_empty());
    let region = value(&builder, AmazonS3ConfigKey::Region)
        .or_else(|| value(&builder, AmazonS3ConfigKey::DefaultRegion))
        .unwrap_or("us-east-1".into());
    let given = value(&builder, AmazonS3ConfigKey::S3Endpoint).or(value(&builder, AmazonS3ConfigKey::Endpoint));
    if value(&builder, AmazonS3ConfigKey::Checksum).is_none() {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    let endpoint = Endpoint {
        provider: Provider::S3,
        bucket: location.bucket.clone(),
        host: host(given.as_deref()).unwrap_or(format!("s3.{region}.amazonaws.com")),
        region,
        has_credentials: value(&builder, AmazonS3ConfigKey::AccessKeyId).is_some(),
    };
    for (key, value) in client_settings(given.as_deref()) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    let of_client = |key| value(&builder, AmazonS3ConfigKey::Client(key)).map(|value| (key, value));
    let options = SETTINGS.into_iter().filter_map(of_client);
    let options = options.fold(ClientOptions::new(), |options, (key, value)| options.with_config(key, value));
    let is_signed = value(&builder, AmazonS3ConfigKey::SkipSignature).is_none_or(|value| !is_true(&value));
    let wrong = |error: object_store::Error| settings(location, &endpoint, &error);
    let http = Connector.connect(&options).map_err(wrong)?;
    let store = builder.build().map_err(wrong)?;
    let s3 = S3 { objects: store.clone(), http, region: endpoint.region.clone() };
    // S3 Express directory buckets do not sort listings.
    let has_offsets = !location.bucket.ends_with("--x-s3");
    let objects = Arc::new(store);
    Ok(Client { pages: objects.clone(), objects, s3: is_signed.then_some(s3), has_offsets, endpoint })
}

fn gcs(location: &BucketLocation, variables: &Variables) -> Result<Client, StoreError> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (key, value) in settings_of(variables, "GOOGLE_") {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder = builder.with_bucket_name(&location.bucket).with_retry(retries()).with_http_connector(Connector);
    let has = |name: &str| variables.iter().any(|(known, _)| known == name);
    let endpoint = Endpoint {
        provider: Provider::Gcs,
        bucket: location.bucket.clone(),
        region: "its region".into(),
        host: "storage.googleapis.com".into(),
        has_credentials: has("GOOGLE_APPLICATION_CREDENTIALS") || has("GOOGLE_SERVICE_ACCOUNT"),
    };
    for (key, value) in client_settings(None) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    let store = builder.build().map_err(|error| settings(location, &endpoint, &error))?;
    let objects = Arc::new(store);
    Ok(Client { pages: objects.clone(), objects, s3: None, has_offsets: true, endpoint })
}

fn azure(location: &BucketLocation, variables: &Variables) -> Result<Client, StoreError> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (key, value) in settings_of(variables, "AZURE_") {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder = builder.with_container_name(&location.bucket).with_retry(retries()).with_http_connector(Connector);
    if let Some((_, endpoint)) = variables.iter().find(|(name, _)| name == "MSI_ENDPOINT") {
        builder = builder.with_msi_endpoint(endpoint);
    }
    let value = |key: AzureConfigKey| builder.get_config_value(&key).filter(|value| !value.is_empty());
    let given = value(AzureConfigKey::Endpoint);
    let is_emulator = value(AzureConfigKey::UseEmulator).is_some_and(|value| value == "true");
    let account = value(AzureConfigKey::AccountName).unwrap_or("devstoreaccount1".into());
    let emulator = variables.iter().find(|(name, _)| name == "AZURITE_BLOB_STORAGE_URL").map(|(_, url)| url.clone());
    let emulator = emulator.unwrap_or("http://127.0.0.1:10000".into());
    let given = given.or(is_emulator.then_some(emulator));
    let endpoint = Endpoint {
        provider: Provider::Azure,
        bucket: location.bucket.clone(),
        region: "its region".into(),
        host: host(given.as_deref()).unwrap_or(format!("{account}.blob.core.windows.net")),
        has_credentials: is_emulator
            || value(AzureConfigKey::AccessKey).is_some()
            || value(AzureConfigKey::SasKey).is_some(),
    };
    for (key, value) in client_settings(given.as_deref()) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    let store = builder.build().map_err(|error| settings(location, &endpoint, &error))?;
    let objects = Arc::new(store);
    // Azure supports listings from a key on only with newer service versions.
    Ok(Client { pages: objects.clone(), objects, s3: None, has_offsets: false, endpoint })
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(10), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT }
}

/// Settings of the HTTP client, which precede those of the environment.
fn client_settings(endpoint: Option<&str>) -> Vec<(ClientConfigKey, String)> {
    let mut settings = Vec::new();
    // An endpoint with http:// is explicit: it is local, or TLS ends in front of it.
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        settings.push((ClientConfigKey::AllowHttp, "true".into()));
    }
    settings
}

fn host(endpoint: Option<&str>) -> Option<String> {
    let url = url::Url::parse(endpoint?).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or(host.to_string(), |port| format!("{host}:{port}")))
}

fn settings(location: &BucketLocation, endpoint: &Endpoint, error: &object_store::Error) -> StoreError {
    // Messages of the library name variables and quote values, so only the kind of the error is used.
    let text = error.to_string();
    let what = match endpoint.provider {
        _ if text.contains("Missing AccessKeyId") || text.contains("Missing access key") => {
            "AWS_SECRET_ACCESS_KEY is set, AWS_ACCESS_KEY_ID is not".to_string()
        }
        _ if text.contains("Missing SecretAccessKey") || text.contains("Missing secret") => {
            "AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not".to_string()
        }
        Provider::S3 => "one of the AWS_ variables is malformed".to_string(),
        Provider::Gcs => "check the GOOGLE_ variables and the file that they name".to_string(),
        Provider::Azure if text.to_lowercase().contains("account") => {
            "AZURE_STORAGE_ACCOUNT_NAME is missing, or the key is malformed".to_string()
        }
        Provider::Azure => "one of the AZURE_ variables is malformed".to_string(),
    };
    let problem = match Failure::of(error) {
        failure if failure == Failure::default() => BucketProblem::Settings { what },
        failure => failure.problem(endpoint),
    };
    StoreError::Bucket { action: "open", object: location.to_string(), problem }
}
