//! Credentials, endpoint, region, proxy, timeouts and retries: from the provider's environment
//! variables and, before them, from the URL's parameters.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::AdapterError;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

use super::codes::Heard;
use super::http::Connector;
use crate::objects::place::{Place, Root};

/// Seconds that one request may take, unless `timeout=` says otherwise.
const TIMEOUT: u64 = 60;
const TIMEOUT_MAX: u64 = 600;
/// How often a request is repeated, unless `max_retries=` or `AWS_MAX_ATTEMPTS` says otherwise; the
/// sink tries a whole batch again after that.
const RETRIES: usize = 3;
const RETRIES_MAX: usize = 20;
/// No request is repeated later than this after its first try.
const RETRY_WITHIN: Duration = Duration::from_secs(60);

/// Parameters that are not the driver's.
const OURS: [&str; 2] = ["timeout", "max_retries"];

/// Whether a URL of `root` may have the parameter `name`.
pub(in crate::objects) fn takes(root: &Root, name: &str) -> bool {
    if OURS.contains(&name) {
        return true;
    }
    // The others of the client would be taken, and change nothing.
    let client = |key: ClientConfigKey| {
        matches!(
            key,
            ClientConfigKey::AllowHttp | ClientConfigKey::ProxyUrl | ClientConfigKey::ProxyExcludes
        )
    };
    match root {
        Root::S3(_) => match name.parse() {
            Ok(AmazonS3ConfigKey::Client(key)) => client(key),
            Ok(AmazonS3ConfigKey::Bucket) | Err(_) => false,
            Ok(_) => true,
        },
        Root::Gcs(_) => match name.parse() {
            Ok(GoogleConfigKey::Client(key)) => client(key),
            Ok(GoogleConfigKey::Bucket) | Err(_) => false,
            Ok(_) => true,
        },
        Root::Azure(_) => match name.parse() {
            Ok(AzureConfigKey::Client(key)) => client(key),
            Ok(AzureConfigKey::ContainerName) | Err(_) => false,
            Ok(_) => true,
        },
        Root::Folder(_) => false,
    }
}

/// What, besides its bucket, tells a store from another: the endpoint, the account. No secret.
pub(in crate::objects) fn whereabouts(place: &Place) -> Vec<(&'static str, String)> {
    let values = match &place.root {
        Root::S3(_) => {
            let builder = s3(place);
            let value = |key| builder.get_config_value(&key);
            let endpoint = value(AmazonS3ConfigKey::S3Endpoint);
            vec![("endpoint", endpoint.or_else(|| value(AmazonS3ConfigKey::Endpoint)))]
        }
        Root::Gcs(_) => vec![("base_url", gcs(place).get_config_value(&GoogleConfigKey::BaseUrl))],
        Root::Azure(_) => {
            let builder = azure(place);
            let value = |key| builder.get_config_value(&key);
            let emulator = value(AzureConfigKey::UseEmulator).filter(|value| value == "true");
            vec![
                ("account_name", value(AzureConfigKey::AccountName)),
                ("endpoint", value(AzureConfigKey::Endpoint)),
                ("use_emulator", emulator),
            ]
        }
        Root::Folder(_) => Vec::new(),
    };
    let known = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known.filter(|(_, value)| !value.is_empty()).map(|(name, v)| (name, without_user(&v))).collect()
}

/// A URL without what stands before `@` in its host, and without its parameters.
fn without_user(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}")
        }
        None => url.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// What would otherwise show at the first request only.
pub(super) fn check(place: &Place) -> Result<(), AdapterError> {
    number(place, "timeout", 1, TIMEOUT_MAX)?;
    number(place, "max_retries", 0, RETRIES_MAX as u64)?;
    for (name, value) in whereabouts(place) {
        if !matches!(name, "endpoint" | "base_url") {
            continue;
        }
        let wrong =
            |what: &str| Err(AdapterError::config(format!("open the object store: {name} {what}")));
        // Where the driver finds no host in it, it panics.
        let url = reqwest::Url::parse(&value).ok().filter(reqwest::Url::has_host);
        match url.as_ref().map(reqwest::Url::scheme) {
            Some("https") => {}
            Some("http") if is_local(&value) || allows_http(place) => {}
            Some("http") => {
                return wrong("is not encrypted, write https:// or add allow_http=true");
            }
            _ => return wrong("is no URL, write https:// and the host"),
        }
    }
    Ok(())
}

fn number(place: &Place, name: &str, least: u64, most: u64) -> Result<Option<u64>, AdapterError> {
    let Some(value) = place.option(name) else { return Ok(None) };
    match value.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(Some(n)),
        _ => Err(AdapterError::config(format!(
            "open the object store: {name}= takes {least} to {most}"
        ))),
    }
}

fn timeout(place: &Place) -> Duration {
    let seconds = number(place, "timeout", 1, TIMEOUT_MAX).ok().flatten();
    Duration::from_secs(seconds.unwrap_or(TIMEOUT))
}

/// How long an operation may take, which is a request with its retries, or a few.
pub(super) fn within(place: &Place) -> Duration {
    timeout(place) + RETRY_WITHIN
}

fn is_local(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local))
}

fn retry(place: &Place) -> RetryConfig {
    let attempts = std::env::var("AWS_MAX_ATTEMPTS").ok().filter(|_| {
        // It is Amazon's variable.
        matches!(place.root, Root::S3(_))
    });
    let from_env = attempts.and_then(|n| n.parse::<usize>().ok()).map(|n| n.saturating_sub(1));
    let given = number(place, "max_retries", 0, RETRIES_MAX as u64).ok().flatten();
    let given = given.and_then(|n| usize::try_from(n).ok());
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: given.or(from_env).unwrap_or(RETRIES).min(RETRIES_MAX),
        retry_timeout: RETRY_WITHIN,
    }
}

/// What the provider's variables and the URL say about the client.
fn client_value(place: &Place, key: ClientConfigKey) -> Option<String> {
    match place.root {
        Root::S3(_) => s3(place).get_config_value(&AmazonS3ConfigKey::Client(key)),
        Root::Gcs(_) => gcs(place).get_config_value(&GoogleConfigKey::Client(key)),
        Root::Azure(_) => azure(place).get_config_value(&AzureConfigKey::Client(key)),
        Root::Folder(_) => None,
    }
}

fn allows_http(place: &Place) -> bool {
    client_value(place, ClientConfigKey::AllowHttp).is_some_and(|value| value == "true")
}

/// Plain HTTP where it stays on this machine, or somebody asked for it.
fn client(place: &Place, endpoint: Option<String>) -> ClientOptions {
    let local = endpoint.is_some_and(|url| is_local(&url));
    let emulator = matches!(place.root, Root::Azure(_))
        && azure(place).get_config_value(&AzureConfigKey::UseEmulator).as_deref() == Some("true");
    let http = allows_http(place) || local || emulator;
    let mut options = ClientOptions::new().with_allow_http(http);
    for key in [ClientConfigKey::ProxyUrl, ClientConfigKey::ProxyExcludes] {
        if let Some(value) = client_value(place, key) {
            options = options.with_config(key, value);
        }
    }
    options
}

/// The parameters that the driver is to know.
fn drivers(place: &Place) -> impl Iterator<Item = (&str, &str)> {
    let all = place.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    all.filter(|(name, _)| !OURS.contains(name))
}

/// `builder` with the parameters that its driver knows, each set by `with`.
fn configured<B, K: FromStr>(place: &Place, builder: B, with: impl Fn(B, K, &str) -> B) -> B {
    drivers(place).fold(builder, |builder, (name, value)| match name.parse() {
        Ok(key) => with(builder, key, value),
        Err(_) => builder,
    })
}

/// `builder` with what the provider's variables say, each set by `with`. One that is set to nothing
/// is none, as for the providers' own tools: the driver would sign with an empty token.
fn from_env<B, K: FromStr>(prefix: &str, builder: B, with: impl Fn(B, K, &str) -> B) -> B {
    let set = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let set = set.filter(|(name, value)| name.starts_with(prefix) && !value.is_empty());
    set.fold(builder, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
        Ok(key) => with(builder, key, &value),
        Err(_) => builder,
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn s3(place: &Place) -> AmazonS3Builder {
    // A bucket with Object Lock refuses a write without a checksum. The signature needs this one anyway.
    let new = AmazonS3Builder::new().with_checksum_algorithm(Checksum::SHA256);
    let builder = from_env("AWS_", new, |builder, key, value| builder.with_config(key, value));
    configured(place, builder, |builder, key, value| match key {
        // A service's own endpoint goes before all others, wherever it is written.
        AmazonS3ConfigKey::Endpoint => builder.with_config(AmazonS3ConfigKey::S3Endpoint, value),
        key => builder.with_config(key, value),
    })
}

fn gcs(place: &Place) -> GoogleCloudStorageBuilder {
    let new = GoogleCloudStorageBuilder::new();
    let builder = from_env("GOOGLE_", new, |builder, key, value| builder.with_config(key, value));
    configured(place, builder, |builder, key, value| builder.with_config(key, value))
}

fn azure(place: &Place) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::new();
    // What Azure's own tools read besides; the driver's names go before them.
    let parts = variable("AZURE_STORAGE_CONNECTION_STRING").unwrap_or_default();
    for (key, value) in connection_string(&parts) {
        builder = builder.with_config(key, value);
    }
    for (name, key) in [
        ("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName),
        ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
        // Where a container or a function asks for its identity.
        ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
    ] {
        if let Some(value) = variable(name) {
            builder = builder.with_config(key, value);
        }
    }
    let builder =
        from_env("AZURE_", builder, |builder, key, value| builder.with_config(key, value));
    configured(place, builder, |builder, key, value| builder.with_config(key, value))
}

/// What a connection string of Azure's says, as the driver calls it.
fn connection_string(text: &str) -> Vec<(AzureConfigKey, String)> {
    let part = |wanted: &str| {
        let mut parts = text.split(';').filter_map(|part| part.split_once('='));
        let found = parts.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    // Azurite's own, with an account, a key and an address that everybody knows.
    if part("UseDevelopmentStorage").is_some_and(|yes| yes.eq_ignore_ascii_case("true")) {
        return vec![(AzureConfigKey::UseEmulator, "true".to_owned())];
    }
    // One with a signature instead of a key names its account in the endpoint only.
    let account = part("AccountName").or_else(|| account_of(&part("BlobEndpoint")?));
    let named = [
        (AzureConfigKey::AccountName, account),
        (AzureConfigKey::AccessKey, part("AccountKey")),
        (AzureConfigKey::SasKey, part("SharedAccessSignature")),
    ];
    let mut found: Vec<_> = named.into_iter().filter_map(|(key, v)| Some((key, v?))).collect();
    let suffix = part("EndpointSuffix").filter(|suffix| suffix != "core.windows.net");
    let endpoint = part("BlobEndpoint").or_else(|| {
        let protocol = part("DefaultEndpointsProtocol").unwrap_or_else(|| "https".to_owned());
        Some(format!("{protocol}://{}.blob.{}", part("AccountName")?, suffix?))
    });
    if let Some(endpoint) = endpoint {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        found.push((AzureConfigKey::Endpoint, endpoint));
    }
    found
}

/// The account in the URL of its blobs: `https://account.blob.core.windows.net`, or
/// `http://127.0.0.1:10000/account`.
fn account_of(endpoint: &str) -> Option<String> {
    let url = reqwest::Url::parse(endpoint).ok()?;
    let host = url.domain().filter(|host| host.contains('.'));
    let account = match host {
        Some(host) => host.split('.').next(),
        None => url.path_segments()?.next(),
    };
    account.filter(|account| !account.is_empty()).map(str::to_owned)
}

/// The region of Amazon's that a client is made for.
pub(super) fn region(place: &Place) -> Option<String> {
    match place.root {
        Root::S3(_) => {
            let set = s3(place).get_config_value(&AmazonS3ConfigKey::Region);
            // The driver's default.
            Some(set.unwrap_or_else(|| "us-east-1".to_owned()))
        }
        _ => None,
    }
}

/// What to do about a token that has expired, by where it came from.
pub(super) fn renew(place: &Place) -> &'static str {
    let (names, is_fixed): (&[&str], bool) = match place.root {
        Root::S3(_) => {
            let key = s3(place).get_config_value(&AmazonS3ConfigKey::AccessKeyId);
            (&["access_key_id", "aws_access_key_id"], key.is_some())
        }
        Root::Azure(_) => {
            let builder = azure(place);
            let keys = [AzureConfigKey::SasKey, AzureConfigKey::Token];
            let is_fixed = keys.iter().any(|key| builder.get_config_value(key).is_some());
            (&["sas_token", "sas_key", "bearer_token", "token"], is_fixed)
        }
        Root::Gcs(_) => {
            let token = gcs(place).get_config_value(&GoogleConfigKey::BearerToken);
            (&["bearer_token", "google_bearer_token"], token.is_some())
        }
        Root::Folder(_) => (&[], false),
    };
    match is_fixed {
        true if names.iter().any(|name| place.option(name).is_some()) => {
            "write a new one into the URL, or use a role or a file, which are read again"
        }
        true => {
            "and it is from this process's environment variables, which can't change: start it with a new \
             one, or use a role or a file, which are read again"
        }
        false => "it is asked for again; if this lasts, see whether its source gives a new one",
    }
}

/// The client of the place's store.
pub(super) fn build(
    place: &Place,
    region: Option<&str>,
    heard: Arc<Heard>,
) -> Result<Arc<dyn ObjectStore>, AdapterError> {
    // The driver's error would be hidden with all others of its.
    crate::tls::provider()?;
    let connector = Connector { timeout: timeout(place), heard };
    let retry = retry(place);
    let endpoint = whereabouts(place)
        .into_iter()
        .find_map(|(name, url)| matches!(name, "endpoint" | "base_url").then_some(url));
    let client = client(place, endpoint);
    let built: object_store::Result<Arc<dyn ObjectStore>> = match &place.root {
        Root::S3(bucket) => region
            .into_iter()
            .fold(s3(place), AmazonS3Builder::with_region)
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retry)
            .with_http_connector(connector)
            .build()
            .map(|store| Arc::new(store) as _),
        Root::Gcs(bucket) => gcs(place)
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retry)
            .with_http_connector(connector)
            .build()
            .map(|store| Arc::new(store) as _),
        Root::Azure(container) => azure(place)
            .with_container_name(container)
            .with_client_options(client)
            .with_retry(retry)
            .with_http_connector(connector)
            .build()
            .map(|store| Arc::new(store) as _),
        Root::Folder(_) => {
            return Err(AdapterError::config("open the object store: it is a folder"));
        }
    };
    // The driver's own words may repeat a value, and that may be a secret.
    built.map_err(|_| AdapterError::config(hint(place)))
}

fn hint(place: &Place) -> String {
    let variables = match place.root {
        Root::S3(_) => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL",
        Root::Gcs(_) => "GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT_KEY",
        Root::Azure(_) => {
            "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_CONNECTION_STRING"
        }
        Root::Folder(_) => "",
    };
    let mut names: Vec<&str> = place.options.iter().map(|(name, _)| name.as_str()).collect();
    names.push(variables);
    format!("open the object store: a setting is missing or malformed, check {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Azurite's short string was not known, and one with a signature failed without an account.
    #[test]
    fn connection_strings_of_azurite_and_with_signatures_are_enough_for_a_client() {
        let sas = "SharedAccessSignature=?sv=2022-11-02&sig=x%3D";
        for (text, expected) in [
            ("UseDevelopmentStorage=true;".to_owned(), None),
            (format!("BlobEndpoint=https://mine.blob.core.windows.net/;{sas}"), Some("mine")),
            (format!("{sas};BlobEndpoint=http://127.0.0.1:10000/dev/;"), Some("dev")),
            (format!("BlobEndpoint=http://localhost:10000/dev;{sas}"), Some("dev")),
            (format!("BlobEndpoint=https://a.blob.b;AccountName=mine;{sas}"), Some("mine")),
        ] {
            let builder = connection_string(&text)
                .into_iter()
                .fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| {
                    builder.with_config(key, value)
                });
            let account = builder.get_config_value(&AzureConfigKey::AccountName);
            assert_eq!(account.as_deref(), expected, "{text}");
            let connector = Connector { timeout: Duration::from_secs(1), heard: Arc::default() };
            let built = builder.with_container_name("c").with_allow_http(true);
            let built = built.with_http_connector(connector).build();
            assert!(built.is_ok(), "{text}: {built:?}");
        }
    }

    #[test]
    fn azures_connection_strings_are_read() {
        let read = |text: &str| -> Vec<(String, String)> {
            let parts = connection_string(text).into_iter();
            parts.map(|(key, value)| (format!("{key:?}"), value)).collect()
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let key = "DefaultEndpointsProtocol=https;AccountName=mine;AccountKey=a+b/c==;";
        let keyed = [pair("AccountName", "mine"), pair("AccessKey", "a+b/c==")];
        assert_eq!(read(&format!("{key}EndpointSuffix=core.windows.net")), keyed);
        let china = pair("Endpoint", "https://mine.blob.core.chinacloudapi.cn");
        let there = read(&format!("{key}EndpointSuffix=core.chinacloudapi.cn"));
        assert_eq!(there, [&keyed[..], &[china]].concat());
        let sas =
            "BlobEndpoint=https://mine.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D";
        let endpoint = pair("Endpoint", "https://mine.blob.core.windows.net");
        let account = pair("AccountName", "mine");
        assert_eq!(read(sas), [account, pair("SasKey", "sv=1&sig=x%3D"), endpoint]);
        assert!(read("").is_empty());
    }
}
