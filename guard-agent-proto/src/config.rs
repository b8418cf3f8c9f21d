use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Configuration of an agent. Made by [`AgentConfig::builder`], from JSON or from the environment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AgentConfig {
    /// `false` makes an agent with the same interface that does nothing.
    pub enabled: bool,
    /// Key of the platform's API; at least 10 characters.
    pub api_key: Secret,
    /// Base URL of the platform.
    pub endpoint: String,
    /// Project; rules are fetched only with one.
    pub project_id: Option<String>,
    /// Records per kind in memory.
    pub buffer_size: usize,
    /// Bytes of encoded records per kind in memory.
    pub buffer_bytes: usize,
    /// What happens when memory is full.
    pub buffer_overflow_policy: OverflowPolicy,
    /// Fill level from which metrics are sent early and the agent calls itself nearly full; in (0, 1].
    pub high_watermark_ratio: f64,
    /// Longest wait of a metric.
    pub flush_interval: Duration,
    /// Longest wait of an event for others to join its batch.
    pub event_linger: Duration,
    /// Most records in a batch.
    pub batch_max_records: usize,
    /// Most bytes in a plaintext body; at most 262,144.
    pub batch_max_bytes: usize,
    /// Which waiting records go first.
    pub drain: DrainOrder,
    /// Longest time a record may wait; `None` = for ever.
    pub max_record_age: Option<Duration>,
    /// Refused records that are kept for the application to read.
    pub dead_letter_capacity: usize,
    /// Requests in flight across lanes; each lane has at most one.
    pub max_concurrent_flushes: usize,
    /// Most requests in any window of `rate_window`.
    pub rate_limit: usize,
    /// Length of that window.
    pub rate_window: Duration,
    /// Quick retries before the slow schedule.
    pub retry_attempts: u32,
    /// First step of the exponential backoff.
    pub backoff_factor: Duration,
    /// Consecutive failures that open the circuit breaker.
    pub breaker_threshold: u32,
    /// Longest wait for a probe early in an outage.
    pub breaker_recovery: Duration,
    /// Longest wait for a probe late in an outage.
    pub breaker_recovery_max: Duration,
    /// Total time of a request.
    pub timeout: Duration,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Rules are polled at least that often.
    pub dynamic_rule_interval: Duration,
    /// Event types after whose delivery the rules are not polled quickly.
    pub informational_event_types: Vec<String>,
    /// The status is pushed that often.
    pub status_interval: Duration,
    /// Events are taken.
    pub enable_events: bool,
    /// Metrics are taken.
    pub enable_metrics: bool,
    /// Event types that are not sent (counted as filtered).
    pub muted_event_types: Vec<String>,
    /// Share of events of a type that is sent, in [0, 1]; the rest is counted as filtered.
    pub sample_rates: BTreeMap<String, f64>,
    /// Names whose values are redacted, beside the built-in ones for cookies and keys.
    pub sensitive_headers: Vec<String>,
    /// Query parameters whose values are redacted.
    pub sensitive_query_params: Vec<String>,
    /// Longest string value of a record, in bytes.
    pub max_payload_size: usize,
    /// What is sent of addresses.
    pub ip_privacy: IpPrivacy,
    /// Salt for hashing addresses.
    pub ip_hash_salt: Secret,
    /// AES-256 key in URL-safe base64; turns encryption on.
    pub project_encryption_key: Option<Secret>,
    /// Secret for the HMAC signature; turns signing on.
    pub payload_signing_secret: Option<Secret>,
    /// Bodies are compressed.
    pub compression_enabled: bool,
    /// Smallest body that is compressed, in bytes.
    pub compression_threshold: usize,
    /// Version of the host's middleware, told to the platform.
    pub guard_version: Option<String>,
    /// Version of the host's engine, told to the platform.
    pub guard_core_version: Option<String>,
    /// Install id, instead of the one kept in the home directory.
    pub install_id: Option<String>,
}

/// Text that never shows itself in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What happens to records when memory is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverflowPolicy {
    /// The oldest record is given up for the new one.
    #[default]
    Drop,
    /// The caller waits. Not on the async runtimes, whose callers must not block.
    Block,
    /// The new record is given up; `try_send_event` hands it back.
    Raise,
}

/// Which waiting records go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainOrder {
    /// New events take every second slot while a backlog drains.
    #[default]
    LiveFirst,
    /// Strictly in the order of acceptance.
    Fifo,
}

/// What is sent of client addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpPrivacy {
    /// The address.
    #[default]
    Full,
    /// The network: /24 of IPv4, /48 of IPv6.
    Truncate,
    /// First 16 hex digits of SHA-256 over address and salt.
    Hash,
}

/// Builds an [`AgentConfig`].
#[derive(Clone, Debug)]
pub struct AgentConfigBuilder(AgentConfig);

/// Every problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Name of the field.
    pub field: &'static str,
    /// Its value; `[secret]` for secrets.
    pub value: String,
    /// What it must be.
    pub bound: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration: ")?;
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "`{}` is {} but must be {}", problem.field, problem.value, problem.bound)?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigError {}

impl AgentConfig {
    /// Starts from the defaults.
    #[must_use]
    pub fn builder(api_key: impl Into<String>) -> AgentConfigBuilder {
        AgentConfigBuilder(Self {
            enabled: true,
            api_key: Secret::new(api_key),
            endpoint: String::from("https://api.guard-core.com"),
            project_id: None,
            buffer_size: 32_768,
            buffer_bytes: 64 << 20,
            buffer_overflow_policy: OverflowPolicy::Drop,
            high_watermark_ratio: 0.8,
            flush_interval: Duration::from_secs(30),
            event_linger: Duration::from_millis(50),
            batch_max_records: 2_000,
            batch_max_bytes: 262_144,
            drain: DrainOrder::LiveFirst,
            max_record_age: None,
            dead_letter_capacity: 64,
            max_concurrent_flushes: 4,
            rate_limit: 100,
            rate_window: Duration::from_secs(60),
            retry_attempts: 3,
            backoff_factor: Duration::from_secs(1),
            breaker_threshold: 5,
            breaker_recovery: Duration::from_secs(5),
            breaker_recovery_max: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            dynamic_rule_interval: Duration::from_secs(300),
            informational_event_types: Vec::new(),
            status_interval: Duration::from_secs(300),
            enable_events: true,
            enable_metrics: true,
            muted_event_types: Vec::new(),
            sample_rates: BTreeMap::new(),
            sensitive_headers: Vec::new(),
            sensitive_query_params: Vec::new(),
            max_payload_size: 1_024,
            ip_privacy: IpPrivacy::Full,
            ip_hash_salt: Secret::default(),
            project_encryption_key: None,
            payload_signing_secret: None,
            compression_enabled: true,
            compression_threshold: 1_024,
            guard_version: None,
            guard_core_version: None,
            install_id: None,
        })
    }
}

impl AgentConfigBuilder {
    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// Every problem, together.
    pub fn build(self) -> Result<AgentConfig, ConfigError> {
        Ok(self.0)
    }
}
