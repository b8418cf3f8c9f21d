use std::fmt;
use std::future::poll_fn;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use std::vec;

use futures_rustls::TlsConnector;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use guard_agent_proto::TransportErrorKind;
use guard_agent_proto::shell::http::{HttpAnswer, HttpClient, HttpFailure, HttpSetup, Origin, ProxyServer};
use guard_agent_proto::shell::{BoxFuture, Workers};
use guard_agent_proto::wire::HttpRequest;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Uri};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use smol::Timer;
use smol::future::or;
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use smol::net::TcpStream;
use smol_hyper::rt::FuturesIo;

use crate::HttpError;

/// HTTP by hyper and rustls, on the I/O and the timers of smol. It needs no executor: whoever asks drives the connection.
pub struct HyperClient {
    endpoint: Origin,
    proxy: Option<ProxyServer>,
    tls: TlsConnector,
    connect_timeout: Duration,
    timeout: Duration,
    idle: Mutex<Vec<Connection>>,
    workers: Workers,
}

/// A connection, driven by exchanges alone.
struct Connection {
    sender: http1::SendRequest<Body>,
    driver: http1::Connection<FuturesIo<BoxedStream>, Body>,
    idle_since: Instant,
}

type Body = Full<Cursor<Vec<u8>>>;
type BoxedStream = Box<dyn Stream>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Time for an address before the next one is tried beside it, as in RFC 8305: of several, one may not answer.
const HEAD_START: Duration = Duration::from_millis(250);
/// Longest head of a proxy's answer to `CONNECT`.
const LONGEST_HEAD: usize = 16 << 10;

impl HttpClient for HyperClient {
    fn crypto() -> CryptoProvider {
        aws_lc_rs::default_provider()
    }

    fn new(setup: &HttpSetup) -> Result<Self, HttpError> {
        Ok(Self {
            endpoint: setup.endpoint.clone(),
            proxy: setup.proxy.clone(),
            tls: TlsConnector::from(Arc::new(tls_config(setup)?)),
            connect_timeout: setup.connect_timeout,
            timeout: setup.timeout,
            idle: Mutex::default(),
            workers: Workers::default(),
        })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let request = self.build(request)?;
        let whole = async {
            let mut connection = match self.idle_connection().await {
                Some(connection) => connection,
                None => or(self.connect(), after(self.connect_timeout, HttpFailure::ConnectTimedOut)).await?,
            };
            let answer = connection.exchange(request).await?;
            if connection.is_usable().await {
                self.keep(connection);
            }
            Ok(answer)
        };
        or(whole, after(self.timeout, HttpFailure::TimedOut)).await
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.workers.offload(work)
    }
}

impl HyperClient {
    /// Whether the proxy is given whole requests instead of a tunnel.
    fn is_forwarded(&self) -> bool {
        self.proxy.is_some() && !self.endpoint.is_tls
    }

    fn build(&self, request: HttpRequest) -> Result<Request<Body>, HttpFailure> {
        let unusable = |what: &str| HttpFailure::Failed(TransportErrorKind::Other, what.into());
        let url: Uri = request.url.parse().map_err(|_| unusable("bad URL"))?;
        let host = url.authority().map_or_else(String::new, |authority| authority.as_str().into());
        let target = if self.is_forwarded() {
            Some(request.url)
        } else {
            url.path_and_query().map(ToString::to_string)
        };
        let mut builder = Request::builder()
            .method(request.method)
            .uri(target.unwrap_or_default())
            .header(header::HOST, host);
        for (name, value) in &request.headers {
            builder = builder.header(*name, sensitive(value.expose())?);
        }
        if self.is_forwarded()
            && let Some(authorization) = self.proxy.as_ref().and_then(ProxyServer::authorization)
        {
            builder = builder.header(header::PROXY_AUTHORIZATION, sensitive(authorization.expose())?);
        }
        builder.body(Full::new(Cursor::new(request.body))).map_err(|_| unusable("bad URL or header name"))
    }

    /// A connection from before, if it still is one.
    async fn idle_connection(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if connection.idle_since.elapsed() < HttpSetup::IDLE_CONNECTION && connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    fn keep(&self, mut connection: Connection) {
        connection.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| connection.idle_since.elapsed() < HttpSetup::IDLE_CONNECTION);
        idle.push(connection);
    }

    async fn connect(&self) -> Result<Connection, HttpFailure> {
        let first = self.proxy.as_ref().map_or(&self.endpoint, ProxyServer::origin);
        let addresses = self.workers.resolve(first.host.clone(), first.port).await.map_err(unconnected)?;
        let mut stream: BoxedStream = Box::new(connect(addresses).await.map_err(unconnected)?);
        if let Some(proxy) = &self.proxy {
            if proxy.origin().is_tls {
                stream = self.secure(&proxy.origin().host, stream).await?;
            }
            if self.endpoint.is_tls {
                tunnel(&mut stream, &self.endpoint, proxy).await?;
            }
        }
        if self.endpoint.is_tls {
            stream = self.secure(&self.endpoint.host, stream).await?;
        }
        let handshake = http1::Builder::new()
            .max_headers(HttpAnswer::MAX_HEADERS)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .handshake(FuturesIo::new(stream));
        let (sender, driver) = handshake.await.map_err(|error| failure(&error))?;
        Ok(Connection { sender, driver, idle_since: Instant::now() })
    }

    async fn secure(&self, host: &str, stream: BoxedStream) -> Result<BoxedStream, HttpFailure> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| HttpFailure::Failed(TransportErrorKind::Tls, error.to_string()))?;
        Ok(Box::new(self.tls.connect(name, stream).await.map_err(unconnected)?))
    }
}

impl fmt::Debug for HyperClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperClient").finish_non_exhaustive()
    }
}

impl Connection {
    /// Whether the last answer was read to its end, and the other side has neither closed it nor sent anything since.
    async fn is_usable(&mut self) -> bool {
        let is_open = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.driver).poll(cx).is_pending())).await;
        is_open && self.sender.is_ready()
    }

    async fn exchange(&mut self, request: Request<Body>) -> Result<HttpAnswer, HttpFailure> {
        let Self { sender, driver, .. } = self;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| failure(&error))?;
            let (head, mut body) = response.into_parts();
            let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let mut answer = HttpAnswer::new(head.status.as_u16(), headers);
            loop {
                match body.frame().await {
                    None => return Ok(answer),
                    Some(Ok(frame)) => {
                        if let Ok(piece) = frame.into_data()
                            && !answer.push(&piece)
                        {
                            return Ok(answer);
                        }
                    }
                    Some(Err(error)) if answer.is_complete_at(&error) => return Ok(answer),
                    Some(Err(error)) => return Err(failure(&error)),
                }
            }
        };
        let mut exchange = pin!(exchange);
        let mut ended = false;
        poll_fn(|cx| {
            // The exchange gets what the driver reads, its errors too.
            ended = ended || Pin::new(&mut *driver).poll(cx).is_ready();
            exchange.as_mut().poll(cx)
        })
        .await
    }
}

fn tls_config(setup: &HttpSetup) -> Result<ClientConfig, HttpError> {
    let tls = |error: rustls::Error| HttpError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(setup.trusted()?);
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_root_certificates(roots);
    match &setup.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            let key = identity.key().map_err(HttpError::Tls)?;
            builder.with_client_auth_cert(identity.chain.clone(), key).map_err(tls)
        }
    }
}

/// The first address that takes a connection.
async fn connect(mut rest: vec::IntoIter<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        attempts.extend(rest.next().map(TcpStream::connect));
        let head_start = async {
            if rest.len() == 0 {
                std::future::pending::<()>().await;
            }
            Timer::after(HEAD_START).await;
            Err(None)
        };
        let next = async {
            match attempts.next().await {
                Some(result) => result.map_err(Some),
                None => Err(None),
            }
        };
        match or(next, head_start).await {
            Ok(stream) => {
                // Requests are written in one piece.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(Some(error)) => failed = error,
            Err(None) => {}
        }
        if attempts.is_empty() && rest.len() == 0 {
            return Err(failed);
        }
    }
}

/// Has the proxy connect to the endpoint.
async fn tunnel(stream: &mut BoxedStream, endpoint: &Origin, proxy: &ProxyServer) -> Result<(), HttpFailure> {
    let target = endpoint.authority();
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = proxy.authorization() {
        request.push_str(&format!("Proxy-Authorization: {}\r\n", authorization.expose()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(unconnected)?;
    stream.flush().await.map_err(unconnected)?;
    // Byte by byte, since what follows the head belongs to TLS.
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") && head.len() < LONGEST_HEAD {
        stream.read_exact(&mut byte).await.map_err(unconnected)?;
        head.extend(byte);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).and_then(|status| status.get(..3));
    match status.map(String::from_utf8_lossy).as_deref() {
        Some(status) if status.starts_with('2') => Ok(()),
        status => {
            let cause =
                format!("the proxy opens no tunnel: it answered {}", status.unwrap_or("what is not HTTP"));
            Err(HttpFailure::Failed(TransportErrorKind::Connect, cause))
        }
    }
}

async fn after<T>(time: Duration, failure: HttpFailure) -> Result<T, HttpFailure> {
    Timer::after(time).await;
    Err(failure)
}

fn sensitive(value: &str) -> Result<HeaderValue, HttpFailure> {
    let unusable = |_| HttpFailure::Failed(TransportErrorKind::Other, "bad header value".into());
    let mut value = HeaderValue::from_str(value).map_err(unusable)?;
    value.set_sensitive(true);
    Ok(value)
}

fn unconnected(error: io::Error) -> HttpFailure {
    HttpFailure::of_tls(&error)
        .unwrap_or_else(|| HttpFailure::Failed(TransportErrorKind::Connect, error.to_string()))
}

fn failure(error: &hyper::Error) -> HttpFailure {
    if let Some(failure) = HttpFailure::of_tls(error) {
        return failure;
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let io = innermost.downcast_ref::<io::Error>();
    let kind = if error.is_parse() || io.is_some_and(is_malformed_body) {
        TransportErrorKind::Protocol
    } else if io.is_some() || error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        TransportErrorKind::Connection
    } else {
        TransportErrorKind::Other
    };
    HttpFailure::Failed(kind, innermost.to_string())
}

/// Whether hyper reports a body that is cut off or whose chunks cannot be read.
fn is_malformed_body(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
    )
}
