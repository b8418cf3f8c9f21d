use std::fmt;
use std::io::{self, Read as _};
use std::sync::Arc;

use futures_channel::oneshot;
use guard_agent_proto::shell::BoxFuture;
use guard_agent_proto::shell::http::{HttpClient, HttpFailure, HttpSetup, Proxy};
use guard_agent_proto::wire::HttpRequest;
use guard_agent_proto::{Response, TransportErrorKind};
use rustls::crypto::{CryptoProvider, ring};
use ureq::http::{HeaderMap, Request};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};
use ureq::{Error, Timeout};

use crate::HttpError;
use crate::runtime::offload;
use crate::workers::Workers;

/// HTTP by ureq and rustls; a request keeps a thread while it is under way.
#[derive(Clone)]
pub struct UreqClient {
    agent: ureq::Agent,
    workers: Workers,
}

impl HttpClient for UreqClient {
    fn crypto() -> CryptoProvider {
        ring::default_provider()
    }

    fn new(setup: &HttpSetup) -> Result<Self, HttpError> {
        let roots: Vec<_> =
            setup.trusted()?.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let identity = setup.identity.as_ref().map(|identity| {
            let chain: Vec<_> =
                identity.chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            let key = PrivateKey::from_pem(identity.key_pem.expose().as_bytes())?;
            Ok(ClientCert::new_with_certs(&chain, key))
        });
        let identity = identity.transpose().map_err(|error: Error| HttpError::Tls(error.to_string()))?;
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(Self::crypto()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .client_cert(identity)
            .build();
        let mut config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent("")
            .accept("*/*")
            .accept_encoding("")
            .timeout_global(Some(setup.timeout))
            .timeout_connect(Some(setup.connect_timeout))
            .max_idle_age(HttpSetup::IDLE_CONNECTION);
        match &setup.proxy {
            Proxy::Environment => {}
            Proxy::Never => config = config.proxy(None),
            Proxy::Always(url) => {
                let proxy = ureq::Proxy::new(url.expose()).map_err(|_| HttpError::proxy())?;
                config = config.proxy(Some(proxy));
            }
        }
        Ok(Self { agent: config.build().new_agent(), workers: Workers::default() })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<Response, HttpFailure> {
        let (give, take) = oneshot::channel();
        let agent = self.agent.clone();
        let run = self.workers.run(Box::new(move || {
            // Whoever waited may have gone meanwhile.
            let _ = give.send(exchange(&agent, request));
        }));
        let other = |cause: String| HttpFailure::Failed(TransportErrorKind::Other, cause);
        run.map_err(|error| other(format!("no thread: {error}")))?;
        take.await.unwrap_or_else(|oneshot::Canceled| {
            Err(HttpFailure::Failed(TransportErrorKind::Panicked, "in the HTTP client".into()))
        })
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        offload(&self.workers, work)
    }
}

impl fmt::Debug for UreqClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UreqClient").finish_non_exhaustive()
    }
}

fn exchange(agent: &ureq::Agent, request: HttpRequest) -> Result<Response, HttpFailure> {
    let unusable = |_| HttpFailure::Failed(TransportErrorKind::Other, "bad URL or header".into());
    let mut builder = Request::builder().method(request.method).uri(request.url);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value.expose());
    }
    let answer = if request.method == "GET" {
        agent.run(builder.body(()).map_err(unusable)?)
    } else {
        agent.run(builder.body(request.body).map_err(unusable)?)
    };
    let (head, body) = answer.map_err(failure)?.into_parts();
    let mut response = Response {
        status: head.status.as_u16(),
        retry_after: text(&head.headers, "retry-after"),
        etag: text(&head.headers, "etag"),
        ..Response::default()
    };
    // Dropping a body with something left to read closes its connection.
    let most = u64::try_from(Response::MAX_BODY).unwrap_or(u64::MAX);
    let read = body.into_with_config().limit(u64::MAX).reader().take(most).read_to_end(&mut response.body);
    read.map_err(|error| failure(Error::from(error)))?;
    Ok(response)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, which may grow")]
fn failure(error: Error) -> HttpFailure {
    let cause = error.to_string();
    let kind = match error {
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => return HttpFailure::ConnectTimedOut,
        Error::Timeout(_) => return HttpFailure::TimedOut,
        Error::Io(error) => return io_failure(&error),
        Error::HostNotFound | Error::ConnectionFailed | Error::ConnectProxyFailed(_) => {
            TransportErrorKind::Connect
        }
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) => TransportErrorKind::Tls,
        Error::Protocol(_) | Error::Http(_) | Error::LargeResponseHeader(..) => TransportErrorKind::Protocol,
        _ => TransportErrorKind::Other,
    };
    HttpFailure::Failed(kind, cause)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, which may grow")]
fn io_failure(error: &io::Error) -> HttpFailure {
    let inner = error.get_ref();
    // The resolver's errors have no kind.
    let unresolved = error.to_string().starts_with("failed to lookup address");
    let kind = if unresolved {
        TransportErrorKind::Connect
    } else if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
        TransportErrorKind::Tls
    } else {
        match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => TransportErrorKind::Connect,
            io::ErrorKind::TimedOut => return HttpFailure::TimedOut,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => TransportErrorKind::Protocol,
            _ => TransportErrorKind::Connection,
        }
    };
    HttpFailure::Failed(kind, inner.map_or_else(|| error.to_string(), ToString::to_string))
}
