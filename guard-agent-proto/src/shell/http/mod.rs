//! HTTP, but for the client that speaks it.

mod answer;
mod options;
mod origin;
mod proxy;

use std::boxed::Box;
use std::error::Error;
use std::fmt;
use std::format;
use std::future::Future;
use std::io;
use std::iter;
use std::string::{String, ToString as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_channel::oneshot;
use rustls::crypto::CryptoProvider;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

pub use answer::HttpAnswer;
pub use options::{HttpError, HttpOptions, HttpSetup, Identity};
pub use origin::Origin;
pub use proxy::ProxyServer;

use super::offload::offload;
use super::protocol::Protocol;
use super::{Attempt, BoxFuture, Transport, gzip};
use crate::message::printable_within;
use crate::wire::{Credentials, HttpRequest, Wire};
use crate::{AgentConfig, AgentStatus, Batch, ConfigError, Payload, TransportError, TransportErrorKind};

/// What a runtime brings to speak HTTP/1.1.
///
/// One call is one attempt: no redirects, retries, cookies, decompression, or proxies except the one of the setup.
pub trait HttpClient: Send + Sync + Sized + 'static {
    /// The cryptography of the client's TLS.
    fn crypto() -> CryptoProvider;

    /// A client with these options.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up, or an option means nothing to this client.
    fn new(setup: &HttpSetup) -> Result<Self, HttpError>;

    /// Sends a request and reads the answer, the body as it comes until [`HttpAnswer::push`] has enough, after which
    /// the connection is dropped.
    fn exchange(
        &self,
        request: HttpRequest,
    ) -> impl Future<Output = Result<HttpAnswer, HttpFailure>> + Send + '_;

    /// As [`Runtime::offload`](super::Runtime::offload).
    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpFailure {
    /// The whole took too long.
    TimedOut,
    /// There was no connection in time.
    ConnectTimedOut,
    /// TLS was spoken, and the answer is none.
    NotTls,
    /// Anything else: of what kind, and its innermost cause, which holds neither URL nor header.
    Failed(TransportErrorKind, String),
}

impl HttpFailure {
    /// The failure that rustls reports in an error or in one of its causes, if any.
    #[must_use]
    pub fn of_tls(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut causes = iter::successors(Some(error), |&error| error.source());
        let error = causes.find_map(tls_error)?;
        let is_other = *error == rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        Some(if is_other { Self::NotTls } else { Self::Failed(TransportErrorKind::Tls, error.to_string()) })
    }
}

/// Words in which the parser of all clients refuses an answer that does not begin as HTTP does.
const NOT_HTTP: &str = "invalid HTTP version";
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// Delivers over HTTP/1.1.
///
/// One call is one attempt: redirects, retries, cookies and decompression are off. At most
/// [`Response::MAX_BODY`](crate::Response::MAX_BODY) bytes of an answer are read; the connection of a longer one is dropped.
pub struct HttpTransport<C> {
    client: C,
    wire: RwLock<Arc<Wire>>,
    /// The other end, for messages; without credentials.
    peer: Arc<str>,
    endpoint: Origin,
    /// Whether a failure may still be that of another server than the one that is meant: nobody answered HTTP yet, and nobody
    /// looked who is there.
    unknown: AtomicBool,
    connect_timeout: Duration,
    timeout: Duration,
    bytes_sent: AtomicU64,
}

impl<C: HttpClient> HttpTransport<C> {
    /// A transport to the endpoint of `config`. `install_id` names this installation to the platform.
    ///
    /// # Errors
    ///
    /// Every option that cannot be used, by name; or TLS that cannot be set up.
    pub fn new(config: &AgentConfig, install_id: &str, options: &HttpOptions) -> Result<Self, HttpError> {
        let wire = Wire::new(config, install_id)?;
        let setup = options.check(config, &C::crypto())?;
        Ok(Self {
            client: C::new(&setup)?,
            wire: RwLock::new(Arc::new(wire)),
            peer: setup.peer().into(),
            // A proxy would be whom we asked.
            unknown: AtomicBool::new(setup.proxy.is_none()),
            endpoint: setup.endpoint,
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            bytes_sent: AtomicU64::new(0),
        })
    }

    /// Uses these credentials from the next request on.
    ///
    /// # Errors
    ///
    /// A key that cannot be used; the old ones stay.
    pub fn set_credentials(&self, credentials: Credentials) -> Result<(), ConfigError> {
        let mut current = self.wire.write().unwrap_or_else(PoisonError::into_inner);
        let mut wire = Wire::clone(&current);
        wire.set_credentials(credentials)?;
        *current = Arc::new(wire);
        Ok(())
    }

    /// Bytes of request bodies, as compressed, handed to the network so far, every attempt counted.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    /// The log records that the HTTP client makes of our own requests go nowhere: who turns log records
    /// into events would otherwise keep the agent busy with itself.
    fn quietly(&self, payload: Payload) -> BoxFuture<'_, Attempt> {
        Box::pin(self.execute(payload).with_subscriber(Dispatch::none()))
    }

    async fn execute(&self, payload: Payload) -> Attempt {
        // The answer is held against the secrets of its own request.
        let wire = Arc::clone(&self.wire.read().unwrap_or_else(PoisonError::into_inner));
        let request = self.encode(Arc::clone(&wire), payload).await?;
        self.bytes_sent.fetch_add(request.body.len() as u64, Ordering::Relaxed);

        let mut response = match self.client.exchange(request).await {
            Ok(answer) => answer.into_response(),
            Err(failure) => return Err(self.explain(failure).await),
        };
        self.unknown.store(false, Ordering::Relaxed);
        response.peer = Some(Arc::clone(&self.peer));
        response.etag.take_if(|etag| wire.repeats_secret(etag.as_bytes()));
        // A proxy knows secrets that the platform does not.
        let by_proxy = response.status == PROXY_AUTHENTICATION_REQUIRED;
        response.confidential = by_proxy || wire.repeats_secret(&response.body);
        Ok(response)
    }

    /// Encodes where it holds up nobody, or in place where there is no thread: it does not block.
    async fn encode(&self, wire: Arc<Wire>, payload: Payload) -> Result<HttpRequest, TransportError> {
        if !is_long_work(&payload) {
            return Ok(wire.encode(&payload, gzip));
        }
        let (give, take) = oneshot::channel();
        let work = move || {
            // Whoever waited may have gone meanwhile.
            let _ = give.send(wire.encode(&payload, gzip));
        };
        if let Err(work) = offload(|job| self.client.offload(job), work).await {
            work();
        }
        let unencoded =
            |oneshot::Canceled| TransportError::new(TransportErrorKind::Panicked, "while it was encoded");
        take.await.map_err(unencoded)
    }

    /// Looks once whether it is a Redis that does not answer.
    async fn explain(&self, failure: HttpFailure) -> TransportError {
        const LIMIT: Duration = Duration::from_secs(1);
        let may_be_redis = match &failure {
            HttpFailure::ConnectTimedOut | HttpFailure::NotTls => true,
            HttpFailure::Failed(kind, _) => {
                matches!(kind, TransportErrorKind::Connection | TransportErrorKind::Protocol)
            }
            HttpFailure::TimedOut => false,
        };
        if !may_be_redis || !self.unknown.swap(false, Ordering::Relaxed) {
            return self.describe(failure);
        }
        let (host, port) = (self.endpoint.host.clone(), self.endpoint.port);
        let (give, take) = oneshot::channel();
        let look = move || {
            // Whoever waited may have gone meanwhile.
            let _ = give.send(Protocol::is_redis(&host, port, LIMIT));
        };
        // Without a thread nobody looks.
        let _ = offload(|job| self.client.offload(job), look).await;
        if take.await == Ok(true) {
            let message = format!(
                "a Redis server answers there, not HTTP: the endpoint needs another host or port ({})",
                self.peer
            );
            return TransportError::new(TransportErrorKind::Protocol, message);
        }
        self.describe(failure)
    }

    fn describe(&self, failure: HttpFailure) -> TransportError {
        let (kind, message) = match failure {
            HttpFailure::TimedOut => {
                (TransportErrorKind::Timeout, format!("no complete answer within {:?}", self.timeout))
            }
            HttpFailure::ConnectTimedOut => {
                (TransportErrorKind::Connect, format!("no connection within {:?}", self.connect_timeout))
            }
            HttpFailure::NotTls => {
                (TransportErrorKind::Tls, "the answer is not TLS: is this a port for http?".into())
            }
            HttpFailure::Failed(kind, cause) if cause.contains(NOT_HTTP) && !self.endpoint.is_tls => {
                (kind, "the answer is not HTTP: is this a port for https?".into())
            }
            HttpFailure::Failed(kind, cause) => (kind, one_line(&cause)),
        };
        TransportError::new(kind, format!("{message} ({})", self.peer))
    }
}

impl<C: HttpClient> Transport for HttpTransport<C> {
    fn send_events(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        self.quietly(Payload::Batch(batch))
    }

    fn send_metrics(&self, batch: Arc<Batch>) -> BoxFuture<'_, Attempt> {
        self.quietly(Payload::Batch(batch))
    }

    fn send_status(&self, status: Arc<AgentStatus>) -> BoxFuture<'_, Attempt> {
        self.quietly(Payload::Status(status))
    }

    fn fetch_rules(&self, etag: Option<Arc<str>>) -> BoxFuture<'_, Attempt> {
        self.quietly(Payload::Rules { etag })
    }

    fn peer(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&self.peer))
    }

    fn bytes_sent(&self) -> u64 {
        Self::bytes_sent(self)
    }
}

impl<C> fmt::Debug for HttpTransport<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("bytes_sent", &self.bytes_sent).finish_non_exhaustive()
    }
}

/// An I/O error hides what it wraps from `source`, and TLS errors come wrapped twice.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref().or_else(|| tls_error(error.downcast_ref::<io::Error>()?.get_ref()?))
}

/// Whether encoding takes longer (from about 100 µs on) than an async worker should be kept.
fn is_long_work(payload: &Payload) -> bool {
    const INLINE_BYTES: usize = 16 << 10;
    match payload {
        Payload::Batch(batch) => batch.json_len() > INLINE_BYTES,
        Payload::Status(_) | Payload::Rules { .. } => false,
    }
}

/// In one line of bounded length.
fn one_line(cause: &str) -> String {
    const LONGEST: usize = 200;
    printable_within(LONGEST, cause)
}
