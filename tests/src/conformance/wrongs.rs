//! Agents, transports and stores that are wrong in one way: each shows that the list sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guard_agent_proto::shell::http::HttpFailure;
use guard_agent_proto::shell::{Handle, TrySendErrorKind};
use guard_agent_proto::store::{StoreAnswer, StoreError, StoreErrorKind, StoreOp, StoreRequest};
use guard_agent_proto::wire::{Credentials, HttpRequest};
use guard_agent_proto::{
    ConfigError, DeadLetter, DropCounts, DropReason, Health, Kind, Report, Secret, SecurityEvent,
    SecurityMetric, Stats, TransportErrorKind,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Subject;
use super::play::SIGNING_SECRET;
use crate::collector::PlainAnswer;

/// A way to be wrong.
pub(super) struct Wrong {
    /// What an agent does that is wrong in this way.
    pub(super) name: &'static str,
    /// The scenario that is there for it: its name, or a part of it.
    pub(super) seen_by: &'static str,
    how: How,
}

/// Where the agent is wrong.
enum How {
    /// It acts as with another configuration.
    Fields(&'static [(&'static str, &'static str)]),
    /// Its HTTP client sends another request.
    Sends(fn(&mut Memory, &mut HttpRequest)),
    /// Its HTTP client makes something else of an answer.
    Reads(fn(&mut Memory, &HttpRequest, &mut Exchanged)),
    /// Its HTTP client handles the connection wrong.
    Client(Client),
    /// Its store carries out another operation.
    Stores(fn(&mut StoreRequest)),
    /// Its store says something else of an operation.
    Recalls(fn(&StoreOp, &mut Stored)),
    /// Its calls do something else.
    Calls(Call),
}

type Exchanged = Result<PlainAnswer, HttpFailure>;
type Stored = Result<StoreAnswer, StoreError>;

/// What an HTTP client does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    FollowsRedirects,
    ReadsToTheEnd,
    SendsTwice,
    TellsNoStatus,
    RepeatsStatus,
}

/// By how much a call ends too late: that of who waits for a request that hangs.
const LATE: Duration = Duration::from_secs(4);

/// What a call of the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    FlushesTooEarly,
    PersistsTooEarly,
    FlushesLate,
    ShutsDownLate,
    GivesUpAtShutdown,
    CountsADropTwice,
    HidesDrops,
    HidesDeadLetters,
    IsAlwaysHealthy,
    TakesAnyKey,
    IgnoresANewKey,
    TakesWithoutRoom,
    HasOneLife,
    MendsWhatIsInvalid,
    RepeatsAReason,
    RewritesText,
    IgnoresRefresh,
    PassesWhatPanicked,
    TakesAPanicForSuccess,
}

/// A wrong agent in the course of a scenario.
#[derive(Clone)]
pub(super) struct Meddler {
    wrong: &'static Wrong,
    memory: Arc<Mutex<Memory>>,
}

/// What it remembers.
#[derive(Default)]
pub(super) struct Memory {
    number: u32,
    batches: BTreeSet<String>,
    event: Option<Value>,
    answer: Option<PlainAnswer>,
    starts: u32,
}

/// Every wrong.
pub(super) const WRONGS: &[Wrong] = &[
    // What it sends.
    sends("signs the compressed body", "encrypted, signed", |_, request| {
        sign(request);
    }),
    sends("does not say that a body is compressed", "encrypted, signed", |_, request| {
        request.headers.retain(|(name, _)| *name != "content-encoding");
    }),
    fields("does not compress", "encrypted, signed", &[("compression_enabled", "false")]),
    fields("does not encrypt", "encrypted, signed", &[("project_encryption_key", "")]),
    fields("does not sign", "encrypted, signed", &[("payload_signing_secret", "")]),
    sends("gives a retry another batch id", "a retry repeats the bytes", |memory, request| {
        edit(request, |body| {
            memory.number += 1;
            body["batch_id"] = json!(format!("1-{:08x}", memory.number));
        });
    }),
    sends("gives the events of a retry other keys", "a lost answer repeats the batch", |memory, request| {
        edit(request, |body| {
            if memory.batches.insert(body["batch_id"].to_string()) {
                return;
            }
            memory.number += 1;
            body["batch_id"] = json!(format!("1-{:08x}", memory.number));
            for event in body["events"].as_array_mut().into_iter().flatten() {
                memory.number += 1;
                event["idempotency_key"] =
                    json!(format!("{:08x}-0000-4000-8000-000000000000", memory.number));
            }
        });
    }),
    sends("loses the last record of a batch", "a burst of ten thousand", |_, request| {
        edit(request, |body| {
            for list in ["events", "metrics"] {
                if let Some(list) = body[list].as_array_mut().filter(|list| list.len() > 1) {
                    list.pop();
                }
            }
        });
    }),
    sends("sends events and metrics in one batch", "metrics are answered on their own", |memory, request| {
        edit(request, |body| match body["events"].get(0) {
            Some(event) => memory.event = Some(event.clone()),
            None => body["events"] = memory.event.clone().into_iter().collect(),
        });
    }),
    sends("turns batches around", "in order if that is asked for", |_, request| {
        edit(request, |body| {
            if let Some(events) = body["events"].as_array_mut() {
                events.reverse();
            }
        });
    }),
    sends("asks for rules without a tag", "asked for by tag", |_, request| {
        request.headers.retain(|(name, _)| *name != "if-none-match");
    }),
    sends("does not say of which project it is", "which project", |_, request| {
        request.headers.retain(|(name, _)| *name != "x-project-id");
    }),
    fields("asks for rules without a project", "without a project", &[("project_id", "made-up")]),
    fields(
        "asks for no rules after an attack",
        "an attack is followed by a fetch",
        &[("informational_event_types", "penetration_attempt")],
    ),
    fields("redacts no query", "no secret leaves", &[("sensitive_query_params", "none")]),
    calls("repeats a secret where nobody looks for one", "no secret leaves", Call::RepeatsAReason),
    fields("cuts nothing", "long text is cut", &[("max_payload_size", "131072")]),
    calls("rewrites JSON in text", "long text is cut", Call::RewritesText),
    // What it makes of answers.
    reads("takes another 2xx than 200 for a failure", "201 is a success", |_, _, answer| {
        map(answer, |response| {
            if (201..300).contains(&response.status) {
                response.status = 503;
            }
        });
    }),
    reads("takes a 200 that it does not know for a failure", "with any object", |_, _, answer| {
        map(answer, |response| {
            if response.body.starts_with(b"{\"x\"") {
                response.status = 503;
            }
        });
    }),
    reads("cannot read gzip", "through gzip that nobody asked for", |_, _, answer| {
        map(answer, |response| drop_header(response, "content-encoding", |_| true));
    }),
    reads("stumbles over a byte order mark", "behind a byte order mark", |_, _, answer| {
        map(answer, |response| {
            if response.body.starts_with(b"\xef\xbb\xbf") {
                response.body = b"?".to_vec();
            }
        });
    }),
    reads("reads a hundred headers at most", "behind two hundred headers", |_, _, answer| {
        if answer.as_ref().is_ok_and(|response| response.headers.len() > 100) {
            *answer = Err(HttpFailure::Failed(TransportErrorKind::Protocol, "as planted".to_owned()));
        }
    }),
    reads("goes by its own clock alone", "a date is relative to that of its answer", |_, _, answer| {
        map(answer, |response| drop_header(response, "date", |_| true));
    }),
    reads("takes HTML for a success", "a page of HTML", |_, _, answer| {
        map(answer, |response| {
            if response.body.starts_with(b"<") {
                succeed(response);
            }
        });
    }),
    reads("takes a 200 that says no for a success", "says no and names nothing", |_, _, answer| {
        map(answer, |response| {
            if response.status == 200 && says_no(response) {
                succeed(response);
            }
        });
    }),
    reads("sends all again if a 200 names some as failed", "names as failed", |_, _, answer| {
        map(answer, |response| {
            if response.status == 200 && says_no(response) {
                response.body = json!({"success": false}).to_string().into_bytes();
            }
        });
    }),
    reads("takes a refusal for a success", "400 is bisected", |_, _, answer| {
        map(answer, |response| {
            if matches!(response.status, 400 | 413 | 422) {
                succeed(response);
            }
        });
    }),
    reads("reads no names in a refusal", "by its place costs", |_, _, answer| {
        map(answer, |response| {
            if response.status == 422 {
                response.body.clear();
            }
        });
    }),
    reads("reads no places that are written as text", "by its place as text", |_, _, answer| {
        map(answer, |response| {
            if String::from_utf8_lossy(&response.body).contains(r#""events",""#) {
                response.body.clear();
            }
        });
    }),
    reads("takes a firewall for a busy platform", "answers 403 to what an event quotes", |_, _, answer| {
        map(answer, |response| {
            if response.status >= 400 && response.body.starts_with(b"<html>") {
                response.status = 429;
            }
        });
    }),
    reads(
        "blames nobody for a broken connection",
        "breaks the connection at what an event",
        |_, _, answer| {
            if let Err(HttpFailure::Failed(kind, _)) = answer {
                *kind = TransportErrorKind::Connect;
            }
        },
    ),
    reads("gives up what a firewall refuses", "answers 500 to what an event quotes", |_, _, answer| {
        map(answer, |response| {
            if response.status == 500 && response.body.starts_with(b"<html>") {
                succeed(response);
            }
        });
    }),
    reads("searches for what uses up a quota", "a used-up quota", |_, _, answer| {
        map(answer, |response| {
            if response.status == 200 && says_no(response) {
                response.status = 422;
                response.body.clear();
            }
        });
    }),
    reads("does not try a refused record again", "a lone refused record", |memory, request, answer| {
        if request.url.ends_with("/events") {
            let refused = answer.as_ref().ok().filter(|answer| answer.status == 422).cloned();
            memory.answer = memory.answer.take().or(refused);
            if let Some(refused) = memory.answer.clone() {
                *answer = Ok(refused);
            }
        }
    }),
    fields(
        "takes an empty answer for a success",
        "a 200 without a body is no",
        &[("accept_any_success", "true")],
    ),
    fields(
        "accepts no answer without a body, whatever is configured",
        "if that is configured",
        &[("accept_any_success", "false")],
    ),
    reads("never bisects", "422 is bisected", |_, _, answer| {
        map(answer, |response| {
            if matches!(response.status, 400 | 422) {
                response.status = 429;
            }
        });
    }),
    reads("never splits", "413 splits", |_, _, answer| {
        map(answer, |response| {
            if response.status == 413 {
                response.status = 429;
            }
        });
    }),
    reads("gives up what it may not send", "401 holds", |_, _, answer| {
        map(answer, |response| {
            if matches!(response.status, 401..=409) {
                succeed(response);
            }
        });
    }),
    reads("does not hold", "403 holds", |_, _, answer| {
        map(answer, |response| {
            if matches!(response.status, 300..=399 | 401 | 403 | 404 | 409) {
                response.status = 500;
            }
        });
    }),
    reads("gives up after an error of the server", "500 is a failure", |_, _, answer| {
        map(answer, |response| {
            if matches!(response.status, 408 | 500..=599) {
                succeed(response);
            }
        });
    }),
    reads("takes a broken connection for a success", "a reset is a failure", |_, _, answer| {
        if answer.is_err() {
            *answer = Ok(PlainAnswer { status: 201, ..PlainAnswer::default() });
        }
    }),
    reads("ignores Retry-After", "429 waits as long as it says", |_, _, answer| {
        map(answer, |response| drop_header(response, "retry-after", |_| true));
    }),
    reads("heeds Retry-After of 429 alone", "503 with Retry-After", |_, _, answer| {
        map(answer, |response| {
            if response.status == 503 {
                drop_header(response, "retry-after", |_| true);
            }
        });
    }),
    reads("reads digits alone in Retry-After", "spaces and a sign", |_, _, answer| {
        map(answer, |response| {
            let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            drop_header(response, "retry-after", |text| !is_plain(text));
        });
    }),
    reads("waits for long if Retry-After makes no sense", "nan is no wait", |_, _, answer| {
        map(answer, |response| {
            let makes_sense = |text: &str| text.trim().parse().is_ok_and(|seconds: f64| seconds >= 0.0);
            for (name, text) in &mut response.headers {
                if name == "retry-after" && !makes_sense(text) {
                    *text = String::from("30");
                }
            }
        });
    }),
    reads(
        "takes an answer that is left for that to the next request",
        "comes twice",
        |memory, request, answer| {
            if request.url.ends_with("/events") {
                let left = memory.answer.take();
                memory.answer = answer.as_ref().ok().filter(|answer| answer.status == 200).cloned();
                if let Some(left) = left {
                    *answer = Ok(left);
                }
            }
        },
    ),
    reads(
        "takes for metrics what events were told",
        "metrics are answered on their own",
        |memory, request, answer| {
            if request.url.ends_with("/events") {
                memory.answer = answer.as_ref().ok().cloned();
            } else if let Some(last) = memory.answer.clone().filter(|_| request.url.ends_with("/metrics")) {
                *answer = Ok(last);
            }
        },
    ),
    reads("takes any 200 for rules", "nonsense in a 200 changes nothing", |_, request, answer| {
        map(answer, |response| {
            if request.url.ends_with("/rules") && !response.body.starts_with(b"{\"rule_id\"") {
                no_rules(response);
            }
        });
    }),
    fields("lets old rules come back", "an older version changes", &[("accept_any_rules", "true")]),
    fields("lets an id empty the rules", "nothing but an id changes", &[("accept_any_rules", "true")]),
    fields(
        "lets settings empty the rules",
        "settings without a list change nothing",
        &[("accept_any_rules", "true")],
    ),
    reads("has no rules after a failed fetch", "a 500 changes nothing", |_, request, answer| {
        if request.url.ends_with("/rules") && answer.as_ref().map_or(0, |answer| answer.status) >= 400 {
            map(answer, no_rules);
        }
    }),
    reads("has no rules after a broken connection", "a reset changes nothing", |_, request, answer| {
        if request.url.ends_with("/rules") && answer.is_err() {
            *answer = Ok(PlainAnswer::default());
            map(answer, no_rules);
        }
    }),
    client("follows redirects", "a redirect is not followed", Client::FollowsRedirects),
    client("reads an answer without end", "a body without end", Client::ReadsToTheEnd),
    client("sends everything twice", "the order", Client::SendsTwice),
    client("tells no status", "the status is told at the end", Client::TellsNoStatus),
    client("repeats a status until it is taken", "a status that is refused", Client::RepeatsStatus),
    fields(
        "gives up an answer after 0.1 s",
        "waits for what is in flight",
        &[("timeout", "0.1"), ("connect_timeout", "0.1")],
    ),
    // When it sends, and what it keeps.
    fields("keeps to no limit", "no window has more", &[("rate_limit", "100000")]),
    fields("sends by an interval", "kept waiting for an interval", &[("event_linger", "60")]),
    fields("never opens the breaker", "the breaker opens", &[("breaker_threshold", "1000000")]),
    fields(
        "notices late that the platform is back",
        "the breaker opens",
        &[("breaker_recovery", "300"), ("breaker_recovery_max", "300")],
    ),
    fields("drops the newest", "gives up the oldest", &[("buffer_overflow_policy", "raise")]),
    fields("has room for a hundred", "a burst of ten thousand", &[("buffer_size", "100")]),
    fields("gives up what waits for a second", "401 holds", &[("max_record_age", "1")]),
    fields("sends what is new first", "in order if that is asked for", &[("drain", "live_first")]),
    // Its journal.
    Wrong {
        name: "forgets a removal",
        seen_by: "leaves the journal",
        how: How::Stores(|request| {
            if let StoreOp::Write(write) = &mut request.op {
                Kind::ALL.iter().for_each(|kind| write.logs[*kind].remove.clear());
            }
        }),
    },
    Wrong {
        name: "says that it keeps what it does not keep",
        seen_by: "store of one's own",
        how: How::Stores(|request| {
            if let StoreOp::Write(write) = &mut request.op {
                for kind in Kind::ALL {
                    write.logs[kind].append.clear();
                    write.logs[kind].expected = None;
                }
            }
        }),
    },
    Wrong {
        name: "forgets which batch a record was in",
        seen_by: "the same one after a restart",
        how: How::Stores(|request| {
            if let StoreOp::Write(write) = &mut request.op {
                write.notes.clear();
            }
        }),
    },
    Wrong {
        name: "finds no journal of others",
        seen_by: "in Redis outlives",
        how: How::Recalls(|_, answer| {
            if let Ok(StoreAnswer::Orphans { orphans, .. }) = answer {
                orphans.clear();
            }
        }),
    },
    Wrong {
        name: "lets nobody have the journal of another",
        seen_by: "in files outlives",
        how: How::Recalls(|op, answer| {
            if matches!(op, StoreOp::Adopt { .. }) {
                *answer = Err(StoreError::new(StoreErrorKind::Fenced, "as planted"));
            }
        }),
    },
    Wrong {
        name: "says done while it is away",
        seen_by: "not claimed while the store is away",
        how: How::Recalls(|op, answer| {
            if answer.is_err() && matches!(op, StoreOp::Write(_)) {
                *answer = Ok(StoreAnswer::Done);
            }
        }),
    },
    Wrong {
        name: "has no room for anything",
        seen_by: "larger than memory",
        how: How::Recalls(|op, answer| {
            if matches!(op, StoreOp::Write(write) if write.appends()) {
                *answer = Err(StoreError::new(StoreErrorKind::Full, "as planted"));
            }
        }),
    },
    // Its calls.
    calls("answers a flush too early", "a flush ends in time", Call::FlushesTooEarly),
    calls("answers too early that all is durable", "without a journal durability", Call::PersistsTooEarly),
    calls("ends a flush late", "a flush ends in time", Call::FlushesLate),
    calls("ends a shutdown late", "a shutdown ends in time", Call::ShutsDownLate),
    calls("gives up at once in a shutdown", "a shutdown uses its time", Call::GivesUpAtShutdown),
    calls("counts a drop twice", "gives up the oldest", Call::CountsADropTwice),
    calls("counts no drop", "a processor that panics", Call::HidesDrops),
    calls("hides dead letters", "becomes a dead letter", Call::HidesDeadLetters),
    calls("calls itself healthy whatever happens", "credentials rotate", Call::IsAlwaysHealthy),
    calls("takes any key", "credentials rotate", Call::TakesAnyKey),
    calls("does not use a new key", "credentials rotate", Call::IgnoresANewKey),
    calls("takes an event for which it has no room", "rather wait than lose", Call::TakesWithoutRoom),
    calls("is dead when it is started again", "can be started again", Call::HasOneLife),
    calls("makes something of what is not valid", "what is not valid", Call::MendsWhatIsInvalid),
    calls("does not ask for rules when told to", "asked for by tag", Call::IgnoresRefresh),
    calls("sends what its processor panicked at", "a processor that panics", Call::PassesWhatPanicked),
    calls(
        "takes a panic of the transport for a success",
        "a transport that panics",
        Call::TakesAPanicForSuccess,
    ),
];

const fn fields(
    name: &'static str,
    seen_by: &'static str,
    fields: &'static [(&'static str, &'static str)],
) -> Wrong {
    Wrong { name, seen_by, how: How::Fields(fields) }
}

const fn sends(name: &'static str, seen_by: &'static str, edit: fn(&mut Memory, &mut HttpRequest)) -> Wrong {
    Wrong { name, seen_by, how: How::Sends(edit) }
}

const fn reads(
    name: &'static str,
    seen_by: &'static str,
    edit: fn(&mut Memory, &HttpRequest, &mut Exchanged),
) -> Wrong {
    Wrong { name, seen_by, how: How::Reads(edit) }
}

const fn client(name: &'static str, seen_by: &'static str, client: Client) -> Wrong {
    Wrong { name, seen_by, how: How::Client(client) }
}

const fn calls(name: &'static str, seen_by: &'static str, call: Call) -> Wrong {
    Wrong { name, seen_by, how: How::Calls(call) }
}

impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Meddler {
    pub(super) fn new(wrong: &'static Wrong) -> Self {
        Self { wrong, memory: Arc::default() }
    }

    /// Fields of the configuration that win over all others.
    pub(super) const fn fields(&self) -> &'static [(&'static str, &'static str)] {
        if let How::Fields(fields) = self.wrong.how { fields } else { &[] }
    }

    pub(super) fn on_request(&self, request: &mut HttpRequest) {
        if let How::Sends(edit) = self.wrong.how {
            edit(&mut self.memory(), request);
        }
    }

    pub(super) fn on_answer(&self, request: &HttpRequest, answer: &mut Exchanged) {
        if let How::Reads(edit) = self.wrong.how {
            edit(&mut self.memory(), request, answer);
        }
    }

    pub(super) fn client(&self) -> Option<Client> {
        if let How::Client(client) = self.wrong.how { Some(client) } else { None }
    }

    pub(super) fn on_operation(&self, request: &mut StoreRequest) {
        if let How::Stores(edit) = self.wrong.how {
            edit(request);
        }
    }

    pub(super) fn on_stored(&self, op: &StoreOp, answer: &mut Stored) {
        if let How::Recalls(edit) = self.wrong.how {
            edit(op, answer);
        }
    }

    /// What a processor makes of an event, however it ends.
    pub(super) fn process(
        &self,
        event: SecurityEvent,
        process: impl Fn(SecurityEvent) -> Option<SecurityEvent>,
    ) -> Option<SecurityEvent> {
        if self.does(Call::PassesWhatPanicked) {
            let result = catch_unwind(AssertUnwindSafe(|| process(event.clone())));
            return result.unwrap_or(Some(event));
        }
        process(event)
    }

    /// Whether a transport that panics delivered.
    pub(super) fn forgives_panics(&self) -> bool {
        self.does(Call::TakesAPanicForSuccess)
    }

    pub(super) fn start(&self, agent: Box<dyn Subject>) -> Box<dyn Subject> {
        let How::Calls(call) = self.wrong.how else { return agent };
        let mut memory = self.memory();
        memory.starts += 1;
        Box::new(WrongAgent { agent, call, is_first: memory.starts == 1 })
    }

    fn does(&self, call: Call) -> bool {
        matches!(self.wrong.how, How::Calls(wrong) if wrong == call)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct WrongAgent {
    agent: Box<dyn Subject>,
    call: Call,
    is_first: bool,
}

impl Subject for WrongAgent {
    fn handle(&self) -> &Handle {
        self.agent.handle()
    }

    fn send_event(&self, mut event: SecurityEvent) {
        if self.call == Call::HasOneLife && !self.is_first {
            return;
        }
        if self.call == Call::RepeatsAReason {
            event.handler_name = event.reason.split('=').nth(1).map(|text| text.to_owned().into());
        }
        if self.call == Call::RewritesText
            && let Some(text) = event.metadata.get("text").and_then(Value::as_str)
            && let Ok(value) = serde_json::from_str::<Value>(text)
        {
            event = event.metadata("text", value.to_string());
        }
        self.agent.send_event(event);
    }

    fn send_metric(&self, mut metric: SecurityMetric) {
        if self.call == Call::MendsWhatIsInvalid && metric.value.is_nan() {
            metric.value = 0.0;
        }
        self.agent.send_metric(metric);
    }

    fn slack(&self) -> Duration {
        self.agent.slack()
    }

    fn flush(&self, timeout: Duration) -> Report {
        if self.call == Call::FlushesTooEarly {
            return Report::default();
        }
        let report = self.agent.flush(timeout);
        if self.call == Call::FlushesLate {
            self.agent.pause(LATE);
        }
        report
    }

    fn persist(&self, timeout: Duration) -> Report {
        if self.call == Call::PersistsTooEarly { Report::default() } else { self.agent.persist(timeout) }
    }

    fn shutdown(&self, timeout: Duration) -> Report {
        if self.call == Call::ShutsDownLate {
            return self.agent.shutdown(timeout + LATE);
        }
        self.agent.shutdown(if self.call == Call::GivesUpAtShutdown { Duration::ZERO } else { timeout })
    }

    fn send_event_within(&self, event: SecurityEvent, timeout: Duration) -> Result<(), TrySendErrorKind> {
        if self.call == Call::TakesWithoutRoom {
            self.agent.send_event(event);
            return Ok(());
        }
        self.agent.send_event_within(event, timeout)
    }

    fn rotate(&self, credentials: Credentials) -> Result<(), ConfigError> {
        if self.call == Call::IgnoresANewKey && credentials.api_key.expose().len() >= 10 {
            return Ok(());
        }
        let rotated = self.agent.rotate(credentials);
        if self.call == Call::TakesAnyKey { Ok(()) } else { rotated }
    }

    fn refresh_rules(&self) {
        if self.call != Call::IgnoresRefresh {
            self.agent.refresh_rules();
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = self.agent.stats();
        let dropped = &mut stats.records.events.dropped;
        if self.call == Call::CountsADropTwice {
            DropReason::ALL.into_iter().for_each(|reason| dropped[reason] *= 2);
        }
        if self.call == Call::HidesDrops {
            *dropped = DropCounts::default();
        }
        stats
    }

    fn health(&self) -> Health {
        if self.call == Call::IsAlwaysHealthy { Health::default() } else { self.agent.health() }
    }

    fn take_dead_letters(&self) -> Vec<DeadLetter> {
        if self.call == Call::HidesDeadLetters { Vec::new() } else { self.agent.take_dead_letters() }
    }

    fn until(&self, is_so: &mut dyn FnMut() -> bool) -> bool {
        self.agent.until(is_so)
    }

    fn pause(&self, time: Duration) {
        self.agent.pause(time);
    }

    fn now(&self) -> Duration {
        self.agent.now()
    }
}

fn map(answer: &mut Exchanged, edit: impl FnOnce(&mut PlainAnswer)) {
    if let Ok(response) = answer {
        edit(response);
    }
}

fn succeed(response: &mut PlainAnswer) {
    response.status = 200;
    response.body = json!({"success": true}).to_string().into_bytes();
}

fn drop_header(response: &mut PlainAnswer, name: &str, if_it: impl Fn(&str) -> bool) {
    response.headers.retain(|(known, value)| known != name || !if_it(value));
}

fn says_no(response: &PlainAnswer) -> bool {
    let value: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    value["success"] == json!(false)
}

fn no_rules(response: &mut PlainAnswer) {
    response.status = 200;
    drop_header(response, "etag", |_| true);
    response.body =
        json!({"rule_id": "default-rule", "ttl": 300, "ip_blacklist": []}).to_string().into_bytes();
}

/// Changes the plain batch in a request.
fn edit(request: &mut HttpRequest, change: impl FnOnce(&mut Value)) {
    let is_compressed = request.headers.iter().any(|(name, _)| *name == "content-encoding");
    let mut plain = Vec::new();
    if is_compressed {
        let read = flate2::read::GzDecoder::new(request.body.as_slice()).read_to_end(&mut plain);
        if read.is_err() {
            return;
        }
    } else {
        plain.clone_from(&request.body);
    }
    let Ok(mut body) = serde_json::from_slice::<Value>(&plain) else { return };
    if body.get("batch_id").is_none() || body.get("events").is_none() {
        return;
    }
    change(&mut body);
    request.headers.retain(|(name, _)| *name != "content-encoding");
    request.body = body.to_string().into_bytes();
}

/// Signs the body as it is sent.
fn sign(request: &mut HttpRequest) {
    let Some((_, signature)) = request.headers.iter_mut().find(|(name, _)| *name == "x-payload-signature")
    else {
        return;
    };
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()) else { return };
    let bytes = mac.chain_update(&request.body).finalize().into_bytes();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    *signature = Secret::new(format!("v1={text}"));
}
