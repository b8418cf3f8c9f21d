use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use guard_agent_proto::{Endpoint, Kind, Timestamp};
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::answer::{Answer, Names, Only, Takes};
use super::http::{PlainAnswer, RawRequest};
use super::received::{Arrival, Exchange, Received};

/// Largest body after decompression that the platform takes, in bytes.
const MAX_BODY: u64 = 262_144;
const ENDPOINTS: usize = 4;

/// Credentials that a collector expects; what is `None` is not checked.
#[derive(Clone, Default)]
pub struct Keys {
    /// In `X-API-Key`.
    pub api_key: Option<String>,
    /// Of `X-Payload-Signature`.
    pub signing_secret: Option<String>,
    /// AES-256, in URL-safe base64.
    pub encryption_key: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// The platform's side of the contract: verifies requests, remembers them and decides on answers.
#[derive(Debug)]
pub(super) struct Platform {
    pub(super) keys: Keys,
    pub(super) received: Received,
    pub(super) send_etags: bool,
    count_only: bool,
    started: Instant,
    rules: Value,
    rules_version: u64,
    scripts: [Answers; ENDPOINTS],
}

/// What an endpoint answers.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) next: VecDeque<Answer>,
    pub(super) otherwise: Answer,
}

impl Default for Answers {
    fn default() -> Self {
        Self { next: VecDeque::new(), otherwise: Answer::normal() }
    }
}

impl Answers {
    /// The answer to that request.
    fn answer(&mut self, request: &Result<Valid, Violation>) -> Answer {
        let next = self.next.front().is_some_and(|answer| answer.only.is_for(request));
        if let Some(answer) = next.then(|| self.next.pop_front()).flatten() {
            return answer;
        }
        if self.otherwise.only.is_for(request) { self.otherwise.clone() } else { Answer::normal() }
    }
}

impl Only {
    fn is_for(self, request: &Result<Valid, Violation>) -> bool {
        let records: &[_] = match request {
            Ok(Valid { content: Content::Records { records, .. }, .. }) => records,
            Ok(_) | Err(_) => &[],
        };
        match self {
            Self::Any => true,
            Self::With(text) => records.iter().any(|(_, record)| record.get().contains(text)),
            Self::LongerThan(most) => records.len() > most,
        }
    }
}

/// A request that keeps to the contract.
struct Valid {
    content: Content,
    batch_id: Option<String>,
    body_hash: [u8; 32],
}

impl Valid {
    /// The answer with what it says of records of the batch.
    fn name_records(&self, answer: Answer) -> Answer {
        let (Some(Names { text, as_text }), Content::Records { records, .. }) = (answer.names, &self.content)
        else {
            return answer;
        };
        let named = records.iter().enumerate().filter(|(_, (_, record))| record.get().contains(text));
        let problem = |(index, _): (usize, _)| {
            let index = if as_text { json!(index.to_string()) } else { json!(index) };
            json!({"type": "ip_any_address", "loc": ["body", "events", index, "ip_address"], "msg": "not an address"})
        };
        let body = json!({"detail": named.map(problem).collect::<Vec<_>>()});
        answer.header("content-type", "application/json").body(body.to_string())
    }
}

enum Content {
    Records { kind: Kind, records: Vec<(Head, Box<RawValue>)> },
    Status(Value),
    Rules,
}

/// What of a record is looked at.
#[derive(Deserialize)]
struct Head {
    idempotency_key: Option<Uuid>,
    timestamp: Timestamp,
}

/// A plaintext batch; the encrypted document has only the lists.
#[derive(Deserialize)]
struct BatchBody {
    events: Vec<Box<RawValue>>,
    metrics: Vec<Box<RawValue>>,
}

/// What a plaintext batch has besides.
#[derive(Deserialize)]
struct BatchHead {
    #[serde(rename = "project_id")]
    _project_id: String,
    batch_id: String,
    #[serde(rename = "created_at")]
    _created_at: Timestamp,
    compressed: bool,
    #[serde(rename = "agent_version")]
    _agent_version: String,
}

/// An encrypted batch.
#[derive(Deserialize)]
struct Envelope {
    encrypted_payload: String,
    batch_id: String,
    #[serde(rename = "agent_version")]
    _agent_version: String,
}

/// A request that breaks the contract: the platform's answer, and why.
struct Violation(u16, String);

impl Platform {
    pub(super) fn new(keys: Keys, count_only: bool) -> Self {
        Self {
            keys,
            received: Received::default(),
            send_etags: true,
            count_only,
            started: Instant::now(),
            rules: json!({"rule_id": "default-rule", "version": 1, "ttl": 300}),
            rules_version: 0,
            scripts: Default::default(),
        }
    }

    pub(super) fn script(&mut self, endpoint: Endpoint) -> &mut Answers {
        &mut self.scripts[endpoint as usize]
    }

    pub(super) fn set_rules(&mut self, rules: Value) {
        self.rules = rules;
        self.rules_version += 1;
    }

    /// Takes a request in: the answer that was scripted for it, and what the platform says by itself.
    pub(super) fn take(&mut self, raw: RawRequest) -> (Answer, PlainAnswer) {
        self.take_at(raw, self.started.elapsed())
    }

    /// The same at a time of the caller's clock.
    pub(super) fn take_at(&mut self, raw: RawRequest, time: Duration) -> (Answer, PlainAnswer) {
        let at = Instant::now();
        self.received.bytes += raw.body.len() as u64;
        let endpoint = match self.endpoint(&raw) {
            Ok(endpoint) => endpoint,
            Err(violation) => return (Answer::normal(), self.refuse(violation)),
        };
        *self.received.requests.entry(endpoint).or_default() += 1;
        let valid = self.verify(endpoint, &raw);
        // Encrypted metrics come in by the path of encrypted events.
        let endpoint = match &valid {
            Ok(Valid { content: Content::Records { kind: Kind::Metric, .. }, .. }) => Endpoint::Metrics,
            _ => endpoint,
        };
        let answer = self.script(endpoint).answer(&valid);
        let valid = match valid {
            Ok(valid) => valid,
            Err(violation) => return (answer, self.refuse(violation)),
        };
        let answer = valid.name_records(answer);
        self.remember((at, time), endpoint, &raw, &valid, &answer);
        let platform = match valid.content {
            Content::Records { kind, records } => {
                let count = records.len();
                self.keep(kind, records, valid.batch_id.unwrap_or_default().into(), at, &answer.takes);
                acknowledge(kind, count, &answer.takes)
            }
            Content::Status(status) => {
                if answer.takes.takes(0) {
                    self.received.statuses.push(status);
                }
                PlainAnswer::json(200, &json!({"success": true, "message": "ok"}))
            }
            Content::Rules => self.serve_rules(&raw),
        };
        (answer, platform)
    }

    fn endpoint(&self, raw: &RawRequest) -> Result<Endpoint, Violation> {
        match (raw.method.as_str(), raw.path.as_str()) {
            ("POST", "/api/v1/events" | "/api/v1/events/encrypted") => Ok(Endpoint::Events),
            ("POST", "/api/v1/metrics") => Ok(Endpoint::Metrics),
            ("POST", "/api/v1/status") => Ok(Endpoint::Status),
            ("GET", "/api/v1/rules") => Ok(Endpoint::Rules),
            (method, path) => Err(Violation(404, format!("no such endpoint: {method} {path}"))),
        }
    }

    fn verify(&self, endpoint: Endpoint, raw: &RawRequest) -> Result<Valid, Violation> {
        for name in ["user-agent", "content-type", "x-api-key", "x-agent-install-id"] {
            if raw.headers.get(name).is_none_or(String::is_empty) {
                return Err(Violation(400, format!("{endpoint}: no {name} header")));
            }
        }
        if raw.headers["content-type"] != "application/json" {
            return Err(Violation(
                400,
                format!("{endpoint}: content-type is {}", raw.headers["content-type"]),
            ));
        }
        if self.keys.api_key.as_ref().is_some_and(|key| raw.headers["x-api-key"] != *key) {
            return Err(Violation(401, format!("{endpoint}: unknown API key")));
        }
        let body = decompress(raw)?;
        let body_hash = Sha256::digest(&body).into();
        let (content, batch_id) = match endpoint {
            Endpoint::Rules => {
                if !raw.body.is_empty() {
                    return Err(Violation(400, String::from("rules: GET with a body")));
                }
                (Content::Rules, None)
            }
            Endpoint::Status => {
                self.verify_signature(raw, &body)?;
                let status = parse(&body, "status")?;
                (Content::Status(status), None)
            }
            Endpoint::Events | Endpoint::Metrics => {
                self.verify_signature(raw, &body)?;
                let (content, batch_id) = self.verify_batch(endpoint, &raw.path, &body)?;
                (content, Some(batch_id))
            }
        };
        if let Some(id) = &batch_id
            && self.received.batches.get(id).is_some_and(|hash| *hash != body_hash)
        {
            return Err(Violation(400, format!("{endpoint}: batch id {id} came with other bytes before")));
        }
        Ok(Valid { content, batch_id, body_hash })
    }

    fn verify_signature(&self, raw: &RawRequest, body: &[u8]) -> Result<(), Violation> {
        let Some(secret) = &self.keys.signing_secret else { return Ok(()) };
        let claimed = raw.headers.get("x-payload-signature").and_then(|value| value.strip_prefix("v1="));
        let claimed = claimed.ok_or_else(|| Violation(401, String::from("no signature")))?;
        if sign(secret, body).is_some_and(|expected| expected == claimed) {
            Ok(())
        } else {
            Err(Violation(401, String::from("wrong signature")))
        }
    }

    fn verify_batch(
        &self,
        endpoint: Endpoint,
        path: &str,
        body: &[u8],
    ) -> Result<(Content, String), Violation> {
        let encrypted = path.ends_with("/encrypted");
        let (batch, batch_id): (BatchBody, String) = match (&self.keys.encryption_key, encrypted) {
            (Some(key), true) => {
                let envelope: Envelope = parse(body, "envelope")?;
                let document = decrypt(key, &envelope.encrypted_payload)
                    .ok_or_else(|| Violation(400, String::from("envelope cannot be decrypted")))?;
                (parse(&document, "encrypted document")?, envelope.batch_id)
            }
            (None, false) => {
                let head: BatchHead = parse(body, "batch")?;
                if head.compressed {
                    return Err(Violation(422, String::from("batch: `compressed` is always false")));
                }
                (parse(body, "batch")?, head.batch_id)
            }
            (Some(_), false) => return Err(Violation(400, format!("{endpoint}: plain text"))),
            (None, true) => return Err(Violation(400, format!("{endpoint}: encrypted without a key"))),
        };
        let (kind, records) = match (batch.events.is_empty(), batch.metrics.is_empty()) {
            (false, true) => (Kind::Event, batch.events),
            (true, false) => (Kind::Metric, batch.metrics),
            (true, true) => return Err(Violation(422, format!("{endpoint}: empty batch {batch_id}"))),
            (false, false) => return Err(Violation(422, format!("{endpoint}: mixed batch {batch_id}"))),
        };
        if !encrypted && (kind == Kind::Event) != (endpoint == Endpoint::Events) {
            return Err(Violation(422, format!("{endpoint}: batch of {kind}s")));
        }
        let records = records
            .into_iter()
            .map(|record| {
                let head: Head = parse(record.get().as_bytes(), "record")?;
                if head.idempotency_key.is_none() == (kind == Kind::Event) {
                    return Err(Violation(422, format!("{endpoint}: idempotency key and {kind}")));
                }
                Ok((head, record))
            })
            .collect::<Result<_, _>>()?;
        Ok((Content::Records { kind, records }, batch_id))
    }

    fn remember(
        &mut self,
        (at, time): (Instant, Duration),
        endpoint: Endpoint,
        raw: &RawRequest,
        valid: &Valid,
        answer: &Answer,
    ) {
        if let Some(id) = &valid.batch_id {
            self.received.batches.insert(id.clone(), valid.body_hash);
        }
        if self.count_only {
            return;
        }
        let (keys, metrics) = match &valid.content {
            Content::Records { kind: Kind::Event, records } => {
                (records.iter().filter_map(|(head, _)| head.idempotency_key).collect(), 0)
            }
            Content::Records { kind: Kind::Metric, records } => (Vec::new(), records.len()),
            Content::Status(_) | Content::Rules => (Vec::new(), 0),
        };
        self.received.exchanges.push(Exchange {
            at,
            time,
            endpoint,
            path: raw.path.clone(),
            headers: raw.headers.clone(),
            batch_id: valid.batch_id.clone(),
            body_hash: valid.body_hash,
            body_len: raw.body.len(),
            keys,
            metrics,
            taken: !matches!(answer.takes, Takes::None),
        });
    }

    fn keep(
        &mut self,
        kind: Kind,
        records: Vec<(Head, Box<RawValue>)>,
        batch_id: Arc<str>,
        at: Instant,
        takes: &Takes,
    ) {
        let wall = Timestamp::from(SystemTime::now());
        let received = &mut self.received;
        for (index, (head, record)) in records.into_iter().enumerate() {
            if !takes.takes(index) {
                continue;
            }
            let arrival = Arrival {
                key: head.idempotency_key,
                timestamp: Some(head.timestamp),
                json: Box::from(record),
                batch_id: Arc::clone(&batch_id),
                at,
                wall,
            };
            match kind {
                Kind::Metric => {
                    received.metric_count += 1;
                    if !self.count_only {
                        received.metrics.push(arrival);
                    }
                }
                Kind::Event => {
                    if head.idempotency_key.is_some_and(|key| !received.keys.insert(key)) {
                        received.duplicates += 1;
                        continue;
                    }
                    received.event_count += 1;
                    let first = received.event_span.map_or(at, |(first, _)| first);
                    received.event_span = Some((first, at));
                    if let Some(time) = arrival.propagation() {
                        received.propagation.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
                    }
                    if !self.count_only {
                        received.events.push(arrival);
                    }
                }
            }
        }
    }

    fn serve_rules(&self, raw: &RawRequest) -> PlainAnswer {
        let etag = format!("\"rules-{}\"", self.rules_version);
        let mut answer = if self.send_etags && raw.headers.get("if-none-match") == Some(&etag) {
            PlainAnswer { status: 304, headers: Vec::new(), body: Vec::new() }
        } else {
            PlainAnswer::json(200, &self.rules)
        };
        if self.send_etags {
            answer.headers.push((String::from("etag"), etag));
        }
        answer
    }

    fn refuse(&mut self, Violation(status, message): Violation) -> PlainAnswer {
        let answer = PlainAnswer::json(status, &json!({"detail": message}));
        self.received.violations.push(message);
        answer
    }
}

impl PlainAnswer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![(String::from("content-type"), String::from("application/json"))];
        Self { status, headers, body: body.to_string().into_bytes() }
    }
}

fn acknowledge(kind: Kind, count: usize, takes: &Takes) -> PlainAnswer {
    let failed: Vec<_> = (0..count).filter(|index| !takes.takes(*index)).collect();
    let taken = count - failed.len();
    let by_kind = |count| match kind {
        Kind::Event => (count, 0),
        Kind::Metric => (0, count),
    };
    let ((events, metrics), (events_taken, metrics_taken)) = (by_kind(count), by_kind(taken));
    let error = |index| json!({"index": index, "message": "not acceptable"});
    let errors: Vec<_> = failed.iter().map(error).collect();
    PlainAnswer::json(
        200,
        &json!({
            "success": failed.is_empty(),
            "events_received": events,
            "events_dropped_invalid_timestamp": 0,
            "metrics_received": metrics,
            "events_processed": events_taken,
            "metrics_processed": metrics_taken,
            "errors": if failed.is_empty() { Value::Null } else { errors.into() },
        }),
    )
}

fn decompress(raw: &RawRequest) -> Result<Vec<u8>, Violation> {
    let too_large = || Violation(413, format!("{}: body above {MAX_BODY} bytes", raw.path));
    let body = match raw.headers.get("content-encoding").map(String::as_str) {
        None => raw.body.clone(),
        Some("gzip") => {
            let mut body = Vec::new();
            flate2::read::GzDecoder::new(raw.body.as_slice())
                .take(MAX_BODY + 1)
                .read_to_end(&mut body)
                .map_err(|error| Violation(400, format!("{}: {error}", raw.path)))?;
            body
        }
        Some(other) => return Err(Violation(400, format!("{}: content-encoding {other}", raw.path))),
    };
    if body.len() as u64 > MAX_BODY { Err(too_large()) } else { Ok(body) }
}

fn sign(secret: &str, body: &[u8]) -> Option<String> {
    let mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(secret.as_bytes()).ok()?;
    let bytes = mac.chain_update(body).finalize().into_bytes();
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn decrypt(key: &str, payload: &str) -> Option<Vec<u8>> {
    let key = URL_SAFE.decode(key).ok()?;
    let cipher = Aes256Gcm::new_from_slice(&key).ok()?;
    let bytes = URL_SAFE.decode(payload).ok()?;
    let (nonce, ciphertext) = bytes.split_at_checked(12)?;
    cipher.decrypt(&Nonce::try_from(nonce).ok()?, ciphertext).ok()
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, Violation> {
    serde_json::from_slice(bytes).map_err(|error| Violation(422, format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_reference() {
        let table = [
            (
                "topsecret",
                r#"{"batch_id":"b1","events":[]}"#,
                "343c2e2e511a0c6ecd7493da43118af24676b493d77c2f05f467c2a559ad2474",
            ),
            ("clé", r#"{"k":"é"}"#, "e2394c258dbf91618afc67ce55a5eb2183f5e14ea2d2e5ba051e3246e9925236"),
        ];
        for (secret, body, signature) in table {
            assert_eq!(sign(secret, body.as_bytes()).unwrap(), signature, "{body}");
        }
    }

    #[test]
    fn what_the_reference_encrypted_is_read() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let payload = "WlpaWlpaWlpaWlpa_BKBKNdWNyMsQ9Qqr7T-ZQjsicbUBvz_yWWdcKEgxE6D_xaeosahd605xu-HPYBBLSx8D3EwACJlfR05\
            yoKMdeh3kICZmMRF5rk9__ZyMimfhUJCvBlvQW-ZqAmD87zzBNXcsslr5QB0hI17wKNc_VGug1kkkd4gVwOJJfhc0arI3xXomp3TZu\
            UPNK2S1c_LX5r13c4kh1C-BZ7NaJdzthIgUJKRvcYt";
        let document = r#"{"events":[],"metrics":[{"endpoint":null,"metric_type":"response_time","tags":{"k":"<\u007f/>"},"timestamp":"2026-01-02T03:04:05+00:00","value":1e-07}]}"#;
        assert_eq!(String::from_utf8(decrypt(key, payload).unwrap()).unwrap(), document);
        assert_eq!(decrypt(key, &payload.replace('B', "C")), None);
    }
}
