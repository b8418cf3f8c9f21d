use std::fmt;
use std::fs;

use guard_agent_proto::shell::redis::Address;
use guard_agent_proto::{AgentConfig, ConfigError, ConfigProblem, Secret};
use redis::TlsCertificates;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// How [`RedisStore`](crate::RedisStore) reaches Redis: `redis_url`, `redis_key_prefix` and `redis_ca_file` of
/// the configuration, and certificates that are in no file.
///
/// | `redis_url` | |
/// | --- | --- |
/// | `redis://[[user]:password@]host[:port][/database]` | one server |
/// | `redis+unix:///path[?db=database&user=user&pass=password]` | one server by its socket |
/// | `redis+cluster://[[user]:password@]host[:port],host[:port]…` | a cluster by some of its nodes |
/// | `redis+sentinel://[[user]:password@]host[:port],host[:port]…/master[/database]` | the master that sentinels name; they are asked without user and password |
///
/// With `rediss` in place of `redis`, connections use TLS. What is special in user or password is
/// percent-encoded. The port is 6379 unless given, also that of sentinels.
///
/// ```
/// use guard_agent_tokio::{AgentConfig, RedisOptions};
///
/// let config = AgentConfig::builder("key-of-the-project").redis_url("rediss://:hunter2@redis.internal").build()?;
/// let options = RedisOptions::new(&config);
/// assert!(!format!("{options:?}").contains("hunter2"));
/// # Ok::<(), guard_agent_tokio::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    url: Option<Secret>,
    key_prefix: String,
    ca_file: Option<String>,
    root_certificates: Vec<u8>,
}

/// The same, read and checked.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) key_prefix: String,
    pub(crate) certificates: TlsCertificates,
}

impl RedisOptions {
    /// Those of a configuration.
    #[must_use]
    pub fn new(config: &AgentConfig) -> Self {
        Self {
            url: config.redis_url.clone(),
            key_prefix: config.redis_key_prefix.clone(),
            ca_file: config.redis_ca_file.clone(),
            root_certificates: Vec::new(),
        }
    }

    /// Trusts these certificate authorities, one or more certificates in PEM, and those of `redis_ca_file`, and
    /// not those that the system trusts. May be called again for more.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.root_certificates.extend_from_slice(pem.as_ref());
        self.root_certificates.push(b'\n');
        self
    }

    pub(crate) fn target(&self) -> Result<Target, ConfigError> {
        let mut problems = Vec::new();
        let address = match &self.url {
            Some(url) => Address::parse(url).map_err(|problem| problems.push(problem)).ok(),
            None => {
                problems.push(problem("redis_url", "none", "given"));
                None
            }
        };
        let roots = self.roots().map_err(|problem| problems.push(problem)).ok().flatten();
        if roots.is_some() && address.as_ref().is_some_and(|address| !address.is_tls()) {
            problems.push(problem("redis_url", "[secret]", "`rediss` where certificates are given"));
        }
        match address {
            Some(address) if problems.is_empty() => Ok(Target {
                address,
                key_prefix: self.key_prefix.clone(),
                certificates: TlsCertificates { client_tls: None, root_cert: roots },
            }),
            Some(_) | None => Err(ConfigError { problems }),
        }
    }

    /// All certificates in PEM; none if those of the system count.
    fn roots(&self) -> Result<Option<Vec<u8>>, ConfigProblem> {
        let mut pem = self.root_certificates.clone();
        if let Some(path) = &self.ca_file {
            let file = fs::read(path);
            let unreadable =
                |error| problem("redis_ca_file", path, format!("a file that can be read ({error})"));
            pem.extend(check_roots("redis_ca_file", path, file.map_err(unreadable)?)?);
        }
        if !self.root_certificates.is_empty() {
            let shown = format!("{} bytes", self.root_certificates.len());
            check_roots("root_certificates", &shown, self.root_certificates.clone())?;
        }
        Ok((!pem.is_empty()).then_some(pem))
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("key_prefix", &self.key_prefix)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

fn check_roots(field: &'static str, shown: &str, pem: Vec<u8>) -> Result<Vec<u8>, ConfigProblem> {
    let mut store = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|_| problem(field, shown, "certificates in PEM"))?;
        store
            .add(der)
            .map_err(|error| problem(field, shown, format!("certificates that can be read ({error})")))?;
    }
    if store.is_empty() {
        return Err(problem(field, shown, "at least one certificate in PEM"));
    }
    Ok(pem)
}

fn problem(field: &'static str, value: &str, bound: impl Into<String>) -> ConfigProblem {
    ConfigProblem { field, value: value.into(), bound: bound.into() }
}
