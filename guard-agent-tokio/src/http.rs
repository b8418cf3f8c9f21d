use std::error::Error;
use std::io;
use std::iter;
use std::sync::Arc;

use guard_agent_proto::TransportErrorKind;
use guard_agent_proto::shell::http::{HttpAnswer, HttpClient, HttpFailure, HttpSetup};
use guard_agent_proto::shell::{BoxFuture, Workers};
use guard_agent_proto::wire::HttpRequest;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Identity, Method};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::HttpError;

/// HTTP by reqwest and rustls, with every feature off that the application's own dependencies may have turned on
/// in reqwest: redirects, retries, HTTP/2, decompression.
#[derive(Clone, Debug)]
pub struct ReqwestClient {
    client: reqwest::Client,
    workers: Workers,
}

impl HttpClient for ReqwestClient {
    fn crypto() -> CryptoProvider {
        aws_lc_rs::default_provider()
    }

    fn new(setup: &HttpSetup) -> Result<Self, HttpError> {
        let workers = Workers::default();
        let mut builder = reqwest::Client::builder()
            .dns_resolver(Arc::new(Resolver(workers.clone())))
            .tls_backend_rustls()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .http1_max_headers(HttpAnswer::MAX_HEADERS)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            // Which proxy it is was decided.
            .no_proxy()
            .connect_timeout(setup.connect_timeout)
            .timeout(setup.timeout)
            .pool_idle_timeout(HttpSetup::IDLE_CONNECTION);

        let tls = |error: reqwest::Error| HttpError::Tls(cause(&error));
        let roots = setup.roots.iter().map(|der| Certificate::from_der(der));
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(tls)?;
        builder = if setup.only_these_roots {
            builder.tls_certs_only(roots)
        } else {
            builder.tls_certs_merge(roots)
        };
        if let Some(identity) = &setup.identity {
            let pem = [&identity.chain_pem, b"\n".as_slice(), identity.key_pem.expose().as_bytes()].concat();
            builder = builder.identity(Identity::from_pem(&pem).map_err(tls)?);
        }
        if let Some(proxy) = &setup.proxy {
            let proxy = reqwest::Proxy::all(proxy.url().expose()).map_err(|_| HttpError::proxy())?;
            builder = builder.proxy(proxy);
        }
        Ok(Self { client: builder.build().map_err(tls)?, workers })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let request = self.build(request)?;
        let mut response = self.client.execute(request).await.map_err(|error| failure(&error))?;
        let headers = response.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut answer = HttpAnswer::new(response.status().as_u16(), headers);
        // Dropping a response with body left to read closes its connection.
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.push(&chunk) => {}
                Ok(_) => return Ok(answer),
                Err(error) if answer.is_complete_at(&error) => return Ok(answer),
                Err(error) => return Err(failure(&error)),
            }
        }
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.workers.offload(work)
    }
}

/// Names are looked up on threads that may be lacking: then an attempt fails, where tokio's own way panics.
struct Resolver(Workers);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        // The port of the request takes the place of this one.
        let addresses = self.0.resolve(name.as_str().to_owned(), 0);
        Box::pin(async move { Ok(Box::new(addresses.await?) as Addrs) })
    }
}

impl ReqwestClient {
    fn build(&self, request: HttpRequest) -> Result<reqwest::Request, HttpFailure> {
        let unusable = |what: &str| HttpFailure::Failed(TransportErrorKind::Other, what.into());
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
}

fn failure(error: &reqwest::Error) -> HttpFailure {
    if let Some(failure) = HttpFailure::of_tls(error) {
        return failure;
    }
    let kind = classify(error);
    if kind == TransportErrorKind::Timeout {
        HttpFailure::TimedOut
    } else if kind == TransportErrorKind::Connect && error.is_timeout() {
        HttpFailure::ConnectTimedOut
    } else {
        HttpFailure::Failed(kind, cause(error))
    }
}

fn classify(error: &reqwest::Error) -> TransportErrorKind {
    let io = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let hyper = chain(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
    if error.is_connect() {
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

/// How hyper reports a body that is cut off or whose chunks cannot be read.
fn is_malformed_body(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
    )
}

/// The innermost cause, which holds neither URL nor header.
fn cause(error: &reqwest::Error) -> String {
    chain(error).skip(1).last().map_or_else(String::new, ToString::to_string)
}
