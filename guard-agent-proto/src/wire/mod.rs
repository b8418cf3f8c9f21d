//! The bytes on the wire: requests, and what answers mean.

mod aes;
mod body;
mod derive;
mod echo;
mod encrypt;
mod response;
mod retry_after;
mod rules;
mod sign;

pub(crate) use response::{ItemRef, Verdict, judge};
pub(crate) use retry_after::{parse_retry_after, sent_at};
pub(crate) use rules::{Named, RulesAnswer, parse_rules};

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt;

use self::body::Frame;
pub(crate) use self::encrypt::{Cipher, ProjectKey};
use self::sign::Signer;
use crate::{AgentConfig, Batch, ConfigError, ConfigProblem, Kind, Payload, Secret};

const USER_AGENT: &str = concat!("guard-agent-rust/", env!("CARGO_PKG_VERSION"));
const SECRET: &str = "[secret]";
const BLANK: &str = "blank";
const MIN_API_KEY_LEN: usize = 10;

/// Turns [`Payload`]s into HTTP requests: paths, headers, envelope, encryption, compression, signature.
///
/// Pure and deterministic: the same payload gives the same bytes.
///
/// ```
/// # use guard_agent_proto::{AgentConfig, Payload, wire::Wire};
///
/// # fn main() -> Result<(), guard_agent_proto::ConfigError> {
/// let config = AgentConfig::builder("an-api-key").build()?;
/// let wire = Wire::new(&config, "install-1")?;
/// let request = wire.encode(&Payload::Rules { etag: None }, |body, _| body.to_vec());
/// assert_eq!(request.url, "https://api.guard-core.com/api/v1/rules");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Wire {
    endpoint: String,
    install_id: Secret,
    project_id: Option<Secret>,
    api_key: Secret,
    signer: Option<Signer>,
    key: Option<ProjectKey>,
    /// Smallest body that is compressed; `None` compresses nothing.
    compress_from: Option<usize>,
    frame: Frame,
}

/// What is in a body that is to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Plain JSON.
    Json,
    /// JSON with ciphertext in base64, off which compression takes a quarter at most, at many times the cost.
    Ciphertext,
}

/// An HTTP request, ready to be sent to the configured endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `POST` or `GET`.
    pub method: &'static str,
    /// Base URL and path.
    pub url: String,
    /// Names in lower case, in a fixed order. Values are printable ASCII.
    pub headers: Vec<(&'static str, Secret)>,
    /// The body as sent; empty for `GET`.
    pub body: Vec<u8>,
}

/// What can be rotated without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// Key of the platform's API: at least 10 printable ASCII characters.
    pub api_key: Secret,
    /// Secret of the signature; `None` turns signing off, and an empty or blank one is an error.
    pub payload_signing_secret: Option<Secret>,
}

impl Wire {
    /// The wire of that configuration and install id.
    ///
    /// # Errors
    ///
    /// Names every one of `api_key`, `project_id` and `install_id` that no header can carry, a blank
    /// `payload_signing_secret`, and a `project_encryption_key` that is not the URL-safe base64 of 32 bytes. There is no
    /// fallback to plaintext.
    pub fn new(config: &AgentConfig, install_id: &str) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let project_id = config.project_id.as_deref().filter(|id| !id.is_empty());
        problems.extend(api_key_problem(&config.api_key));
        problems.extend(project_id.and_then(|id| header_problem("project_id", id)));
        problems.extend(header_problem("install_id", install_id));
        problems.extend(signing_secret_problem(config.payload_signing_secret.as_ref()));
        let key = ProjectKey::from_config(config).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        Ok(Self {
            endpoint: config.endpoint.clone(),
            install_id: Secret::new(install_id),
            project_id: project_id.map(Secret::new),
            api_key: config.api_key.clone(),
            signer: Signer::new(config.payload_signing_secret.as_ref()),
            key,
            compress_from: config.compression_enabled.then_some(config.compression_threshold),
            frame: Frame::new(config),
        })
    }

    /// Uses these credentials from the next request on.
    ///
    /// # Errors
    ///
    /// An API key that is too short or that no header can carry, or a signing secret that is empty or has
    /// white space around it; the old credentials stay.
    pub fn set_credentials(&mut self, credentials: Credentials) -> Result<(), ConfigError> {
        let secret = credentials.payload_signing_secret.as_ref();
        let empty = secret.map(Secret::expose).filter(|secret| secret.is_empty());
        let problems = api_key_problem(&credentials.api_key).into_iter();
        let problems: Vec<_> = problems
            .chain(signing_secret_problem(secret))
            .chain(empty.map(unusable_signing_secret))
            .collect();
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        self.signer = Signer::new(credentials.payload_signing_secret.as_ref());
        self.api_key = credentials.api_key;
        Ok(())
    }

    /// The HTTP request that delivers `payload`. `gzip` compresses where the configuration asks for it.
    #[must_use]
    pub fn encode(&self, payload: &Payload, gzip: fn(&[u8], Content) -> Vec<u8>) -> HttpRequest {
        match payload {
            Payload::Batch(batch) => {
                let content = if self.key.is_some() { Content::Ciphertext } else { Content::Json };
                let (path, body) = self.batch(batch);
                self.post(path, body, |body| gzip(body, content))
            }
            Payload::Status(status) => {
                self.post("/api/v1/status", body::json(&**status), |body| gzip(body, Content::Json))
            }
            Payload::Rules { etag } => {
                let mut request = self.request("GET", "/api/v1/rules");
                // A tag comes from outside: one that no header can carry makes the request unconditional.
                if let Some(etag) = etag.as_deref().filter(|etag| is_header_value(etag)) {
                    request.headers.push(("if-none-match", Secret::new(etag)));
                }
                request
            }
        }
    }

    /// Whether an answer repeats a secret that the request carried or was made with, as it is or escaped: see
    /// [`Response::confidential`](crate::Response::confidential).
    #[must_use]
    pub fn repeats_secret(&self, answer: &[u8]) -> bool {
        let printable = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).collect() };
        let answer = printable(&String::from_utf8_lossy(answer));
        let secrets = [
            Some(&self.api_key),
            self.signer.as_ref().map(Signer::secret),
            self.key.as_ref().map(ProjectKey::text),
        ];
        secrets.into_iter().flatten().any(|secret| echo::repeats(&answer, &printable(secret.expose())))
    }

    fn batch(&self, batch: &Batch) -> (&'static str, Vec<u8>) {
        match (&self.key, batch.kind()) {
            (Some(key), Kind::Event | Kind::Metric) => {
                ("/api/v1/events/encrypted", self.frame.encrypted(batch, key.wire()))
            }
            (None, Kind::Event) => ("/api/v1/events", self.frame.plain(batch)),
            (None, Kind::Metric) => ("/api/v1/metrics", self.frame.plain(batch)),
        }
    }

    fn post(&self, path: &str, body: Vec<u8>, gzip: impl Fn(&[u8]) -> Vec<u8>) -> HttpRequest {
        let mut request = self.request("POST", path);
        // The platform verifies after decompressing.
        if let Some(signer) = &self.signer {
            request.headers.push(("x-payload-signature", signer.sign(&body)));
        }
        if self.compress_from.is_some_and(|threshold| body.len() >= threshold) {
            request.headers.push(("content-encoding", Secret::new("gzip")));
            request.body = gzip(&body);
        } else {
            request.body = body;
        }
        request
    }

    fn request(&self, method: &'static str, path: &str) -> HttpRequest {
        let mut headers = vec![
            ("user-agent", Secret::new(USER_AGENT)),
            ("accept", Secret::new("*/*")),
            // Answers are short, and not every server that compresses them does it right.
            ("accept-encoding", Secret::new("identity")),
            ("content-type", Secret::new("application/json")),
            ("x-api-key", self.api_key.clone()),
            ("x-agent-install-id", self.install_id.clone()),
        ];
        headers.extend(self.project_id.clone().map(|id| ("x-project-id", id)));
        HttpRequest { method, url: format!("{}{path}", self.endpoint), headers, body: Vec::new() }
    }
}

impl fmt::Debug for HttpRequest {
    /// The length of the body only: it may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers)
            .field("body_len", &self.body.len())
            .finish()
    }
}

impl Credentials {
    /// These credentials, without a signature.
    #[must_use]
    pub const fn new(api_key: Secret) -> Self {
        Self { api_key, payload_signing_secret: None }
    }

    /// Signs with that secret.
    #[must_use]
    pub fn with_signing_secret(mut self, secret: Secret) -> Self {
        self.payload_signing_secret = Some(secret);
        self
    }
}

/// Bytes that the records of one batch may take together, separating commas included, so that the
/// uncompressed body stays within `batch_max_bytes` whatever the ids, the base64 envelope too.
pub(crate) fn record_budget(config: &AgentConfig) -> usize {
    let frame = Frame::new(config);
    if ProjectKey::is_configured(config) {
        frame.encrypted_budget(config.batch_max_bytes)
    } else {
        frame.plain_budget(config.batch_max_bytes)
    }
}

pub(crate) fn api_key_problem(key: &Secret) -> Option<ConfigProblem> {
    let usable = key.expose().len() >= MIN_API_KEY_LEN && is_header_value(key.expose());
    (!usable).then(|| ConfigProblem {
        field: "api_key",
        value: String::from(if key.expose().is_empty() { "missing" } else { SECRET }),
        bound: format!("at least {MIN_API_KEY_LEN} printable ASCII characters without space around them"),
    })
}

/// An empty secret is none, as for other agents of the family; one of spaces alone would sign with what anybody guesses, and
/// one with a line end of a file with what nobody meant.
pub(crate) fn signing_secret_problem(secret: Option<&Secret>) -> Option<ConfigProblem> {
    let secret = secret.map(Secret::expose).filter(|secret| !secret.is_empty())?;
    (secret.trim() != secret).then(|| unusable_signing_secret(secret))
}

fn unusable_signing_secret(secret: &str) -> ConfigProblem {
    ConfigProblem {
        field: "payload_signing_secret",
        value: String::from(if secret.trim().is_empty() { BLANK } else { SECRET }),
        bound: String::from("a text without space around it, or absent"),
    }
}

pub(crate) fn header_problem(field: &'static str, value: &str) -> Option<ConfigProblem> {
    (!is_header_value(value)).then(|| ConfigProblem {
        field,
        value: format!("{value:?}"),
        bound: String::from("printable ASCII without space around it"),
    })
}

pub(crate) fn encryption_key_problem(config: &AgentConfig) -> Option<ConfigProblem> {
    ProjectKey::from_config(config).err()
}

/// Whether every HTTP client sends this as a header value, unchanged.
fn is_header_value(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests;
