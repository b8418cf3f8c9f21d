use std::fmt;
use std::io::{self, Read as _};
use std::sync::Arc;

use guard_agent_proto::TransportErrorKind;
use guard_agent_proto::shell::http::{HttpAnswer, HttpClient, HttpFailure, HttpSetup};
use guard_agent_proto::shell::{BoxFuture, Workers};
use guard_agent_proto::wire::HttpRequest;
use rustls::crypto::{CryptoProvider, ring};
use ureq::config::Config;
use ureq::http::{Request, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Duration;
use ureq::unversioned::transport::{Connector as _, DefaultConnector, NextTimeout};
use ureq::{Error, Timeout};

use crate::HttpError;
use crate::heads::PlainHeads;

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
        let config = ureq::Agent::config_builder()
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
        // Which proxy it is was decided.
        let proxy = setup.proxy.as_ref().map(|proxy| ureq::Proxy::new(proxy.url().expose()));
        let config = config.proxy(proxy.transpose().map_err(|_| HttpError::proxy())?);
        let connector = DefaultConnector::default().chain(PlainHeads);
        let agent = ureq::Agent::with_parts(config.build(), connector, InPlace::default());
        Ok(Self { agent, workers: Workers::default() })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let agent = self.agent.clone();
        let call = self.workers.call(move || exchange(&agent, request)).await;
        call.map_err(|error| HttpFailure::Failed(TransportErrorKind::Other, error.to_string()))?
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.workers.offload(work)
    }
}

/// Looks names up on the thread of the request. With a time limit ureq would use another one, and panic where there is
/// none; the driver, which waits for the request, has a limit of its own.
#[derive(Debug, Default)]
struct InPlace(DefaultResolver);

impl Resolver for InPlace {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.0.resolve(uri, config, NextTimeout { after: Duration::NotHappening, ..timeout })
    }
}

impl fmt::Debug for UreqClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UreqClient").finish_non_exhaustive()
    }
}

fn exchange(agent: &ureq::Agent, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
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
    let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut answer = HttpAnswer::new(head.status.as_u16(), headers);
    let mut body = body.into_with_config().limit(u64::MAX).reader();
    let mut piece = [0; 4 << 10];
    // Dropping a body with something left to read closes its connection.
    loop {
        match body.read(&mut piece) {
            Ok(length) if length > 0 && answer.push(&piece[..length]) => {}
            Ok(_) => return Ok(answer),
            Err(error) if answer.is_complete_at(&error) => return Ok(answer),
            Err(error) => return Err(failure(Error::from(error))),
        }
    }
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
        Error::Rustls(error) => {
            let other = |cause| HttpFailure::Failed(TransportErrorKind::Tls, cause);
            return HttpFailure::of_tls(&error).unwrap_or_else(|| other(cause));
        }
        Error::Tls(_) | Error::Pem(_) => TransportErrorKind::Tls,
        Error::Protocol(_) | Error::Http(_) | Error::LargeResponseHeader(..) => TransportErrorKind::Protocol,
        _ => TransportErrorKind::Other,
    };
    HttpFailure::Failed(kind, cause)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, which may grow")]
fn io_failure(error: &io::Error) -> HttpFailure {
    if let Some(failure) = HttpFailure::of_tls(error) {
        return failure;
    }
    let inner = error.get_ref();
    // The resolver's errors have no kind.
    let unresolved = error.to_string().starts_with("failed to lookup address");
    let kind = if unresolved {
        TransportErrorKind::Connect
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
