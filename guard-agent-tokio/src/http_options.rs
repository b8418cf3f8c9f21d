use std::fmt;

use guard_agent_proto::{AgentConfig, ConfigError, ConfigProblem, Secret};
use reqwest::{Certificate, Identity, Proxy, Url};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// How [`HttpTransport`](crate::HttpTransport) reaches the platform, where the defaults do not fit.
///
/// By default it trusts the system's certificate authorities (which it needs for an `https` endpoint or an
/// `https` proxy named here), shows no certificate of its own and uses
/// the proxies of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`).
///
/// ```
/// use guard_agent_tokio::HttpOptions;
///
/// let options = HttpOptions::new().proxy("http://proxy.internal:3128");
/// assert!(!format!("{options:?}").contains("3128"));
/// ```
#[derive(Clone, Default)]
pub struct HttpOptions {
    root_certificates: Vec<u8>,
    only_these_roots: bool,
    client_identity: Option<PemIdentity>,
    proxy: ProxyChoice,
}

#[derive(Clone)]
struct PemIdentity {
    chain: Vec<u8>,
    key: Secret,
}

#[derive(Clone, Default)]
enum ProxyChoice {
    #[default]
    Environment,
    Never,
    Always(Secret),
}

impl HttpOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificate authorities too: one or more certificates in PEM. May be called again
    /// for more.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.root_certificates.extend_from_slice(pem.as_ref());
        self.root_certificates.push(b'\n');
        self
    }

    /// Trusts no certificate authority but those of [`root_certificates`](Self::root_certificates).
    #[must_use]
    pub const fn only_these_roots(mut self) -> Self {
        self.only_these_roots = true;
        self
    }

    /// Shows the platform this certificate: the chain in PEM, leaf first, and the leaf's private key in
    /// PEM (PKCS #8, PKCS #1 or SEC 1).
    #[must_use]
    pub fn client_identity(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<String>) -> Self {
        self.client_identity = Some(PemIdentity { chain: chain_pem.into(), key: Secret::new(key_pem) });
        self
    }

    /// Sends every request through this proxy, whatever the environment says: a URL with scheme `http` or
    /// `https`, and user and password where the proxy asks for them.
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = ProxyChoice::Always(Secret::new(url));
        self
    }

    /// Uses no proxy, whatever the environment says.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyChoice::Never;
        self
    }

    /// A client with these options, and with every feature off that the application's own dependencies may
    /// have turned on in reqwest: redirects, retries, HTTP/2, decompression.
    pub(crate) fn client(&self, config: &AgentConfig) -> Result<reqwest::Client, HttpError> {
        let mut problems = Vec::new();
        let mut builder = reqwest::Client::builder()
            .tls_backend_rustls()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT);

        let plain = match Url::parse(&config.endpoint) {
            Ok(endpoint) => endpoint.scheme() == "http" && !self.proxy.is_tls(),
            Err(error) => {
                problems.push(problem("endpoint", "[secret]", format!("a URL ({error})")));
                false
            }
        };
        match self.roots() {
            // A container without certificate authorities can still speak plain HTTP to its neighbour.
            Ok(roots) if self.only_these_roots || plain => builder = builder.tls_certs_only(roots),
            Ok(roots) => builder = builder.tls_certs_merge(roots),
            Err(bound) => {
                let value = format!("{} bytes", self.root_certificates.len());
                problems.push(problem("root_certificates", &value, bound));
            }
        }
        if let Some(identity) = &self.client_identity {
            match identity.parse() {
                Ok(identity) => builder = builder.identity(identity),
                Err(bound) => problems.push(problem("client_identity", "[secret]", bound)),
            }
        }
        match &self.proxy {
            ProxyChoice::Environment => {}
            ProxyChoice::Never => builder = builder.no_proxy(),
            ProxyChoice::Always(url) => match proxy_url(url).and_then(|url| Proxy::all(url).ok()) {
                Some(proxy) => builder = builder.proxy(proxy),
                None => problems.push(problem("proxy", "[secret]", "an http or https URL")),
            },
        }

        if !problems.is_empty() {
            return Err(ConfigError { problems }.into());
        }
        builder.build().map_err(|error| HttpError::Tls(crate::http::cause(&error)))
    }

    fn roots(&self) -> Result<Vec<Certificate>, String> {
        let mut store = RootCertStore::empty();
        let mut roots = Vec::new();
        for der in CertificateDer::pem_slice_iter(&self.root_certificates) {
            let der = der.map_err(|_| "certificates in PEM")?;
            roots.push(Certificate::from_der(&der).map_err(|_| "certificates")?);
            store.add(der).map_err(|error| format!("certificates that can be read ({error})"))?;
        }
        if roots.is_empty() && (self.only_these_roots || !self.root_certificates.is_empty()) {
            return Err("at least one certificate in PEM".into());
        }
        Ok(roots)
    }
}

/// Shorter than the idle limit of common load balancers (60 s and more), so that it is the client that
/// closes: a request on a connection that the other side is just closing is lost.
const POOL_IDLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("only_these_roots", &self.only_these_roots)
            .finish_non_exhaustive()
    }
}

impl PemIdentity {
    /// Checked here, with the key's own errors, since the client reports a mismatch only as a failed build.
    fn parse(&self) -> Result<Identity, String> {
        let chain = CertificateDer::pem_slice_iter(&self.chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "a certificate chain in PEM")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose().as_bytes())
            .map_err(|_| "a certificate chain with its private key in PEM")?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| format!("a certificate chain with its private key ({error})"))?;
        let pem = [&self.chain, b"\n".as_slice(), self.key.expose().as_bytes()].concat();
        Identity::from_pem(&pem).map_err(|_| "certificates and one private key in PEM, nothing else".into())
    }
}

impl ProxyChoice {
    fn is_tls(&self) -> bool {
        match self {
            Self::Always(url) => proxy_url(url).is_some_and(|url| url.scheme() == "https"),
            Self::Environment | Self::Never => false,
        }
    }
}

fn proxy_url(url: &Secret) -> Option<Url> {
    Url::parse(url.expose()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

fn problem(field: &'static str, value: &str, bound: impl Into<String>) -> ConfigProblem {
    ConfigProblem { field, value: value.into(), bound: bound.into() }
}

/// Why there is no [`HttpTransport`](crate::HttpTransport).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// The configuration or the options cannot be used: every problem with the name of its field.
    Config(ConfigError),
    /// TLS could not be set up, for example because the system has no certificate authorities.
    Tls(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Tls(cause) => write!(f, "TLS could not be set up: {cause}"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Tls(_) => None,
        }
    }
}

impl From<ConfigError> for HttpError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
