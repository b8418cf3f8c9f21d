use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use guard_agent_proto::TransportErrorKind;
use guard_agent_proto::shell::http::{HttpAnswer, HttpClient, HttpFailure, HttpSetup};
use guard_agent_proto::shell::{BoxFuture, Workers};
use guard_agent_proto::wire::HttpRequest;
use isahc::config::{Configurable as _, ExpectContinue, RedirectPolicy, VersionNegotiation};
use isahc::error::ErrorKind;
use isahc::http::Uri;
use isahc::net::dns::DnsCache;
use isahc::tls::{TlsConfig, TrustStore};
use isahc::{AsyncBody, Request};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use smol::io::AsyncReadExt as _;

use crate::HttpError;

/// HTTP by isahc: libcurl with rustls, on a thread of its own.
///
/// For applications that link libcurl anyway. [`HyperClient`](crate::HyperClient) does what libcurl with rustls does not: it keeps
/// connections, takes an answer that is complete although its connection ends without TLS close_notify, shows a client
/// certificate (an identity is refused here), and says when a port speaks no TLS.
pub struct IsahcClient {
    /// `None` at the end.
    client: Option<isahc::HttpClient>,
    timeout: Duration,
    workers: Workers,
}

impl HttpClient for IsahcClient {
    fn crypto() -> CryptoProvider {
        aws_lc_rs::default_provider()
    }

    fn new(setup: &HttpSetup) -> Result<Self, HttpError> {
        if setup.identity.is_some() {
            return Err(HttpError::Tls("libcurl with rustls shows no client certificate".into()));
        }
        let mut tls = TlsConfig::builder();
        // None are needed for plain HTTP.
        let trusted = setup.trusted()?;
        if !trusted.is_empty() {
            let store =
                trusted.iter().fold(TrustStore::builder(), |store, der| store.certificate_from_der(der));
            tls = tls.trust_store(store.build());
        }
        let tls = tls.build();
        let proxy: Option<Uri> = match &setup.proxy {
            Some(proxy) => Some(proxy.url().expose().parse().map_err(|_| HttpError::proxy())?),
            None => None,
        };
        let client = isahc::HttpClient::builder()
            .version_negotiation(VersionNegotiation::http11())
            .redirect_policy(RedirectPolicy::None)
            .automatic_decompression(false)
            .expect_continue(ExpectContinue::disabled())
            .connect_timeout(setup.connect_timeout)
            .timeout(setup.timeout)
            // The core decides when to try again, and then a name may have appeared or moved.
            .dns_cache(DnsCache::Disable)
            // libcurl looks at most once a second whether something came on an idle connection, and takes for our
            // answer what a server or a proxy sent to nobody: records would be lost as delivered.
            .connection_cache_size(0)
            .proxy(proxy)
            .proxy_tls_config(tls.clone())
            .tls_config(tls)
            .build()
            .map_err(|error| HttpError::Tls(cause(&error)))?;
        Ok(Self { client: Some(client), timeout: setup.timeout, workers: Workers::default() })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
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
        let (head, mut body) = answer.into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut answer = HttpAnswer::new(head.status.as_u16(), headers);
        let mut piece = vec![0; 16 << 10];
        loop {
            match body.read(&mut piece).await {
                Ok(0) => return Ok(answer),
                // Dropping a body with something left to read closes its connection.
                Ok(length) if !answer.push(&piece[..length]) => return Ok(answer),
                Ok(_) => {}
                Err(error) if answer.is_complete_at(&error) => return Ok(answer),
                Err(error) => return Err(cut_off(&error)),
            }
        }
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.workers.offload(work)
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

fn cut_off(error: &io::Error) -> HttpFailure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<isahc::Error>()) {
        Some(error) => failure(error, false),
        None if error.kind() == io::ErrorKind::TimedOut => HttpFailure::TimedOut,
        None => HttpFailure::Failed(TransportErrorKind::Connection, error.to_string()),
    }
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
