use std::fmt;
use std::string::String;
use std::vec::Vec;

use crate::{AgentConfig, Secret};

/// How a journal in Redis is reached: `redis_url`, `redis_key_prefix` and `redis_ca_file` of
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
/// # use guard_agent_proto::AgentConfig;
/// # use guard_agent_proto::shell::RedisOptions;
///
/// let config = AgentConfig::builder("key-of-the-project").redis_url("rediss://:hunter2@redis.internal").build()?;
/// let options = RedisOptions::new(&config);
/// assert!(!format!("{options:?}").contains("hunter2"));
/// # Ok::<(), guard_agent_proto::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    pub(super) url: Option<Secret>,
    pub(super) key_prefix: String,
    pub(super) ca_file: Option<String>,
    pub(super) root_certificates: Vec<u8>,
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
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("url", &self.url.is_some())
            .field("key_prefix", &self.key_prefix)
            .field("ca_file", &self.ca_file)
            .field("root_certificates", &self.root_certificates.len())
            .finish_non_exhaustive()
    }
}
