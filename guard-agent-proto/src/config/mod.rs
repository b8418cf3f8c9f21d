mod builder;
pub(crate) mod endpoint;
mod field;

pub use builder::AgentConfigBuilder;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::event_type;
use crate::message::printable;
use crate::wire;
use builder::{Notes, merge_json_field, set_field, setter};
use field::Field;

const HOUR: Duration = secs(3_600);
const DAY: Duration = secs(86_400);
const MONTH: Duration = secs(30 * 86_400);
const CONNECT_TIMEOUT: Duration = secs(10);
const MAX_ID_LEN: usize = 256;
/// It is in no body, and whoever used it with another agent of the family keeps it.
const MAX_INSTALL_ID_LEN: usize = 4_096;
const MAX_PREFIX_LEN: usize = 128;

/// Declares a field once: documentation, type, default and bounds. Structure, setters, JSON, environment
/// and `set` follow.
macro_rules! config {
    ($($(#[$doc:meta])* $field:ident: [$($type:tt)+] = $default:expr $(, within $range:expr)?;)*) => {
        /// Configuration of an agent. Made by [`AgentConfig::builder`], from JSON or from the environment.
        ///
        /// ```
        /// use core::time::Duration;
        /// # use guard_agent_proto::AgentConfig;
        ///
        /// let config = AgentConfig::builder("key-of-the-project")
        ///     .project_id("shop")
        ///     .flush_interval(Duration::from_secs(5))
        ///     .build()?;
        /// assert_eq!(config.buffer_size, 65_536);
        ///
        /// let error = AgentConfig::builder("short").rate_limit(1).build().unwrap_err();
        /// assert_eq!(error.problems.len(), 2);
        /// # Ok::<(), guard_agent_proto::ConfigError>(())
        /// ```
        ///
        /// # Secrets
        ///
        /// White space around a [`Secret`], such as the line end of the file that it was read from, is no part of it: it is
        /// taken off when the configuration is built, wherever it came from, and a warning says so. Whoever changes a
        /// field later, or rotates credentials, gets an error instead. A secret of white space alone is an error.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct AgentConfig {
            $($(#[$doc])* pub $field: $($type)+,)*
            /// Names that JSON or the environment gave and that no field has: they may be misspelled.
            pub unknown_fields: Vec<String>,
            /// What is to be said of names and values that were given; the start of an agent logs it.
            pub warnings: Vec<ConfigWarning>,
            pub(crate) variables: Variables,
        }

        impl Default for AgentConfigBuilder {
            /// The defaults, without an API key.
            fn default() -> Self {
                let config = AgentConfig {
                    $($field: $default,)*
                    unknown_fields: Vec::new(),
                    warnings: Vec::new(),
                    variables: Variables::default(),
                };
                Self { config, problems: Vec::new(), empty: BTreeMap::new(), wants_redis: false }
            }
        }

        impl AgentConfigBuilder {
            $(setter! { $(#[$doc])* $field: $($type)+ })*

            /// Whether there is a field of that name; takes its value over or notes what is wrong with it.
            fn merge_json_member(&mut self, name: &str, value: &serde_json::Value) -> bool {
                let Self { config, problems, .. } = self;
                let (warnings, variables) = (&mut config.warnings, &mut config.variables.0);
                let mut notes = Notes { problems, warnings, variables };
                match name {
                    $(stringify!($field) => merge_json_field(
                        stringify!($field), value, &mut config.$field, &mut notes,
                    ),)*
                    _ => return false,
                }
                true
            }

            /// Takes off white space around secrets, with a warning.
            fn trim_secrets(&mut self) {
                $(if self.config.$field.trim_secret() {
                    self.config.warn_of_space(stringify!($field));
                })*
            }

            /// The same from text.
            fn merge_text(&mut self, name: &str, text: &str) -> bool {
                let Self { config, problems, .. } = self;
                let (warnings, variables) = (&mut config.warnings, &mut config.variables.0);
                let mut notes = Notes { problems, warnings, variables };
                match name {
                    $(stringify!($field) => set_field(
                        stringify!($field), text, &mut config.$field, &mut notes,
                    ),)*
                    _ => return false,
                }
                true
            }
        }

        impl Serialize for AgentConfig {
            /// Every field as JSON has it. Secrets are written too, so that it can be read back: keep the
            /// result as safe as they are.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([$((stringify!($field), Field::to_json(&self.$field))),*])
            }
        }

        impl AgentConfig {
            /// The names of all fields.
            pub const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn check_ranges(&self, problems: &mut Vec<ConfigProblem>) {
                $($(problems.extend(Bounded::problem(&self.$field, stringify!($field), $range));)?)*
            }
        }
    };
}

config! {
    /// `false` makes an agent with the same interface that does nothing and needs no key.
    enabled: [bool] = true;
    /// Key of the platform's API: at least 10 printable ASCII characters.
    api_key: [Secret] = Secret::default();
    /// Base URL of the platform, `http` or `https`, without user name, query and fragment. Trailing slashes
    /// and one trailing `/api/v1` are taken off.
    endpoint: [String] = String::from("https://api.guard-core.com");
    /// Project; rules are fetched only with one. Printable ASCII, at most 256 bytes; blank is none.
    project_id: [Option<String>] = None;
    /// Records per kind in memory, 1 to 16,777,216. Default 65,536.
    buffer_size: [usize] = 65_536, within 1..=1 << 24;
    /// Bytes of encoded records per kind in memory, 1 KiB to 2 GiB. Default 64 MiB.
    buffer_bytes: [usize] = 64 << 20, within 1 << 10..=1 << 31;
    /// What happens when memory is full. Default: the oldest record of the event type that takes most of it is given up.
    buffer_overflow_policy: [OverflowPolicy] = OverflowPolicy::Drop;
    /// Fill level from which records do not wait for others to join their batch and the agent calls itself nearly full,
    /// in (0, 1]. Default 0.8.
    high_watermark_ratio: [f64] = 0.8;
    /// Longest wait of a metric, 10 ms to 1 day. Default 30 s.
    flush_interval: [Duration] = secs(30), within millis(10)..=DAY;
    /// Longest wait of an event for others to join its batch, at most 1 minute. Default 50 ms.
    event_linger: [Duration] = millis(50), within secs(0)..=secs(60);
    /// Most records in a batch, 1 to 100,000. Default 2,000.
    batch_max_records: [usize] = 2_000, within 1..=100_000;
    /// Most bytes in an uncompressed body, 1,024 to 262,144, which is what the platform takes. Default
    /// 262,144.
    batch_max_bytes: [usize] = 262_144, within 1_024..=262_144;
    /// Which waiting records go first. Default: new events go first, and leave every fourth batch to a backlog while
    /// they fill theirs; until then they take its oldest records along. Where not all fit, event types have equal shares.
    drain: [DrainOrder] = DrainOrder::LiveFirst;
    /// Longest time a record may wait, 1 s to 10 years; `None`, the default, is for ever. What was sent without an
    /// answer may have arrived, and is tried further.
    max_record_age: [Option<Duration>] = None, within secs(1)..=secs(3_650 * 86_400);
    /// Refused records that are kept for the application to read, at most 65,536. Default 64.
    dead_letter_capacity: [usize] = 64, within 0..=1 << 16;
    /// Requests in flight across lanes, 1 to 64; each lane has at most one. Default 4.
    max_concurrent_flushes: [usize] = 4, within 1..=64;
    /// Most requests in any window of `rate_window`, 10 to 100,000: less leaves no room for retries, status
    /// and rules beside events and metrics. Default 100, which is what the platform takes.
    rate_limit: [usize] = 100, within 10..=100_000;
    /// Length of that window, 1 s to 1 hour. Default 60 s.
    rate_window: [Duration] = secs(60), within secs(1)..=HOUR;
    /// Retries, at most 1,000, after which a batch counts as stuck: that is told, and if the answers are
    /// successes that report errors, its records are tried in parts. Nothing is given up. Default 3.
    retry_attempts: [u32] = 3, within 0..=1_000;
    /// First step of the exponential backoff, 1 ms to 5 minutes. Default 1 s.
    backoff_factor: [Duration] = secs(1), within millis(1)..=secs(300);
    /// Consecutive failures that open the circuit breaker, 1 to 1,000,000. Default 5.
    breaker_threshold: [u32] = 5, within 1..=1_000_000;
    /// Longest wait for a probe early in an outage, 10 ms to 1 hour. Default 5 s.
    breaker_recovery: [Duration] = secs(5), within millis(10)..=HOUR;
    /// Longest wait for a probe late in an outage, `breaker_recovery` to 1 day. Default 60 s.
    breaker_recovery_max: [Duration] = secs(60), within millis(10)..=DAY;
    /// Every 2xx that reports no failure counts as an acknowledgement, whatever its body, for backends of your own. The
    /// platform acknowledges with a JSON object, 201, 202 or 204; a 200 without content is a proxy's. Default `false`.
    accept_any_success: [bool] = false;
    /// Total time of a request, 1 ms to 1 hour. Default 30 s.
    timeout: [Duration] = secs(30), within millis(1)..=HOUR;
    /// Time to connect, 1 ms to `timeout`. Default 10 s, or `timeout` if that is less.
    connect_timeout: [Duration] = CONNECT_TIMEOUT, within millis(1)..=HOUR;
    /// Rules are polled at least that often, 60 s to 30 days. Default 300 s.
    dynamic_rule_interval: [Duration] = secs(300), within secs(60)..=MONTH;
    /// Every rules document that can be read replaces the one in force, as it is: one with the same `rule_id` and an older
    /// `version` too, and one that names none of the lists, which empties them. Default `false`: such ones are refused, which
    /// is reported, and the last good rules stay; one that switches `emergency_mode` without naming a list takes effect and
    /// leaves the lists. See [`DynamicRules`](crate::DynamicRules).
    accept_any_rules: [bool] = false;
    /// Event types after whose delivery the rules are not polled quickly. Default: those that report no
    /// attack, such as `security_headers_applied`.
    informational_event_types: [Vec<String>] = texts(&INFORMATIONAL_EVENT_TYPES);
    /// The status is pushed that often, 60 s to 30 days. Default 300 s.
    status_interval: [Duration] = secs(300), within secs(60)..=MONTH;
    /// Events are taken. Default `true`.
    enable_events: [bool] = true;
    /// Metrics are taken. Default `true`.
    enable_metrics: [bool] = true;
    /// Event types that are not sent (counted as filtered). Default none.
    muted_event_types: [Vec<String>] = Vec::new();
    /// Share of events of a type that is sent, in [0, 1]; the rest is counted as filtered. Default: all of
    /// every type.
    sample_rates: [BTreeMap<String, f64>] = BTreeMap::new();
    /// Names whose values are redacted, beside the built-in ones for cookies and keys; blank ones are
    /// ignored. Default `authorization`, `proxy-authorization`, `cookie`, `x-api-key`.
    sensitive_headers: [Vec<String>] = texts(&SENSITIVE_HEADERS);
    /// Query parameters whose values are redacted; blank ones are ignored. Default `key`, `token`,
    /// `password` and their like.
    sensitive_query_params: [Vec<String>] = texts(&SENSITIVE_QUERY_PARAMS);
    /// Longest string value of a record, in bytes, 64 to 131,072; each value is cut by itself. Default 1,024.
    max_payload_size: [usize] = 1_024, within 64..=1 << 17;
    /// Credentials that are redacted wherever they stand, by their shape. Default: all but card numbers.
    credential_rules: [Vec<CredentialRule>] = CREDENTIAL_RULES.to_vec();
    /// What is sent of addresses. Default: the address.
    ip_privacy: [IpPrivacy] = IpPrivacy::Full;
    /// Salt for hashing addresses, without which a hash of an address is as good as the address: it has to be given
    /// where they are hashed.
    ip_hash_salt: [Secret] = Secret::default();
    /// AES-256 key: 32 bytes in base64, URL-safe or standard; turns encryption on. A key that is given and cannot be used is
    /// an error, a blank one too; only an empty text is none, as for the other agents of the family, with a warning.
    project_encryption_key: [Option<Secret>] = None;
    /// Secret for the HMAC signature; turns signing on. Spaces within are part of it. A blank one is an error; only an empty
    /// text is none, as for the other agents of the family, with a warning.
    payload_signing_secret: [Option<Secret>] = None;
    /// Bodies are compressed. Default `true`.
    compression_enabled: [bool] = true;
    /// Smallest body that is compressed, in bytes. Default 1,024.
    compression_threshold: [usize] = 1_024;
    /// Version of the host's middleware, told to the platform; cut to 256 bytes.
    guard_version: [Option<String>] = None;
    /// Version of the host's engine, told to the platform; cut to 256 bytes.
    guard_core_version: [Option<String>] = None;
    /// Install id, instead of the one kept in the home directory. Printable ASCII, at most 4,096 bytes; blank
    /// is none.
    install_id: [Option<String>] = None;
    /// Redis for the journal, as a URL: see the page of the runtime crate for the schemes. It may hold user
    /// name and password, and never shows. `None`, the default, is no Redis.
    redis_url: [Option<Secret>] = None;
    /// What the names of all keys in Redis begin with: 1 to 128 printable ASCII characters without space,
    /// `{` and `}`. Agents with different prefixes know nothing of each other. Default `guard:agent`.
    redis_key_prefix: [String] = String::from("guard:agent");
    /// File with the certificates, in PEM, of the authority that signs those of Redis. Default: the
    /// authorities that the system trusts.
    redis_ca_file: [Option<String>] = None;
    /// Folder for a journal in files, for those without Redis; several agents of one user may share it. It has to belong
    /// to that user, and nobody else may be able to write to it, so name one of its own, such as
    /// `/var/lib/my-service/guard`, and not a temporary folder. `None`, the default, is no journal in files.
    journal_dir: [Option<String>] = None;
    /// Records per kind that may wait in memory and journal together, 1 to 4,294,967,296, and no fewer than
    /// `buffer_size`; beyond that the overflow policy applies. Without a journal it is without effect. Default
    /// 4,194,304.
    journal_records: [u64] = 1 << 22, within 1..=1 << 32;
    /// The same in bytes of encoded records, 1 KiB to 1 TiB, and no fewer than `buffer_bytes`. Default 2 GiB.
    journal_bytes: [u64] = 1 << 31, within 1 << 10..=1 << 40;
    /// Longest time until another agent takes over the journal of one that died, 1 s to 1 day; one that was
    /// suspended for longer starts anew. The store must answer within two fifths of that, else no lease can be kept.
    /// Default 30 s.
    journal_lease: [Duration] = secs(30), within secs(1)..=DAY;
    /// Total time of an operation on the journal, connecting included, 1 ms to 1 hour. Default 5 s.
    journal_timeout: [Duration] = secs(5), within millis(1)..=HOUR;
}

const SENSITIVE_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

const CREDENTIAL_RULES: [CredentialRule; 5] = [
    CredentialRule::UrlUserinfo,
    CredentialRule::AuthorizationScheme,
    CredentialRule::Jwt,
    CredentialRule::PemBlock,
    CredentialRule::KeyPrefix,
];

const SENSITIVE_QUERY_PARAMS: [&str; 28] = [
    "key",
    "api_key",
    "apikey",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "password",
    "passwd",
    "secret",
    "signature",
    "sig",
    "code",
    "session",
    "sessionid",
    "auth",
    "jwt",
    "pass",
    "pwd",
    "passphrase",
    "credential",
    "access_key",
    "account_key",
    "auth_key",
    "encryption_key",
    "private_key",
    "session_key",
    "signing_key",
];

const INFORMATIONAL_EVENT_TYPES: [&str; 14] = [
    event_type::SECURITY_HEADERS_APPLIED,
    event_type::PATH_EXCLUDED,
    event_type::ROUTE_UNRESOLVED,
    event_type::HTTPS_ENFORCED,
    event_type::REDIS_CONNECTION,
    event_type::REDIS_ERROR,
    event_type::DYNAMIC_RULE_APPLIED,
    event_type::DYNAMIC_RULE_UPDATED,
    event_type::PATTERN_ADDED,
    event_type::PATTERN_REMOVED,
    event_type::IP_UNBANNED,
    event_type::GEO_LOOKUP_FAILED,
    event_type::RATE_LIMIT_SCRIPT_RELOADED,
    event_type::DETECTION_ENGINE_CALLBACK_ERROR,
];

impl AgentConfig {
    /// Starts from the defaults.
    #[must_use]
    pub fn builder(api_key: impl Into<String>) -> AgentConfigBuilder {
        AgentConfigBuilder::default().api_key(api_key)
    }

    /// The configuration in a JSON object: names of the fields, durations as numbers of seconds. Absent
    /// fields keep their defaults; names that no field has are listed in `unknown_fields`. The object `redis` of
    /// other agents of the family is `redis_url`, `redis_key_prefix` and `journal_timeout`.
    ///
    /// ```
    /// # use guard_agent_proto::AgentConfig;
    ///
    /// let config = AgentConfig::from_json(r#"{"api_key":"0123456789","timeout":2.5,"colour":"red"}"#)?;
    /// assert_eq!(config.timeout.as_millis(), 2_500);
    /// assert_eq!(config.unknown_fields, ["colour"]);
    /// # Ok::<(), guard_agent_proto::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Every wrong type and every bound that is not kept, together.
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        AgentConfigBuilder::default().merge_json(json).build()
    }

    /// The configuration in environment variables: `GUARD_AGENT_` and the name of a field in capitals, such
    /// as `GUARD_AGENT_API_KEY`. See [`AgentConfigBuilder::merge_vars`].
    ///
    /// # Errors
    ///
    /// Every value that cannot be read and every bound that is not kept, together.
    #[cfg(feature = "std")]
    pub fn from_env() -> Result<Self, ConfigError> {
        AgentConfigBuilder::default().merge_env().build()
    }

    fn warn_of_space(&mut self, field: &'static str) {
        let variable = self.variables.0.get(field).cloned();
        self.warnings.push(ConfigWarning::Trimmed { field, variable });
    }

    /// Says of the values that are an environment variable's which one it is.
    pub(crate) fn name_variables(&self, problems: &mut [ConfigProblem]) {
        for problem in problems {
            self.variables.0.get(problem.field).into_iter().for_each(|variable| problem.is_from(variable));
        }
    }

    /// Checks every bound. [`AgentConfigBuilder::build`] did so; fields may have been changed since.
    ///
    /// # Errors
    ///
    /// Every problem, together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.check(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    fn check(&self, problems: &mut Vec<ConfigProblem>) {
        self.check_ranges(problems);
        self.check_texts(problems);
        let ratio = self.high_watermark_ratio;
        if !(ratio > 0.0 && ratio <= 1.0) {
            problems.push(problem("high_watermark_ratio", ratio.show(), "more than 0 and at most 1"));
        }
        for (event_type, rate) in &self.sample_rates {
            if !(0.0..=1.0).contains(rate) {
                let value = format!("{rate} for {event_type:?}");
                problems.push(problem("sample_rates", value, "between 0 and 1"));
            }
        }
        if self.ip_privacy == IpPrivacy::Hash && self.ip_hash_salt.expose().trim().is_empty() {
            let bound = "a random text that others do not know: without it every hash can be tried out";
            problems.push(problem("ip_hash_salt", String::from("missing"), bound));
        }
        if self.connect_timeout > self.timeout {
            let bound = format!("at most `timeout`, {}", self.timeout.show());
            problems.push(problem("connect_timeout", self.connect_timeout.show(), bound));
        }
        if self.redis_url.is_some() && self.journal_dir.is_some() {
            problems.push(problem(
                "journal_dir",
                self.journal_dir.show(),
                "absent where `redis_url` is given",
            ));
        }
        if self.redis_url.is_some() || self.journal_dir.is_some() {
            let quotas = [
                ("journal_records", self.journal_records, "buffer_size", self.buffer_size),
                ("journal_bytes", self.journal_bytes, "buffer_bytes", self.buffer_bytes),
            ];
            for (field, quota, of_memory, most) in quotas {
                if quota < most as u64 {
                    let bound = format!("at least `{of_memory}`, {most}: it counts what is in memory too");
                    problems.push(problem(field, quota.show(), bound));
                }
            }
        }
        if self.breaker_recovery > self.breaker_recovery_max {
            let bound = format!("at most `breaker_recovery_max`, {}", self.breaker_recovery_max.show());
            problems.push(problem("breaker_recovery", self.breaker_recovery.show(), bound));
        }
    }

    fn check_texts(&self, problems: &mut Vec<ConfigProblem>) {
        if let Err(bound) = endpoint::check(&self.endpoint) {
            problems.push(problem("endpoint", endpoint::show(&self.endpoint), bound));
        }
        // An agent that does nothing needs no key.
        if self.enabled || !self.api_key.expose().is_empty() {
            problems.extend(wire::api_key_problem(&self.api_key));
        }
        for (field, id) in [("project_id", &self.project_id), ("install_id", &self.install_id)] {
            problems.extend(id.as_ref().and_then(|id| wire::header_problem(field, id)));
        }
        problems.extend(wire::encryption_key_problem(self));
        problems.extend(wire::signing_secret_problem(self.payload_signing_secret.as_ref()));
        let paths = [("redis_ca_file", &self.redis_ca_file), ("journal_dir", &self.journal_dir)];
        let paths =
            paths.map(|(field, path)| (field, path.as_deref(), "the path of a file or folder, or absent"));
        let url = self.redis_url.as_ref().map(Secret::expose);
        for (field, text, bound) in [("redis_url", url, "a URL, or absent")].into_iter().chain(paths) {
            if text.is_some_and(|text| text.trim().is_empty()) {
                problems.push(problem(field, String::from(BLANK), bound));
            }
        }
        let prefix = &self.redis_key_prefix;
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
        if !(1..=MAX_PREFIX_LEN).contains(&prefix.len()) || !prefix.bytes().all(plain) {
            let bound =
                format!("1 to {MAX_PREFIX_LEN} printable ASCII characters without space, `{{` and `}}`");
            problems.push(problem("redis_key_prefix", prefix.show(), bound));
        }
        for (field, text, most) in [
            ("project_id", &self.project_id, MAX_ID_LEN),
            ("install_id", &self.install_id, MAX_INSTALL_ID_LEN),
            ("guard_version", &self.guard_version, MAX_ID_LEN),
            ("guard_core_version", &self.guard_core_version, MAX_ID_LEN),
        ] {
            if let Some(len) = text.as_ref().map(String::len).filter(|len| *len > most) {
                let bound = format!("at most {most} bytes long");
                problems.push(problem(field, format!("{len} bytes long"), bound));
            }
        }
    }
}

/// A field whose values have a smallest and a largest.
trait Bounded {
    type Bound: Field + PartialOrd;

    fn value(&self) -> Option<&Self::Bound>;

    fn problem(
        &self,
        field: &'static str,
        range: core::ops::RangeInclusive<Self::Bound>,
    ) -> Option<ConfigProblem> {
        let value = self.value().filter(|value| !range.contains(value))?;
        let bound = format!("between {} and {}", range.start().show(), range.end().show());
        Some(problem(field, value.show(), bound))
    }
}

macro_rules! bounded {
    ($($type:ty),*) => {
        $(impl Bounded for $type {
            type Bound = Self;

            fn value(&self) -> Option<&Self> {
                Some(self)
            }
        })*
    };
}

bounded!(usize, u32, u64, Duration);

impl Bounded for Option<Duration> {
    type Bound = Duration;

    fn value(&self) -> Option<&Duration> {
        self.as_ref()
    }
}

impl<'de> Deserialize<'de> for AgentConfig {
    /// As [`AgentConfig::from_json`] does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        AgentConfigBuilder::default().merge_json(json.to_string()).build().map_err(D::Error::custom)
    }
}

/// Fields that protect, and what holds without. Empty ones are not passed over in silence: a variable was not set perhaps.
const PROTECTING: [(&str, &str); 5] = [
    (ENCRYPTION_KEY, "records are not encrypted"),
    (SIGNING_SECRET, "requests are not signed"),
    ("redis_url", "there is no journal in Redis"),
    ("redis_ca_file", "the authorities that the system trusts sign for Redis"),
    ("journal_dir", "there is no journal in files"),
];
const ENCRYPTION_KEY: &str = "project_encryption_key";
const SIGNING_SECRET: &str = "payload_signing_secret";

/// What a message has in place of a secret.
const HIDDEN: &str = "[secret]";

/// What a message says of a text without anything in it.
const BLANK: &str = "blank";

fn problem(field: &'static str, value: String, bound: impl Into<String>) -> ConfigProblem {
    ConfigProblem { field, value, bound: bound.into() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().copied().map(String::from).collect()
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Text that never shows itself in `Debug`, and is overwritten where it was once nobody needs it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// What happens to records when memory is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverflowPolicy {
    /// The oldest record of the event type that takes most memory is given up for the new one, so that a flood of one
    /// type crowds out no other. With [`DrainOrder::Fifo`], and of metrics, it is the oldest of all.
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
    /// New events go first: a batch that they do not fill takes the oldest records of the backlog along, and of those
    /// that they fill three of four are theirs while a backlog drains, and a quarter of the fourth, where they are of
    /// several types.
    ///
    /// Event types have equal shares of a batch that cannot hold all that waits: among `n` types that flood, any other
    /// has up to one part in `n + 1` of the bytes, and what a type has no use for is the others'. So it leaves with the
    /// next batch, however much waits. What does not fit the next batch moves to the backlog, and what memory cannot
    /// hold is given up, the largest type first. Order holds within a type. The 39 types of
    /// [`event_type`](crate::event_type) are told apart, others are by a hash of their names, in 216 classes.
    #[default]
    LiveFirst,
    /// Strictly in the order of acceptance, whatever the types: a flood of one keeps all others waiting.
    Fifo,
}

/// A shape by which credentials are known, whatever they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CredentialRule {
    /// The password in `scheme://user:password@host`: `url_userinfo`.
    UrlUserinfo,
    /// What stands behind `Bearer` or `Basic`: `authorization_scheme`.
    AuthorizationScheme,
    /// JSON web tokens: `jwt`.
    Jwt,
    /// Keys and certificates between `-----BEGIN …-----` and `-----END …-----`: `pem_block`.
    PemBlock,
    /// Keys with a prefix that their service gives them, such as `AKIA` or `ghp_`: `key_prefix`.
    KeyPrefix,
    /// Numbers of 13 to 19 digits, in groups or not, whose last one checks the others as on payment cards:
    /// `card_number`. Off by default: one of ten numbers of that length passes the check.
    CardNumber,
}

/// What is sent of the addresses of clients: of an event's own, and of those under names such as `x-forwarded-for`,
/// `forwarded`, `x-real-ip`, `client_ip` and `ip`, as members, in text and in queries.
///
/// Addresses that stand elsewhere in text, or that text writes in another way than an address, are not found.
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

/// Something to know about a configuration that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigWarning {
    /// A value was out of bounds, and the nearest within is used.
    Clamped {
        /// Name of the field.
        field: &'static str,
        /// The value as given.
        given: String,
        /// The value that is used.
        used: String,
    },
    /// An empty value protects nothing; it counts as none.
    Empty {
        /// Name of the field.
        field: &'static str,
        /// The environment variable, if it is one's value.
        variable: Option<String>,
        /// What that means.
        effect: &'static str,
    },
    /// A secret had white space around it, which is taken off.
    Trimmed {
        /// Name of the field.
        field: &'static str,
        /// The environment variable, if it is one's value.
        variable: Option<String>,
    },
    /// No field has that name.
    Unknown {
        /// The name as given.
        name: String,
        /// The name, spelled in the same way, of the field that may be meant.
        similar: Option<String>,
    },
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::Clamped { field, given, used } => {
                printable(format_args!("`{field}` is {given}: {used} is used"))
            }
            Self::Empty { field, variable, effect } => {
                printable(format_args!("`{field}` is empty{}: {effect}", from(variable)))
            }
            Self::Trimmed { field, variable } => printable(format_args!(
                "`{field}` has white space around it, such as a line end{}: it is used without",
                from(variable)
            )),
            Self::Unknown { name, similar: Some(similar) } => {
                printable(format_args!("the configuration has no field `{name}`; is `{similar}` meant?"))
            }
            Self::Unknown { name, similar: None } => {
                printable(format_args!("the configuration has no field `{name}`"))
            }
        })
    }
}

fn from(variable: &Option<String>) -> String {
    variable.as_ref().map(|variable| format!(" (from {variable})")).unwrap_or_default()
}

/// The environment variable that each field has its value from. Configurations with the same values are equal without.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables(BTreeMap<&'static str, String>);

impl PartialEq for Variables {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Every problem of a configuration. `Debug` shows what `Display` does, for `fn main() -> Result<…>`.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Name of the field.
    pub field: &'static str,
    /// Its value, and the environment variable that it is from; `[secret]` for secrets.
    pub value: String,
    /// What it must be.
    pub bound: String,
}

impl ConfigProblem {
    /// The value is that of an environment variable.
    fn is_from(&mut self, variable: &str) {
        self.value = format!("{} (from {variable})", self.value);
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration: ")?;
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            let ConfigProblem { field, value, bound } = problem;
            f.write_str(&printable(format_args!("`{field}` is {value} but must be {bound}")))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests;
