use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde_json::Value;

use super::field::Field;
use super::{AgentConfig, CONNECT_TIMEOUT, ConfigError, ConfigProblem, HIDDEN, endpoint, problem};

const PREFIX: &str = "GUARD_AGENT_";

/// Builds an [`AgentConfig`]: setters, JSON, environment variables and `NAME=VALUE` pairs, in any order;
/// what is given later wins. Problems are gathered and reported by [`build`](Self::build), all together.
///
/// ```
/// use guard_agent_proto::AgentConfigBuilder;
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
}

impl AgentConfigBuilder {
    /// Takes over the members of a JSON object: see [`AgentConfig::from_json`].
    #[must_use]
    pub fn merge_json(mut self, json: impl AsRef<[u8]>) -> Self {
        match serde_json::from_slice(json.as_ref()) {
            Ok(Value::Object(members)) => {
                for (name, value) in &members {
                    if !self.merge_json_member(name, value) {
                        self.config.unknown_fields.push(name.clone());
                    }
                }
            }
            Ok(_) => self.problems.push(problem("JSON", String::from("something else"), "an object")),
            Err(error) => self.problems.push(problem("JSON", format!("not readable ({error})"), "an object")),
        }
        self
    }

    /// Takes over the variables whose names start with `GUARD_AGENT_`, followed by the name of a field in
    /// capitals. Numbers, durations (in seconds) and words as in JSON; `true`, `false`, `1` or `0`; lists
    /// separated by commas; `sample_rates` as `type=0.5,other=0`. An empty variable is as good as none.
    #[must_use]
    pub fn merge_vars<N: AsRef<str>, V: AsRef<str>>(
        mut self,
        vars: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        for (name, value) in vars {
            let (name, value) = (name.as_ref(), value.as_ref());
            let Some(field) = name.strip_prefix(PREFIX) else { continue };
            if !value.is_empty() && !self.merge_text(&field.to_ascii_lowercase(), value) {
                self.config.unknown_fields.push(name.to_string());
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
            match value.to_str() {
                Some(value) => self = self.merge_vars([(name, value)]),
                None => self.problems.push(problem("environment", format!("not UTF-8 in {name}"), "UTF-8")),
            }
        }
        self
    }

    /// Sets a field by name, from text as in [`merge_vars`](Self::merge_vars): what `--set NAME=VALUE` of a
    /// command line needs. An unknown name is a problem here; an empty text is an empty value.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        if !self.merge_text(name, value) {
            self.problems.push(problem("field name", format!("{name:?}"), "that of a configuration field"));
        }
        self
    }

    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// Every problem, together: each names the field, its value (unless that is secret) and the bound.
    pub fn build(mut self) -> Result<AgentConfig, ConfigError> {
        self.normalize();
        let unreadable: Vec<_> = self.problems.iter().map(|problem| problem.field).collect();
        let mut problems = Vec::new();
        self.config.check(&mut problems);
        // A field that could not be read still has its default, about which there is nothing to say.
        self.problems.extend(problems.into_iter().filter(|problem| !unreadable.contains(&problem.field)));
        if self.problems.is_empty() { Ok(self.config) } else { Err(ConfigError { problems: self.problems }) }
    }

    fn normalize(&mut self) {
        let config = &mut self.config;
        if let Ok(base) = endpoint::normalize(&config.endpoint) {
            config.endpoint = base;
        }
        for id in [&mut config.project_id, &mut config.install_id] {
            *id = id.take().map(|id| id.trim().to_string()).filter(|id| !id.is_empty());
        }
        for secret in [&mut config.project_encryption_key, &mut config.payload_signing_secret] {
            *secret = secret.take().filter(|secret| !secret.expose().is_empty());
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

pub(super) fn merge_json_field<T: Field>(
    field: &'static str,
    value: &Value,
    place: &mut T,
    problems: &mut Vec<ConfigProblem>,
) {
    match T::from_json(value) {
        Some(value) => *place = value,
        None => problems.push(unreadable::<T>(field, value.to_string())),
    }
}

pub(super) fn set_field<T: Field>(
    field: &'static str,
    text: &str,
    place: &mut T,
    problems: &mut Vec<ConfigProblem>,
) {
    match T::from_text(text) {
        Some(value) => *place = value,
        None => problems.push(unreadable::<T>(field, format!("{text:?}"))),
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
            self
        }
    };
}

pub(super) use setter;
