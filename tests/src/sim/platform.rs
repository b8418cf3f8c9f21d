use std::borrow::Cow;
use std::collections::BTreeSet;

use guard_agent_proto::wire::HttpRequest;
use guard_agent_proto::{AgentStatus, DynamicRules, Instant, Kind, Payload, Response};
use serde::Deserialize;

use super::front::{Front, Naming, Quota};
use super::network::{self, Answer, Meaning, Twist};
use super::rng::Rng;
use super::scenario::Scenario;

/// A plaintext body is never larger (contract 2.7).
pub(crate) const BODY_LIMIT: usize = 262_144;

/// What was read from the bytes of one request.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    Batch { id: String, kind: Kind, records: Vec<u64>, bytes: usize },
    Status,
    Rules { etag: Option<String> },
}

/// Reads a request as the platform does.
pub(crate) fn read(payload: &Payload, http: &HttpRequest, encrypted: bool) -> Result<Read, String> {
    let header = |name: &str| http.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.expose());
    if header("x-api-key").is_none() {
        return Err(format!("no API key in {:?}", http.headers));
    }
    match payload {
        Payload::Rules { .. } => {
            expect(http, "GET", "/api/v1/rules")?;
            Ok(Read::Rules { etag: header("if-none-match").map(String::from) })
        }
        Payload::Status(_) => {
            expect(http, "POST", "/api/v1/status")?;
            let _: AgentStatus = serde_json::from_slice(&http.body).map_err(|e| e.to_string())?;
            Ok(Read::Status)
        }
        Payload::Batch(batch) => {
            let kind = batch.kind();
            let bytes = http.body.len();
            if encrypted {
                expect(http, "POST", "/api/v1/events/encrypted")?;
                let envelope: Envelope<'_> = serde_json::from_slice(&http.body).map_err(|e| e.to_string())?;
                let records =
                    batch.records().map(|record| number(kind, record)).collect::<Result<_, String>>()?;
                return Ok(Read::Batch { id: envelope.batch_id.into_owned(), kind, records, bytes });
            }
            expect(
                http,
                "POST",
                match kind {
                    Kind::Event => "/api/v1/events",
                    Kind::Metric => "/api/v1/metrics",
                },
            )?;
            let body: Body<'_> = serde_json::from_slice(&http.body).map_err(|e| e.to_string())?;
            let (own, other) = match kind {
                Kind::Event => (&body.events, &body.metrics),
                Kind::Metric => (&body.metrics, &body.events),
            };
            if !other.is_empty() || own.is_empty() {
                return Err(format!("{} events, {} metrics", body.events.len(), body.metrics.len()));
            }
            let records = own.iter().map(Item::number).collect::<Option<_>>().ok_or("a record of whom?")?;
            Ok(Read::Batch { id: body.batch_id.into_owned(), kind, records, bytes })
        }
    }
}

/// The number that the application gave to an encoded record.
pub(crate) fn number(_kind: Kind, json: &[u8]) -> Result<u64, String> {
    let item: Item<'_> = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    item.number().ok_or_else(|| String::from("a record of whom?"))
}

fn expect(http: &HttpRequest, method: &str, path: &str) -> Result<(), String> {
    if http.method == method && http.url.ends_with(path) {
        return Ok(());
    }
    Err(format!("{} {} instead of {method} {path}", http.method, http.url))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that they are there")]
struct Body<'a> {
    project_id: Cow<'a, str>,
    #[serde(borrow)]
    events: Vec<Item<'a>>,
    #[serde(borrow)]
    metrics: Vec<Item<'a>>,
    #[serde(borrow)]
    batch_id: Cow<'a, str>,
    created_at: Cow<'a, str>,
    compressed: bool,
    agent_version: Cow<'a, str>,
    guard_version: Option<Cow<'a, str>>,
    guard_core_version: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    batch_id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    idempotency_key: Option<Cow<'a, str>>,
    value: Option<f64>,
}

impl Item<'_> {
    fn number(&self) -> Option<u64> {
        match (&self.idempotency_key, self.value) {
            (Some(key), _) => u64::from_str_radix(key.get(24..)?, 16).ok(),
            // Numbers below 2^53 are exact.
            (None, Some(value)) => Some(value as u64),
            (None, None) => None,
        }
    }
}

/// The platform: takes what it can, keeps a reckoning of it, has rules.
#[derive(Debug)]
pub(crate) struct Platform {
    rng: Rng,
    /// Answers 413 above it.
    pub(crate) body_limit: usize,
    /// What it refuses whenever it sees it.
    pub(crate) poison: BTreeSet<u64>,
    /// Grows with each change of the rules.
    pub(crate) rules_version: i64,
    /// Whether it speaks of entity tags.
    pub(crate) tags: bool,
    /// How it names what it refuses.
    pub(crate) naming: Naming,
    /// What the account may send.
    pub(crate) quota: Option<Quota>,
    /// What stands before it.
    pub(crate) front: Option<Front>,
}

impl Platform {
    pub(crate) const fn new(rng: Rng, scenario: &Scenario) -> Self {
        Self {
            rng,
            body_limit: scenario.body_limit,
            poison: BTreeSet::new(),
            rules_version: 1,
            tags: scenario.tags,
            naming: scenario.naming,
            quota: scenario.quota,
            front: scenario.front,
        }
    }

    /// Carries out a request.
    pub(crate) fn answer(&mut self, now: Instant, request: &Read, twist: Twist) -> Answer {
        match request {
            Read::Batch { records, bytes, kind, .. } => self.take(now, *kind, records, *bytes, twist),
            Read::Status => match twist {
                Twist::Success(status, body) => Answer::status(status, body, taken(Vec::new())),
                Twist::None | Twist::Partial | Twist::Unsure => {
                    Answer::status(200, "{\"success\":true,\"message\":\"ok\"}", taken(Vec::new()))
                }
            },
            Read::Rules { etag } => self.rules(etag.as_deref(), twist),
        }
    }

    fn take(&mut self, now: Instant, kind: Kind, records: &[u64], bytes: usize, twist: Twist) -> Answer {
        // Metrics quote nothing of an attacker's, and are not divided for a comparison.
        let is_read = |front: &Front| kind == Kind::Event && front.refuses_any(records);
        if let Some(front) = self.front.filter(is_read) {
            return front.answer();
        }
        if bytes > self.body_limit {
            return Answer::status(413, "{\"detail\":\"too large\"}", Meaning::Content);
        }
        if records.iter().any(|record| self.poison.contains(record)) {
            let bad: Vec<_> = (0..records.len()).filter(|at| self.poison.contains(&records[*at])).collect();
            return self.naming.answer(kind, &bad, records);
        }
        if self.quota.as_mut().is_some_and(|quota| !quota.grants(now, records.len())) {
            return network::quota(&mut self.rng);
        }
        match twist {
            Twist::None => {
                let body = format!(
                    "{{\"success\":true,\"events_received\":{n},\"events_processed\":{n},\"errors\":null}}",
                    n = records.len()
                );
                Answer::status(200, &body, taken(records.to_vec()))
            }
            Twist::Success(status, body) => Answer::status(status, body, taken(records.to_vec())),
            Twist::Unsure => {
                Answer::status(200, "{\"success\":false,\"errors\":[\"try later\"]}", Meaning::Unsure)
            }
            Twist::Partial => {
                let by_key = kind == Kind::Event && self.rng.chance(500);
                let mut taken = Vec::new();
                let mut errors = Vec::new();
                for (index, record) in records.iter().enumerate() {
                    if self.rng.chance(700) {
                        taken.push(*record);
                    } else if by_key {
                        errors.push(format!(
                            "{{\"idempotency_key\":\"00000000-0000-4000-8000-{record:012x}\"}}"
                        ));
                    } else {
                        errors.push(format!("{{\"index\":{index}}}"));
                    }
                }
                if errors.is_empty() {
                    return Answer::status(200, "{\"success\":true,\"errors\":[]}", self::taken(taken));
                }
                let body = format!("{{\"success\":false,\"errors\":[{}]}}", errors.join(","));
                Answer::status(200, &body, Meaning::Taken { records: taken, named: true })
            }
        }
    }

    fn rules(&mut self, etag: Option<&str>, twist: Twist) -> Answer {
        // What stands in the way of an application also answers for its rules.
        if matches!(twist, Twist::Partial | Twist::Unsure) {
            let body = self.rng.pick(&[
                "{\"detail\":\"maintenance\"}",
                "{\"success\":false,\"errors\":[\"no\"]}",
                "{\"ip_blacklist\":\"all\"}",
                "[]",
            ]);
            // Whoever asks by a tag has newer ones.
            let body = if etag.is_some() && body == "[]" { OLDER_RULES } else { body };
            return Answer::status(200, body, Meaning::Unsure);
        }
        let current = format!("\"v{}\"", self.rules_version);
        if self.tags && etag == Some(current.as_str()) {
            return Answer::status(304, "", Meaning::NotModified);
        }
        let mut rules = DynamicRules::default();
        rules.version = self.rules_version;
        let mut response = Response::rules(&rules);
        response.etag = self.tags.then_some(current);
        Answer { result: Ok(response), meaning: Meaning::Rules(self.rules_version) }
    }
}

/// What a replica that lags behind still has.
const OLDER_RULES: &str = "{\"rule_id\":\"default-rule\",\"version\":0,\"ip_blacklist\":[\"192.0.2.7\"]}";

const fn taken(records: Vec<u64>) -> Meaning {
    Meaning::Taken { records, named: false }
}
