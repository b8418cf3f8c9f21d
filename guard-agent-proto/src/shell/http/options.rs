use std::borrow::ToOwned;
use std::env;
use std::fmt;
use std::format;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Origin, ProxyServer, proxy};
use crate::config::endpoint::show;
use crate::{AgentConfig, ConfigError, ConfigProblem, Secret};

/// How [`HttpTransport`](super::HttpTransport) reaches the platform, where the defaults do not fit.
///
/// By default it trusts the system's certificate authorities (which it needs for an `https` endpoint or an
/// `https` proxy), shows no certificate of its own and uses the proxy of the environment.
///
/// # The proxy of the environment
///
/// It is chosen once, at the start, and means the same on every runtime. The variable for an `https` endpoint is
/// `HTTPS_PROXY`, for an `http` endpoint `HTTP_PROXY` (unless `REQUEST_METHOD` is set: a CGI gets it from its client),
/// for both then `ALL_PROXY`; the name in lower case comes first. One that is empty counts as not set, as for curl, and
/// nothing is said of it, for that is how a proxy is turned off for one command; one that is blank is an error. Its value is
/// the URL of an `http` or `https` proxy, with user name and password where it asks for them; without a scheme it is
/// `http`, without a port 80 or 443. Any other value (`socks5`, for example) is an error at the start.
///
/// `NO_PROXY` lists, between commas or spaces, which endpoints are reached without it:
///
/// | spelling | means |
/// | --- | --- |
/// | `*` | all |
/// | `example.com`, `.example.com`, `*.example.com` | that name and those below it, whatever the case |
/// | `10.1.2.3`, `fd00::1`, `[fd00::1]` | that address |
/// | `10.0.0.0/8`, `fd00::/8` | the addresses of that block |
/// | `example.com:8443`, `10.1.2.3:8443`, `[fd00::1]:8443` | the same, on that port alone |
///
/// The host of the endpoint is compared as it is written: addresses and blocks are about an endpoint that is given as an
/// address, since names are not looked up for this.
///
/// ```
/// # use guard_agent_proto::shell::HttpOptions;
///
/// let options = HttpOptions::new().proxy("http://proxy.internal:3128");
/// assert!(!format!("{options:?}").contains("3128"));
/// ```
#[derive(Clone, Default)]
pub struct HttpOptions {
    root_certificates: Vec<u8>,
    only_these_roots: bool,
    client_identity: Option<PemIdentity>,
    proxy: Proxy,
}

#[derive(Clone)]
struct PemIdentity {
    chain: Vec<u8>,
    key: Secret,
}

/// Through which proxy requests go.
#[derive(Clone, Default)]
enum Proxy {
    /// The one that the environment names.
    #[default]
    Environment,
    Never,
    /// The one of that URL.
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
        self.proxy = Proxy::Always(Secret::new(url));
        self
    }

    /// Uses no proxy, whatever the environment says.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.proxy = Proxy::Never;
        self
    }

    /// The options, read and checked.
    ///
    /// # Errors
    ///
    /// Every option that cannot be used, by name, together.
    pub(super) fn check(
        &self,
        config: &AgentConfig,
        provider: &CryptoProvider,
    ) -> Result<HttpSetup, ConfigError> {
        let mut problems = Vec::new();
        let endpoint = Origin::parse(&config.endpoint).map(|(origin, _)| origin);
        if endpoint.is_none() {
            problems.push(problem("endpoint", &show(&config.endpoint), "an http or https URL"));
        }
        let proxy = self.proxy.of(endpoint.as_ref()).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let roots = self.roots().unwrap_or_else(|bound| {
            let value = format!("{} bytes", self.root_certificates.len());
            problems.push(problem("root_certificates", &value, bound));
            Vec::new()
        });
        let identity = self.client_identity.as_ref().and_then(|identity| {
            let checked = identity.check(provider);
            checked.map_err(|bound| problems.push(problem("client_identity", "[secret]", bound))).ok()
        });
        let Some(endpoint) = endpoint.filter(|_| problems.is_empty()) else {
            return Err(ConfigError { problems });
        };
        // A container without certificate authorities can still speak plain HTTP to its neighbour.
        let needs_none = !endpoint.is_tls && proxy.as_ref().is_none_or(|proxy| !proxy.origin().is_tls);
        Ok(HttpSetup {
            endpoint,
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            roots,
            only_these_roots: self.only_these_roots || needs_none,
            identity,
            proxy,
        })
    }

    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let mut store = RootCertStore::empty();
        let mut roots = Vec::new();
        for der in CertificateDer::pem_slice_iter(&self.root_certificates) {
            let der = der.map_err(|_| "certificates in PEM")?;
            store.add(der.clone()).map_err(|error| format!("certificates that can be read ({error})"))?;
            roots.push(der);
        }
        if roots.is_empty() && (self.only_these_roots || !self.root_certificates.is_empty()) {
            return Err("at least one certificate in PEM".into());
        }
        Ok(roots)
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("only_these_roots", &self.only_these_roots)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    fn of(&self, endpoint: Option<&Origin>) -> Result<Option<ProxyServer>, ConfigProblem> {
        const BOUND: &str = "an http or https URL";
        match (self, endpoint) {
            (Self::Never, _) | (Self::Environment, None) => Ok(None),
            (Self::Always(url), _) => {
                ProxyServer::parse(url.expose()).map(Some).ok_or_else(|| problem("proxy", "[secret]", BOUND))
            }
            (Self::Environment, Some(endpoint)) => {
                let proxy = proxy::from_environment(endpoint, |name| env::var_os(name));
                proxy.map_err(|variable| problem("proxy", "[secret]", format!("{BOUND} in {variable}")))
            }
        }
    }
}

impl PemIdentity {
    /// Checked here, with the key's own errors, since clients report a mismatch late or not at all.
    fn check(&self, provider: &CryptoProvider) -> Result<Identity, String> {
        let chain = CertificateDer::pem_slice_iter(&self.chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "a certificate chain in PEM")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose().as_bytes())
            .map_err(|_| "a certificate chain with its private key in PEM")?;
        CertifiedKey::from_der(chain.clone(), key, provider)
            .map_err(|error| format!("a certificate chain with its private key ({error})"))?;
        Ok(Identity { chain, chain_pem: self.chain.clone(), key_pem: self.key.clone() })
    }
}

/// What an HTTP client is made of: options that were checked.
#[derive(Debug)]
pub struct HttpSetup {
    /// Where requests go.
    pub endpoint: Origin,
    /// Time for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time for a whole request.
    pub timeout: Duration,
    /// Certificate authorities of the application's own.
    pub roots: Vec<CertificateDer<'static>>,
    /// Those of the system do not count.
    pub only_these_roots: bool,
    /// What the agent shows the platform.
    pub identity: Option<Identity>,
    /// Through which proxy; the environment is not to be asked again.
    pub proxy: Option<ProxyServer>,
}

impl HttpSetup {
    /// The other side, for messages: the endpoint and, if any, the proxy.
    pub(super) fn peer(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("{} via {}", self.endpoint, proxy.origin()),
            None => format!("{}", self.endpoint),
        }
    }

    /// How long an idle connection is kept. Shorter than the idle limit of common load balancers (60 s and more), so
    /// that it is the client that closes: a request on a connection that the other side is just closing is lost.
    pub const IDLE_CONNECTION: Duration = Duration::from_secs(30);

    /// Whom to trust, for clients that do not ask the system themselves.
    ///
    /// # Errors
    ///
    /// The system has no certificate authorities, and they are needed.
    pub fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, HttpError> {
        if self.only_these_roots {
            return Ok(self.roots.clone());
        }
        let mut trusted = rustls_native_certs::load_native_certs().certs;
        trusted.extend_from_slice(&self.roots);
        if trusted.is_empty() {
            return Err(HttpError::Tls("the system has no certificate authorities".into()));
        }
        Ok(trusted)
    }
}

/// A certificate and its private key, which fit each other.
pub struct Identity {
    /// The certificate and those that lead to its authority, in that order.
    pub chain: Vec<CertificateDer<'static>>,
    /// The chain as it was given.
    pub chain_pem: Vec<u8>,
    /// Its private key as it was given.
    pub key_pem: Secret,
}

impl Identity {
    /// The private key, read.
    ///
    /// # Errors
    ///
    /// Never after it was checked.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(self.key_pem.expose().as_bytes()).map_err(|error| format!("{error}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

fn problem(field: &'static str, value: &str, bound: impl Into<String>) -> ConfigProblem {
    ConfigProblem { field, value: value.to_owned(), bound: bound.into() }
}

/// Why there is no [`HttpTransport`](super::HttpTransport).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// The configuration or the options cannot be used: every problem with the name of its field.
    Config(ConfigError),
    /// TLS could not be set up, for example because the system has no certificate authorities.
    Tls(String),
}

impl HttpError {
    /// The proxy is one that the client cannot use.
    #[must_use]
    pub fn proxy() -> Self {
        let problem = problem("proxy", "[secret]", "an http or https URL");
        Self::Config(ConfigError { problems: std::vec![problem] })
    }
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
