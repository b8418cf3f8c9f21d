use std::error::Error;
use std::fmt;
use std::io;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use guard_agent_proto::shell::{Attempt, BoxFuture, Transport, gzip};
use guard_agent_proto::wire::{Credentials, HttpRequest, Wire};
use guard_agent_proto::{
    AgentConfig, AgentStatus, Batch, ConfigError, Payload, Response, TransportError, TransportErrorKind,
};
use reqwest::header::{self, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use crate::{HttpError, HttpOptions};

/// Delivers over HTTP/1.1, by reqwest and rustls.
///
/// One call is one attempt: redirects, retries, cookies and decompression are off. At most
/// [`Response::MAX_BODY`] bytes of an answer are read; the connection of a longer one is dropped.
pub struct HttpTransport {
    client: reqwest::Client,
    wire: RwLock<Arc<Wire>>,
    connect_timeout: Duration,
    timeout: Duration,
    bytes_sent: AtomicU64,
}

impl HttpTransport {
    /// A transport to the endpoint of `config`. `install_id` names this installation to the platform.
    ///
    /// ```
    /// use guard_agent_proto::AgentConfig;
    /// use guard_agent_tokio::{HttpOptions, HttpTransport};
    ///
    /// let config = AgentConfig::builder("key-of-the-project").build()?;
    /// let options = HttpOptions::new().root_certificates("not a certificate");
    /// let error = HttpTransport::new(&config, "install-1", &options).unwrap_err();
    /// assert!(error.to_string().contains("root_certificates"));
    /// # Ok::<(), guard_agent_proto::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Every option that cannot be used, by name; or TLS that cannot be set up.
    pub fn new(config: &AgentConfig, install_id: &str, options: &HttpOptions) -> Result<Self, HttpError> {
        let wire = Wire::new(config, install_id)?;
        Ok(Self {
            client: options.client(config)?,
            wire: RwLock::new(Arc::new(wire)),
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
        let request = self.build(encode(Arc::clone(&wire), payload).await?)?;
        let length = request.body().and_then(|body| body.as_bytes()).map_or(0, <[u8]>::len);
        self.bytes_sent.fetch_add(length as u64, Ordering::Relaxed);

        let mut answer = self.client.execute(request).await.map_err(|error| self.failure(&error))?;
        let mut response = Response {
            status: answer.status().as_u16(),
            retry_after: text(answer.headers(), header::RETRY_AFTER),
            etag: text(answer.headers(), header::ETAG),
            ..Response::default()
        };
        // Dropping an answer with body left to read closes its connection.
        while response.body.len() < Response::MAX_BODY
            && let Some(chunk) = answer.chunk().await.map_err(|error| self.failure(&error))?
        {
            let room = Response::MAX_BODY - response.body.len();
            response.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        response.etag.take_if(|etag| wire.repeats_secret(etag.as_bytes()));
        // A proxy knows secrets that the platform does not.
        let by_proxy = answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        response.confidential = by_proxy || wire.repeats_secret(&response.body);
        Ok(response)
    }

    fn build(&self, request: HttpRequest) -> Result<reqwest::Request, TransportError> {
        let unusable = |what: &'static str| TransportError::new(TransportErrorKind::Other, what);
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| unusable("bad method"))?;
        let mut builder = self.client.request(method, request.url);
        for (name, value) in request.headers {
            let mut value =
                HeaderValue::from_str(value.expose()).map_err(|_| unusable("bad header value"))?;
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        if !request.body.is_empty() {
            builder = builder.body(request.body);
        }
        builder.build().map_err(|_| unusable("bad URL or header name"))
    }

    fn failure(&self, error: &reqwest::Error) -> TransportError {
        let kind = classify(error);
        let message = if kind == TransportErrorKind::Timeout {
            format!("no complete answer within {:?}", self.timeout)
        } else if kind == TransportErrorKind::Connect && error.is_timeout() {
            format!("no connection within {:?}", self.connect_timeout)
        } else {
            cause(error)
        };
        TransportError::new(kind, message)
    }
}

impl Transport for HttpTransport {
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

    fn bytes_sent(&self) -> u64 {
        Self::bytes_sent(self)
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("bytes_sent", &self.bytes_sent()).finish_non_exhaustive()
    }
}

async fn encode(wire: Arc<Wire>, payload: Payload) -> Result<HttpRequest, TransportError> {
    if !is_long_work(&payload) {
        return Ok(wire.encode(&payload, gzip));
    }
    tokio::task::spawn_blocking(move || wire.encode(&payload, gzip)).await.map_err(|error| {
        if error.is_panic() {
            TransportError::new(TransportErrorKind::Panicked, "while encoding a batch")
        } else {
            TransportError::new(TransportErrorKind::Other, "the runtime is shutting down")
        }
    })
}

/// Whether encoding takes longer (from about 100 µs on) than an async worker should be kept.
fn is_long_work(payload: &Payload) -> bool {
    const INLINE_BYTES: usize = 16 << 10;
    match payload {
        Payload::Batch(batch) => batch.json_len() > INLINE_BYTES,
        Payload::Status(_) | Payload::Rules { .. } => false,
    }
}

/// The header as text. The core keeps it, and sends an entity tag back: a longer one is nobody's.
fn text(headers: &header::HeaderMap, name: HeaderName) -> Option<String> {
    const LONGEST: usize = 1 << 10;
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= LONGEST).then(|| value.to_owned())
}

fn classify(error: &reqwest::Error) -> TransportErrorKind {
    let io = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let hyper = chain(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
    if chain(error).any(is_tls) {
        TransportErrorKind::Tls
    } else if error.is_connect() {
        TransportErrorKind::Connect
    } else if hyper.is_some_and(hyper::Error::is_parse) || io.is_some_and(is_malformed_body) {
        TransportErrorKind::Protocol
    } else if io.is_some() || hyper.is_some_and(|error| error.is_incomplete_message() || error.is_closed()) {
        TransportErrorKind::Connection
    } else if error.is_timeout() {
        TransportErrorKind::Timeout
    } else {
        TransportErrorKind::Other
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}

/// An I/O error hides what it wraps from `source`, and TLS errors come wrapped twice.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    error.is::<rustls::Error>()
        || error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).is_some_and(|inner| is_tls(inner))
}

/// How hyper reports a body that is cut off or whose chunks cannot be read.
fn is_malformed_body(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
    )
}

/// The innermost cause, which holds neither URL nor header, in one line of bounded length.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    const LONGEST: usize = 200;
    let innermost = chain(error).skip(1).last().map_or_else(String::new, ToString::to_string);
    innermost.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}
