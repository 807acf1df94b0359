//! From a store URL to an object store client, with its timeouts and its bounded retries.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use parking_lot::Mutex;

use crate::error::BlockError;
use crate::store::StoreOptions;
use crate::store_url::{Bucket, Place, StoreUrl, invalid};

/// First pause before a retry; doubled up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A server that does not accept a connection in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the client that `url` names. Contacts nothing.
pub(crate) fn connect(url: &StoreUrl, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, BlockError> {
    match &url.place {
        Place::File(path) => open_directory(path, options),
        Place::Memory(name) => Ok(shared_memory(name)),
        Place::S3(bucket) => open_s3(url, bucket, options),
        Place::Gcs(bucket) => open_gcs(url, bucket, options),
        Place::Azure(bucket) => open_azure(url, bucket, options),
    }
}

fn open_directory(path: &Path, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, BlockError> {
    if options.create_directory {
        std::fs::create_dir_all(path).map_err(|source| BlockError::directory(path, "create it", source))?;
    }
    if !path.is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(BlockError::directory(path, "use it as a store (is its disk mounted?)", source));
    }
    let store = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| BlockError::from_store("the directory", "be opened", source))?;
    Ok(Arc::new(store.with_fsync(!options.deferred_sync)))
}

/// A store in memory is private, unless it has a name: then all of the process share it while
/// any of them holds it.
fn shared_memory(name: &str) -> Arc<dyn ObjectStore> {
    static NAMED: Mutex<BTreeMap<String, Weak<InMemory>>> = Mutex::new(BTreeMap::new());
    if name.is_empty() {
        return Arc::new(InMemory::new());
    }
    let mut named = NAMED.lock();
    if let Some(store) = named.get(name).and_then(Weak::upgrade) {
        return store;
    }
    let store = Arc::new(InMemory::new());
    named.insert(name.to_owned(), Arc::downgrade(&store));
    store
}

fn retry_config(options: &StoreOptions) -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 2. };
    RetryConfig { backoff, max_retries: options.max_retries, retry_timeout: options.deadline }
}

/// The client settings that every kind shares, as object_store spells durations.
fn client_settings(options: &StoreOptions) -> [(ClientConfigKey, String); 2] {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    [
        (ClientConfigKey::Timeout, millis(options.request_timeout)),
        (ClientConfigKey::ConnectTimeout, millis(CONNECT_TIMEOUT.min(options.request_timeout))),
    ]
}

fn open_s3(url: &StoreUrl, bucket: &Bucket, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, BlockError> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&bucket.name).with_retry(retry_config(options));
    for (key, value) in client_settings(options) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    for (key, value) in &url.settings {
        let key = key.parse().map_err(|_| unknown_setting(url, key))?;
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = builder.get_config_value(&AmazonS3ConfigKey::Endpoint) {
        builder = builder.with_allow_http(endpoint.starts_with("http://"));
        check_s3_credentials(url, &builder)?;
    }
    built(url, builder.build())
}

/// A server of one's own has no metadata service that would give credentials: asking the
/// cloud's address for them would only hang.
fn check_s3_credentials(url: &StoreUrl, builder: &AmazonS3Builder) -> Result<(), BlockError> {
    use AmazonS3ConfigKey::{AccessKeyId, SkipSignature, WebIdentityTokenFile};
    let given = |key| builder.get_config_value(&key).is_some_and(|value| !value.is_empty() && value != "false");
    if given(AccessKeyId) || given(SkipSignature) || given(WebIdentityTokenFile) {
        return Ok(());
    }
    let way_out = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add skip_signature=true for a public store";
    Err(invalid(&url.to_string(), way_out))
}

fn open_gcs(url: &StoreUrl, bucket: &Bucket, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, BlockError> {
    let mut builder =
        GoogleCloudStorageBuilder::from_env().with_bucket_name(&bucket.name).with_retry(retry_config(options));
    for (key, value) in client_settings(options) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    for (key, value) in &url.settings {
        builder = match key.as_str() {
            "endpoint" => builder.with_base_url(value).with_config(
                GoogleConfigKey::Client(ClientConfigKey::AllowHttp),
                value.starts_with("http://").to_string(),
            ),
            "bearer_token" => builder.with_bearer_token(value),
            key => builder.with_config(key.parse().map_err(|_| unknown_setting(url, key))?, value),
        };
    }
    built(url, builder.build())
}

fn open_azure(url: &StoreUrl, bucket: &Bucket, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, BlockError> {
    let mut builder =
        MicrosoftAzureBuilder::from_env().with_container_name(&bucket.name).with_retry(retry_config(options));
    for (key, value) in client_settings(options) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    for (key, value) in &url.settings {
        let known = if key == "account" { "account_name" } else { key };
        builder = builder.with_config(known.parse().map_err(|_| unknown_setting(url, key))?, value);
    }
    if let Some(endpoint) = url.setting("endpoint") {
        builder = builder.with_allow_http(endpoint.starts_with("http://"));
    }
    built(url, builder.build())
}

fn built(url: &StoreUrl, built: object_store::Result<impl ObjectStore>) -> Result<Arc<dyn ObjectStore>, BlockError> {
    let store =
        built.map_err(|source| BlockError::from_store(&url.to_string(), "be opened with these settings", source))?;
    Ok(Arc::new(store))
}

fn unknown_setting(url: &StoreUrl, key: &str) -> BlockError {
    invalid(
        &url.to_string(),
        &format!("no setting is called {key:?}; usual ones are endpoint, region, access_key_id and secret_access_key"),
    )
}
