use std::error::Error as _;
use std::fmt;
use std::io;
use std::thread;
use std::time::Instant;

use guard_agent_proto::shell::BoxFuture;
use guard_agent_proto::shell::http::{HttpClient, HttpFailure, HttpSetup, Proxy};
use guard_agent_proto::wire::HttpRequest;
use guard_agent_proto::{Response, TransportErrorKind};
use isahc::config::{Configurable as _, ExpectContinue, RedirectPolicy, VersionNegotiation};
use isahc::error::ErrorKind;
use isahc::http::{HeaderMap, Uri};
use isahc::tls::{Identity, PrivateKey, TlsConfig, TrustStore};
use isahc::{AsyncBody, Request};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use smol::io::AsyncReadExt as _;

use crate::HttpError;

/// HTTP by isahc: libcurl with rustls, on a thread of its own.
pub struct IsahcClient {
    /// `None` at the end.
    client: Option<isahc::HttpClient>,
    connect_timeout: std::time::Duration,
}

impl HttpClient for IsahcClient {
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
        if let Some(identity) = &setup.identity {
            let key = PrivateKey::from_pem(identity.key_pem.expose().to_owned(), None);
            tls = tls.identity(Identity::from_pem(identity.chain_pem.clone(), Some(key)));
        }
        let tls = tls.build();
        let mut builder = isahc::HttpClient::builder()
            .version_negotiation(VersionNegotiation::http11())
            .redirect_policy(RedirectPolicy::None)
            .automatic_decompression(false)
            .expect_continue(ExpectContinue::disabled())
            .connect_timeout(setup.connect_timeout)
            .timeout(setup.timeout)
            .connection_cache_ttl(HttpSetup::IDLE_CONNECTION)
            .proxy_tls_config(tls.clone())
            .tls_config(tls);
        match &setup.proxy {
            Proxy::Environment => {}
            Proxy::Never => builder = builder.proxy(None),
            Proxy::Always(url) => {
                let url: Uri = url.expose().parse().map_err(|_| HttpError::proxy())?;
                builder = builder.proxy(url);
            }
        }
        let client = builder.build().map_err(|error| HttpError::Tls(cause(&error)))?;
        Ok(Self { client: Some(client), connect_timeout: setup.connect_timeout })
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
        let answer = client.send_async(request).await.map_err(|error| {
            let connecting = started.elapsed() < self.connect_timeout * 2 && is_connecting(&error);
            failure(&error, connecting)
        })?;
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

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

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

fn is_connecting(error: &isahc::Error) -> bool {
    error.is_timeout() && error.source().is_some_and(|cause| cause.to_string().contains("onnect"))
}
