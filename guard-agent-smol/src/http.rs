use std::env;
use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use guard_agent_proto::shell::BoxFuture;
use guard_agent_proto::shell::http::{HttpClient, HttpFailure, HttpSetup, Proxy};
use guard_agent_proto::wire::HttpRequest;
use guard_agent_proto::{Response, TransportErrorKind};
use isahc::auth::{Authentication, Credentials};
use isahc::config::{Configurable as _, ExpectContinue, RedirectPolicy, VersionNegotiation};
use isahc::error::ErrorKind;
use isahc::http::{HeaderMap, Uri};
use isahc::tls::{TlsConfig, TrustStore};
use isahc::{AsyncBody, HttpClientBuilder, Request};
use percent_encoding::percent_decode_str;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use smol::io::AsyncReadExt as _;
use url::{Position, Url};

use crate::HttpError;

/// HTTP by isahc: libcurl with rustls, on a thread of its own.
pub struct IsahcClient {
    /// `None` at the end.
    client: Option<isahc::HttpClient>,
    timeout: Duration,
}

impl HttpClient for IsahcClient {
    /// libcurl does not with rustls.
    const SHOWS_IDENTITY: bool = false;

    fn crypto() -> CryptoProvider {
        aws_lc_rs::default_provider()
    }

    fn new(setup: &HttpSetup) -> Result<Self, HttpError> {
        let mut tls = TlsConfig::builder();
        let trusted = setup.trusted()?;
        // None are needed for plain HTTP.
        if !trusted.is_empty() {
            let store =
                trusted.iter().fold(TrustStore::builder(), |store, der| store.certificate_from_der(der));
            tls = tls.trust_store(store.build());
        }
        let tls = tls.build();
        let mut builder = isahc::HttpClient::builder()
            .version_negotiation(VersionNegotiation::http11())
            .redirect_policy(RedirectPolicy::None)
            .automatic_decompression(false)
            .expect_continue(ExpectContinue::disabled())
            .connect_timeout(setup.connect_timeout)
            .timeout(setup.timeout)
            // libcurl looks at most once a second whether something came on an idle connection, and takes for our
            // answer what a server or a proxy sent to nobody: records would be lost as delivered.
            .connection_cache_size(0)
            .proxy_tls_config(tls.clone())
            .tls_config(tls);
        match &setup.proxy {
            Proxy::Environment => {
                if let Some(url) = upper_case_proxy(setup) {
                    builder = through(builder, &url)?;
                }
            }
            Proxy::Never => builder = builder.proxy(None),
            Proxy::Always(url) => builder = through(builder, url.expose())?,
        }
        let client = builder.build().map_err(|error| HttpError::Tls(cause(&error)))?;
        Ok(Self { client: Some(client), timeout: setup.timeout })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<Response, HttpFailure> {
        let unusable = |what: &str| HttpFailure::Failed(TransportErrorKind::Other, what.into());
        let Some(client) = &self.client else { return Err(unusable("the client has ended")) };
        let mut builder = Request::builder().method(request.method).uri(request.url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value.expose());
        }
        let body = if request.body.is_empty() { AsyncBody::empty() } else { AsyncBody::from(request.body) };
        let request = builder.body(body).map_err(|_| unusable("bad URL or header"))?;

        let started = Instant::now();
        // The client does not say which limit it was; this one is the shorter.
        let answer = client.send_async(request).await;
        let answer = answer.map_err(|error| failure(&error, started.elapsed() < self.timeout))?;
        let (head, body) = answer.into_parts();
        let mut response = Response {
            status: head.status.as_u16(),
            retry_after: text(&head.headers, "retry-after"),
            etag: text(&head.headers, "etag"),
            ..Response::default()
        };
        // Dropping a body with something left to read closes its connection.
        let most = u64::try_from(Response::MAX_BODY).unwrap_or(u64::MAX);
        let read = body.take(most).read_to_end(&mut response.body).await;
        read.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<isahc::Error>()) {
            Some(error) => failure(error, false),
            None if error.kind() == io::ErrorKind::TimedOut => HttpFailure::TimedOut,
            None => HttpFailure::Failed(TransportErrorKind::Connection, error.to_string()),
        })?;
        Ok(response)
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        Box::pin(smol::unblock(work))
    }
}

impl Drop for IsahcClient {
    /// The client joins its thread, which must not hold up an executor.
    fn drop(&mut self) {
        let client = self.client.take();
        let name = "guard-agent-http-end".into();
        // Without a thread to do it on it is done here after all.
        let _ = thread::Builder::new().name(name).spawn(move || drop(client));
    }
}

impl fmt::Debug for IsahcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsahcClient").finish_non_exhaustive()
    }
}

/// libcurl leaves `HTTP_PROXY` alone, since a CGI gets it from its client as the header `Proxy`. Elsewhere it is what
/// other clients look at.
fn upper_case_proxy(setup: &HttpSetup) -> Option<String> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let applies = setup.is_plain && set("http_proxy").is_none() && env::var_os("REQUEST_METHOD").is_none();
    set("HTTP_PROXY").filter(|_| applies)
}

/// Sends everything through that proxy, with the user and the password in its URL.
fn through(builder: HttpClientBuilder, url: &str) -> Result<HttpClientBuilder, HttpError> {
    let url = Url::parse(url).map_err(|_| HttpError::proxy())?;
    let plain: Uri = url[..Position::BeforeUsername]
        .chars()
        .chain(url[Position::BeforeHost..Position::AfterPort].chars())
        .collect::<String>()
        .parse()
        .map_err(|_| HttpError::proxy())?;
    let builder = builder.proxy(plain);
    if url.username().is_empty() {
        return Ok(builder);
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = decoded(url.password().unwrap_or_default());
    let credentials = Credentials::new(decoded(url.username()), password);
    Ok(builder.proxy_authentication(Authentication::basic()).proxy_credentials(credentials))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, which may grow")]
fn failure(error: &isahc::Error, connecting: bool) -> HttpFailure {
    let kind = match *error.kind() {
        ErrorKind::Timeout if connecting => return HttpFailure::ConnectTimedOut,
        ErrorKind::Timeout => return HttpFailure::TimedOut,
        ErrorKind::ConnectionFailed | ErrorKind::NameResolution => TransportErrorKind::Connect,
        ErrorKind::BadClientCertificate
        | ErrorKind::BadServerCertificate
        | ErrorKind::InvalidTlsConfiguration
        | ErrorKind::TlsEngine => TransportErrorKind::Tls,
        ErrorKind::ProtocolViolation | ErrorKind::InvalidContentEncoding => TransportErrorKind::Protocol,
        ErrorKind::Io => TransportErrorKind::Connection,
        _ => TransportErrorKind::Other,
    };
    HttpFailure::Failed(kind, cause(error))
}

/// The innermost cause, which holds neither URL nor header.
fn cause(error: &isahc::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
