//! The HTTP client of the stores: TLS by rustls with the system's certificates, a limit on every wait and
//! on every answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions, Error, Result};

use super::codes::{self, Heard, Meaning};
use crate::objects::store::OBJECT_BYTES_MAX;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// The most bytes of an answer that says why a request is refused.
const REFUSAL_BYTES_MAX: usize = 1 << 20;
/// The longest wait that a server may ask for and be heard: five minutes.
const RETRY_AFTER_MAX: u64 = 300;

/// Makes the clients.
#[derive(Debug)]
pub(super) struct Connector {
    /// How long one request may take.
    pub(super) timeout: Duration,
    pub(super) heard: Arc<Heard>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let failed = |source| Error::Generic { store: "HTTP client", source };
        let value = |key| options.get_config_value(&key);
        let plain = value(ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls().map_err(failed)?)
            .https_only(!plain)
            .user_agent(concat!("namel3ss-safety/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .timeout(self.timeout)
            .pool_idle_timeout(IDLE);
        if let Some(url) = value(ClientConfigKey::ProxyUrl) {
            let mut proxy = reqwest::Proxy::all(url).map_err(|error| failed(error.into()))?;
            if let Some(hosts) = value(ClientConfigKey::ProxyExcludes) {
                proxy = proxy.no_proxy(reqwest::NoProxy::from_string(&hosts));
            }
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| failed(error.into()))?;
        Ok(HttpClient::new(Service { client, heard: self.heard.clone() }))
    }
}

type TlsError = Box<dyn std::error::Error + Send + Sync>;

fn tls() -> std::result::Result<rustls::ClientConfig, TlsError> {
    let provider = crate::tls::provider()?;
    let verifier = rustls_platform_verifier::Verifier::new(provider.clone())?;
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        // Its name says that a verifier is set by hand; this one is the system's.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// How many bytes a range has that a request asks for.
fn length(range: &str) -> Option<u64> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    last.checked_sub(first)?.checked_add(1)
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    heard: Arc<Heard>,
}

impl HttpService for Service {
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let asked_for = request.headers().get("range").and_then(|range| range.to_str().ok());
            let most = asked_for.and_then(length).unwrap_or(OBJECT_BYTES_MAX).min(OBJECT_BYTES_MAX);
            let response = HttpService::call(&self.client, request).await?;
            if !response.status().is_success() {
                return self.refusal(response).await;
            }
            let (parts, body) = response.into_parts();
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let body = Limited::new(body, most)
                .map_err(|error| HttpError::new_boxed(HttpErrorKind::Decode, error));
            Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
        })
    }
}

impl Service {
    /// Takes in what an answer says that refuses a request. One whose code stands for what passes is given
    /// the status that the driver repeats a request for.
    async fn refusal(
        &self,
        response: HttpResponse,
    ) -> std::result::Result<HttpResponse, HttpError> {
        let (mut parts, body) = response.into_parts();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        header("date").into_iter().for_each(|date| self.heard.set_date(date));
        let body = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
        let body = body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Decode, error))?;
        let body = body.to_bytes();
        let text = String::from_utf8_lossy(&body);
        let meaning = codes::code(&text).and_then(codes::meaning);
        if parts.status.as_u16() == 301 || meaning == Some(Meaning::Region) {
            let named = header("x-amz-bucket-region").filter(|name| codes::is_region(name));
            let named = named.or_else(|| codes::region(&text));
            named.into_iter().for_each(|region| self.heard.set_region(region));
        }
        if matches!(parts.status.as_u16(), 429 | 503)
            || matches!(meaning, Some(Meaning::Slow | Meaning::Busy))
        {
            let seconds = header("retry-after").and_then(|text| text.parse().ok());
            if let Some(seconds) = seconds {
                self.heard.wait(Duration::from_secs(RETRY_AFTER_MAX.min(seconds)));
            }
        }
        if matches!(meaning, Some(Meaning::Slow | Meaning::Busy)) {
            parts.status = reqwest::StatusCode::SERVICE_UNAVAILABLE;
        }
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}
