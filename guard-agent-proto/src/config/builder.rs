use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde_json::Value;
use zeroize::Zeroize as _;

use super::field::Field;
use super::{
    AgentConfig, BLANK, CONNECT_TIMEOUT, ConfigError, ConfigProblem, ConfigWarning, DAY, ENCRYPTION_KEY,
    HIDDEN, HOUR, MAX_ID_LEN, MONTH, PROTECTING, SIGNING_SECRET, endpoint, millis, problem, secs,
};

const PREFIX: &str = "GUARD_AGENT_";

/// Builds an [`AgentConfig`]: setters, JSON, environment variables and `NAME=VALUE` pairs, in any order;
/// what is given later wins. Problems are gathered and reported by [`build`](Self::build), all together.
///
/// ```
/// # use guard_agent_proto::AgentConfigBuilder;
///
/// let config = AgentConfigBuilder::default()
///     .merge_json(r#"{"api_key":"0123456789","buffer_size":1000}"#)
///     .merge_vars([("GUARD_AGENT_PROJECT_ID", "shop"), ("PATH", "/bin")])
///     .set("buffer_size", "2000")
///     .build()?;
/// assert_eq!(config.buffer_size, 2_000);
/// assert_eq!(config.project_id.as_deref(), Some("shop"));
/// # Ok::<(), guard_agent_proto::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct AgentConfigBuilder {
    pub(super) config: AgentConfig,
    pub(super) problems: Vec<ConfigProblem>,
    /// Fields that were given empty, and the variable if it was one.
    pub(super) empty: BTreeMap<&'static str, Option<String>>,
    /// A nested `redis` came: a journal is wanted.
    pub(super) wants_redis: bool,
}

impl AgentConfigBuilder {
    /// Takes over the members of a JSON object: see [`AgentConfig::from_json`].
    #[must_use]
    pub fn merge_json(mut self, json: impl AsRef<[u8]>) -> Self {
        match serde_json::from_slice(json.as_ref()) {
            Ok(Value::Object(members)) => {
                for (name, value) in members {
                    if name == "redis" {
                        self.merge_redis(&value);
                    } else if !self.merge_json_member(&name, &value) {
                        self.unknown(&name, "");
                    }
                    overwrite(value);
                }
            }
            Ok(_) => self.problems.push(problem("JSON", String::from("something else"), "an object")),
            Err(error) => self.problems.push(problem("JSON", format!("not readable ({error})"), "an object")),
        }
        self
    }

    /// Takes over the variables whose names start with `GUARD_AGENT_`, followed by the name of a field in
    /// capitals. Numbers, durations (in seconds) and words as in JSON; `true`, `false`, `1` or `0`; lists
    /// separated by commas; `sample_rates` as `type=0.5,other=0`. An empty variable is as good as none, with a warning
    /// where the field protects.
    #[must_use]
    pub fn merge_vars<N: AsRef<str>, V: AsRef<str>>(
        mut self,
        vars: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        for (name, value) in vars {
            let (name, value) = (name.as_ref(), value.as_ref());
            let Some(field) = name.strip_prefix(PREFIX) else { continue };
            let field = field.to_ascii_lowercase();
            if value.is_empty() {
                self.note_empty(&field, Some(name));
                continue;
            }
            let known = self.problems.len();
            if self.merge_text(&field, value) {
                self.problems.iter_mut().skip(known).for_each(|problem| problem.is_from(name));
                if let Some(field) = AgentConfig::FIELDS.iter().find(|known| **known == field) {
                    self.config.variables.0.insert(field, name.to_string());
                }
            } else {
                self.unknown(&field, PREFIX);
            }
        }
        self
    }

    /// Takes over the environment of the process: see [`merge_vars`](Self::merge_vars).
    #[cfg(feature = "std")]
    #[must_use]
    pub fn merge_env(mut self) -> Self {
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            match value.into_string().map(zeroize::Zeroizing::new) {
                Ok(value) => self = self.merge_vars([(name, value.as_str())]),
                Err(_) => self.problems.push(problem("environment", format!("not UTF-8 in {name}"), "UTF-8")),
            }
        }
        self
    }

    /// Sets a field by name, from text as in [`merge_vars`](Self::merge_vars): what `--set NAME=VALUE` of a
    /// command line needs. An unknown name is a problem here; an empty text is an empty value, which of `redis_url`,
    /// `redis_ca_file` and `journal_dir` is a problem (`none` says it on purpose).
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        if value.is_empty() && self.note_empty(name, None) {
            // `none` says it on purpose; an empty journal or authority does not.
            let wanted = ["redis_url", "redis_ca_file", "journal_dir"];
            if let Some(field) = wanted.into_iter().find(|field| *field == name) {
                self.problems.push(problem(field, String::from(BLANK), "given, or `none`"));
            }
        }
        if !self.merge_text(name, value) {
            let similar = similar(name).map(|field| format!(", such as `{field}`")).unwrap_or_default();
            let bound = format!("that of a configuration field{similar}");
            self.problems.push(problem("field name", format!("{name:?}"), bound));
        }
        self
    }

    /// Checks every bound. A value that other agents of the family take and that harms nobody is brought into its
    /// bounds, and `warnings` of the configuration says so.
    ///
    /// # Errors
    ///
    /// Every problem, together: each names the field, its value (unless that is secret) and the bound.
    pub fn build(mut self) -> Result<AgentConfig, ConfigError> {
        self.normalize();
        let readable = |problem: &ConfigProblem| problem.field != "redis_url";
        if self.wants_redis && self.config.redis_url.is_none() && self.problems.iter().all(readable) {
            self.problems.push(problem(
                "redis",
                String::from("without `url`"),
                "an object with one, such as redis://host",
            ));
        }
        let unreadable: Vec<_> = self.problems.iter().map(|problem| problem.field).collect();
        let mut problems = Vec::new();
        self.config.check(&mut problems);
        self.config.name_variables(&mut problems);
        // A field that could not be read still has its default, about which there is nothing to say.
        self.problems.extend(problems.into_iter().filter(|problem| !unreadable.contains(&problem.field)));
        if self.problems.is_empty() { Ok(self.config) } else { Err(ConfigError { problems: self.problems }) }
    }

    /// Notes that a field which protects was given without a value; whether it is one.
    fn note_empty(&mut self, name: &str, variable: Option<&str>) -> bool {
        let known = PROTECTING.iter().find(|(field, _)| *field == name);
        if let Some((field, _)) = known {
            self.empty.insert(field, variable.map(String::from));
        }
        known.is_some()
    }

    /// Empty keys are none, as for other agents of the family, and a warning says so.
    fn drop_empty(&mut self) {
        let config = &mut self.config;
        for (field, secret) in [
            (ENCRYPTION_KEY, &mut config.project_encryption_key),
            (SIGNING_SECRET, &mut config.payload_signing_secret),
        ] {
            if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
                *secret = None;
                self.empty.entry(field).or_default();
            }
        }
        for (field, effect) in PROTECTING {
            let is_none = match field {
                ENCRYPTION_KEY => config.project_encryption_key.is_none(),
                SIGNING_SECRET => config.payload_signing_secret.is_none(),
                "redis_url" => config.redis_url.is_none(),
                "redis_ca_file" => config.redis_ca_file.is_none(),
                _ => config.journal_dir.is_none(),
            };
            if let Some(variable) = self.empty.remove(field).filter(|_| is_none) {
                config.warnings.push(ConfigWarning::Empty { field, variable, effect });
            }
        }
    }

    /// Takes over the object that other agents of the family have for their Redis.
    fn merge_redis(&mut self, value: &Value) {
        const MEMBERS: [(&str, &str); 3] = [
            ("url", "redis_url"),
            ("key_prefix", "redis_key_prefix"),
            ("command_timeout_ms", "journal_timeout"),
        ];
        let members = match value {
            Value::Null => return,
            Value::Object(members) => members,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                // It may be a URL with a password.
                let bound =
                    "an object of `url`, `key_prefix` and `command_timeout_ms`; a URL alone is `redis_url`";
                return self.problems.push(problem("redis", String::from(HIDDEN), bound));
            }
        };
        self.wants_redis = true;
        for (name, value) in members {
            let Some((_, field)) = MEMBERS.iter().find(|(member, _)| member == name) else {
                self.unknown(name, "redis.");
                continue;
            };
            let seconds = match value.as_f64() {
                Some(millis) if name == "command_timeout_ms" => Value::from(millis / 1_000.0),
                Some(_) | None => value.clone(),
            };
            self.merge_json_member(field, &seconds);
        }
    }

    /// Notes a name that no field has. With the prefix of the environment it is in lower case.
    fn unknown(&mut self, name: &str, prefix: &str) {
        let spelled = |name: &str| match prefix {
            PREFIX => format!("{PREFIX}{}", name.to_ascii_uppercase()),
            _ => format!("{prefix}{name}"),
        };
        let similar = similar(name).map(|field| match prefix {
            PREFIX => spelled(field),
            _ => String::from(field),
        });
        let given = spelled(name);
        self.config.warnings.push(ConfigWarning::Unknown { name: given.clone(), similar });
        self.config.unknown_fields.push(given);
    }

    /// Brings values that other agents of the family take into their bounds, where that harms nobody.
    fn soften(&mut self) {
        let config = &mut self.config;
        let warnings = &mut config.warnings;
        macro_rules! at_most {
            ($($field:ident: $most:expr),* $(,)?) => {
                $(soften(stringify!($field), &mut config.$field, None, Some($most), warnings);)*
            };
        }
        macro_rules! at_least {
            ($($field:ident: $least:expr),* $(,)?) => {
                $(soften(stringify!($field), &mut config.$field, Some($least), None, warnings);)*
            };
        }
        at_most! {
            buffer_size: 1 << 24,
            flush_interval: DAY,
            dynamic_rule_interval: MONTH,
            status_interval: MONTH,
            timeout: HOUR,
            retry_attempts: 1_000,
            backoff_factor: secs(300),
            max_concurrent_flushes: 64,
            max_payload_size: 1 << 17,
            high_watermark_ratio: 1.0,
        }
        at_least! {
            max_concurrent_flushes: 1,
            max_payload_size: 64,
        }
        // Zero is refused everywhere.
        if !config.backoff_factor.is_zero() {
            at_least! { backoff_factor: millis(1) }
        }
        if config.high_watermark_ratio <= 0.0 {
            at_least! { high_watermark_ratio: 0.01 }
        }
        for (field, text) in [
            ("guard_version", &mut config.guard_version),
            ("guard_core_version", &mut config.guard_core_version),
        ] {
            let Some(version) = text.as_mut().filter(|text| text.len() > MAX_ID_LEN) else { continue };
            let given = format!("{} bytes long", version.len());
            version.truncate((0..=MAX_ID_LEN).rev().find(|end| version.is_char_boundary(*end)).unwrap_or(0));
            warnings.push(ConfigWarning::Clamped {
                field,
                given,
                used: format!("its beginning of {MAX_ID_LEN} bytes"),
            });
        }
    }

    fn normalize(&mut self) {
        self.soften();
        self.trim_secrets();
        self.drop_empty();
        let config = &mut self.config;
        if let Ok(base) = endpoint::normalize(&config.endpoint) {
            config.endpoint = base;
        }
        for id in [&mut config.project_id, &mut config.install_id] {
            *id = id.take().map(|id| id.trim().to_string()).filter(|id| !id.is_empty());
        }
        for names in [&mut config.sensitive_headers, &mut config.sensitive_query_params] {
            names.retain(|name| !name.trim().is_empty());
        }
        if config.connect_timeout == CONNECT_TIMEOUT {
            config.connect_timeout = CONNECT_TIMEOUT.min(config.timeout);
        }
    }
}

impl fmt::Debug for AgentConfigBuilder {
    /// Without the values: the endpoint may still hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfigBuilder").finish_non_exhaustive()
    }
}

fn soften<T: Field + PartialOrd>(
    field: &'static str,
    place: &mut T,
    least: Option<T>,
    most: Option<T>,
    warnings: &mut Vec<ConfigWarning>,
) {
    let below = least.filter(|least| *place < *least);
    if let Some(bound) = below.or_else(|| most.filter(|most| *place > *most)) {
        warnings.push(ConfigWarning::Clamped { field, given: place.show(), used: bound.show() });
        *place = bound;
    }
}

/// Overwrites the texts of a value that may hold secrets.
fn overwrite(value: Value) {
    match value {
        Value::String(mut text) => text.zeroize(),
        Value::Array(values) => values.into_iter().for_each(overwrite),
        Value::Object(members) => members.into_iter().for_each(|(_, value)| overwrite(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Fields of which other agents of the family take a negative number for none.
const ZERO_IF_NEGATIVE: [&str; 3] = ["compression_threshold", "max_concurrent_flushes", "max_payload_size"];

fn is_negative(field: &str, number: Option<i64>) -> bool {
    ZERO_IF_NEGATIVE.contains(&field) && number.is_some_and(|number| number < 0)
}

pub(super) fn merge_json_field<T: Field>(
    field: &'static str,
    value: &Value,
    place: &mut T,
    builder: &mut Notes<'_>,
) {
    builder.variables.remove(field);
    let read = match T::from_json(value) {
        None if is_negative(field, value.as_i64()) => builder.zero(field, value.to_string()),
        read => read,
    };
    match read {
        Some(value) => *place = value,
        None => builder.problems.push(unreadable::<T>(field, value.to_string())),
    }
}

pub(super) fn set_field<T: Field>(field: &'static str, text: &str, place: &mut T, builder: &mut Notes<'_>) {
    builder.variables.remove(field);
    let read = match T::from_text(text) {
        None if is_negative(field, text.parse().ok()) => builder.zero(field, String::from(text)),
        read => read,
    };
    match read {
        Some(value) => *place = value,
        None => builder.problems.push(unreadable::<T>(field, format!("{text:?}"))),
    }
}

/// Where to note what is to be said of a field.
pub(super) struct Notes<'a> {
    pub(super) problems: &'a mut Vec<ConfigProblem>,
    pub(super) warnings: &'a mut Vec<ConfigWarning>,
    pub(super) variables: &'a mut BTreeMap<&'static str, String>,
}

impl Notes<'_> {
    fn zero<T: Field>(&mut self, field: &'static str, given: String) -> Option<T> {
        self.warnings.push(ConfigWarning::Clamped { field, given, used: String::from("0") });
        T::from_text("0")
    }
}

fn unreadable<T: Field>(field: &'static str, mut value: String) -> ConfigProblem {
    if T::SECRET || field == "endpoint" {
        value = String::from(HIDDEN);
    } else if let Some((at, _)) = value.char_indices().nth(64) {
        value.truncate(at);
        value.push('…');
    }
    problem(field, value, T::EXPECTED)
}

/// A setter takes what is convenient for the type of its field.
macro_rules! setter {
    ($(#[$doc:meta])* $field:ident: String) => {
        setter! { $(#[$doc])* $field(impl Into<String>) = |value| value.into() }
    };
    ($(#[$doc:meta])* $field:ident: Secret) => {
        setter! { $(#[$doc])* $field(impl Into<String>) = |value| Secret::new(value) }
    };
    ($(#[$doc:meta])* $field:ident: Option<String>) => {
        setter! { $(#[$doc])* $field(impl Into<String>) = |value| Some(value.into()) }
    };
    ($(#[$doc:meta])* $field:ident: Option<Secret>) => {
        setter! { $(#[$doc])* $field(impl Into<String>) = |value| Some(Secret::new(value)) }
    };
    ($(#[$doc:meta])* $field:ident: Option<Duration>) => {
        setter! { $(#[$doc])* $field(impl Into<Option<Duration>>) = |value| value.into() }
    };
    ($(#[$doc:meta])* $field:ident: Vec<String>) => {
        setter! {
            $(#[$doc])* $field(impl IntoIterator<Item = impl Into<String>>)
                = |values| values.into_iter().map(Into::into).collect()
        }
    };
    ($(#[$doc:meta])* $field:ident: BTreeMap<String, f64>) => {
        setter! {
            $(#[$doc])* $field(impl IntoIterator<Item = (impl Into<String>, f64)>)
                = |values| values.into_iter().map(|(name, value)| (name.into(), value)).collect()
        }
    };
    ($(#[$doc:meta])* $field:ident: $type:ty) => {
        setter! { $(#[$doc])* $field($type) = |value| value }
    };
    ($(#[$doc:meta])* $field:ident($argument:ty) = |$value:ident| $convert:expr) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $value: $argument) -> Self {
            self.config.$field = $convert;
            self.config.variables.0.remove(stringify!($field));
            self
        }
    };
}

pub(super) use setter;

/// The field whose name is most like that one, if any is.
fn similar(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    // The host's own options have the prefix.
    let name = name.strip_prefix("agent_").unwrap_or(&name);
    let nearest = AgentConfig::FIELDS.iter().map(|field| (distance(name, field), *field)).min()?;
    (nearest.0 <= nearest.1.len().min(name.len()) / 3).then_some(nearest.1)
}

/// How many bytes must be inserted, removed or replaced to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.bytes().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, other) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
