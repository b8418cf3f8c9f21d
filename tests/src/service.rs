//! What the example servers share: an application with a password and a limit per address, which tells an agent of
//! failed logins, of who exceeds the limit, and how many requests there are. A server adds how it listens, and when
//! it ends.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use guard_agent_proto::shell::Handle;
use guard_agent_proto::{AgentConfig, MetricType, Report, SecurityEvent, SecurityMetric, printable};

/// What `/private` asks for in the header `Authorization`.
const PASSWORD: &str = "Bearer open-sesame";
/// Requests of one address in a window.
const LIMIT: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// The application.
#[derive(Debug, Default)]
pub struct Service {
    /// Requests of each address since the beginning of its window.
    seen: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

/// A request, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who sent it.
    pub from: IpAddr,
    /// `GET`
    pub method: &'a str,
    /// `/private`
    pub path: &'a str,
    /// The header of that name.
    pub authorization: Option<&'a str>,
}

impl Service {
    /// Answers a request with a status code and a body, and tells the agent of it.
    pub fn answer(&self, request: &Request<'_>, agent: &Handle) -> (u16, &'static str) {
        let started = Instant::now();
        let answer = self.decide(request);
        let event = |event_type| {
            SecurityEvent::now(event_type)
                .ip_address(request.from.to_string())
                .method(request.method)
                .endpoint(request.path)
                .status_code(answer.0)
        };
        match answer.0 {
            401 => agent.send_event(event("authentication_failed").reason("wrong password")),
            429 => agent.send_event(event("rate_limited").reason("too many requests")),
            _ => {}
        }
        let metric = |kind, value| SecurityMetric::now(kind, value).endpoint(request.path);
        agent.send_metric(metric(MetricType::RequestCount, 1.0));
        agent.send_metric(metric(MetricType::ResponseTime, started.elapsed().as_secs_f64()));
        answer
    }

    fn decide(&self, request: &Request<'_>) -> (u16, &'static str) {
        if self.is_beyond_limit(request.from) {
            return (429, "slow down\n");
        }
        match (request.path, request.authorization) {
            ("/private", Some(PASSWORD)) => (200, "a secret\n"),
            ("/private", _) => (401, "who are you?\n"),
            ("/", _) => (200, "hello\n"),
            _ => (404, "not here\n"),
        }
    }

    fn is_beyond_limit(&self, from: IpAddr) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = seen.entry(from).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() > WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        *count > LIMIT
    }
}

/// The agent's configuration, from the environment: `GUARD_AGENT_API_KEY` and so on.
///
/// # Errors
///
/// It cannot be used.
pub fn config() -> Result<AgentConfig, String> {
    AgentConfig::from_env().map_err(|error| format!("{error} (GUARD_AGENT_API_KEY and so on)"))
}

/// What a server that ended ends with; what was not delivered, or went wrong, is told on standard error.
#[must_use]
pub fn end(served: Result<Report, Box<dyn Error + Send + Sync>>) -> ExitCode {
    match served {
        Ok(report) if report.is_secured() => ExitCode::SUCCESS,
        Ok(report) => {
            tell(format_args!("not everything was delivered: {report:?}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(error);
            ExitCode::FAILURE
        }
    }
}

/// Tells something on standard error, in one line.
pub fn tell(what: impl Display) {
    // There is nobody to tell that it is closed.
    let _ = writeln!(io::stderr(), "{}", printable(format_args!("server: {what}")));
}

/// Says where the server listens.
pub fn announce(address: SocketAddr) {
    // There is nobody to tell that standard output is closed.
    let _ = writeln!(io::stdout(), "listening on http://{address}");
}
