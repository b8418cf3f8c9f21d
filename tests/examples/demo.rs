//! The agent at work, on loopback: a service under attack, the rule that stops it, an outage, and the accounting.
//!
//! ```text
//! make demo
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use guard_agent_tests::collector::{Arrival, Collector};
use guard_agent_tokio::{Agent, AgentConfig, Kind, MetricType, SecurityEvent, SecurityMetric, Stats};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::sleep;

const ATTACKER: &str = "203.0.113.66";
const VISITORS: [&str; 3] = ["198.51.100.7", "198.51.100.23", "192.0.2.114"];
const OUTAGE: Duration = Duration::from_secs(4);
/// Nothing here takes longer, unless it is broken.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether every record is accounted for and has arrived.
async fn run() -> Result<bool, Box<dyn Error>> {
    let collector = Arc::new(Collector::builder().api_key("demo-api-key").start());
    let config = AgentConfig::builder("demo-api-key").endpoint(collector.url()).project_id("demo").build()?;
    let agent = Agent::builder(config).start()?;
    let service = Service::start(agent.clone()).await?;
    let story = Story { started: Instant::now() };
    let printer = tokio::spawn(story.print_arrivals(Arc::clone(&collector)));

    story.chapter("Ordinary requests");
    for (visitor, path) in VISITORS.iter().zip(["/products/1", "/products/2", "/login"]) {
        service.request(visitor, path).await?;
        sleep(Duration::from_millis(150)).await;
    }
    arrived(&collector, 3).await;

    story.chapter("An attack, and the rule that stops it");
    let attack = Instant::now();
    let status =
        service.request(ATTACKER, "/products/1?id=1%27%20UNION%20SELECT%20password%20FROM%20users").await?;
    story.say(&format!("{ATTACKER} tries an SQL injection and is answered {status}"));
    // The platform decides as soon as it hears of it.
    collector.until(|received| received.events.iter().any(is_attack), LIMIT).await;
    collector.set_rules(&json!({"rule_id": "ban-attacker", "version": 2, "ip_blacklist": [ATTACKER]}));
    story.say(&format!("the platform bans {ATTACKER}"));
    while service.request(ATTACKER, "/products/1").await? != StatusCode::FORBIDDEN {
        if attack.elapsed() > LIMIT {
            return Err("the rule did not arrive".into());
        }
        sleep(Duration::from_millis(100)).await;
    }
    story.say(&format!(
        "its next request is refused: {:.2} s from attack to block",
        attack.elapsed().as_secs_f64()
    ));
    sleep(Duration::from_secs(1)).await;

    story.chapter("The platform is away, and the service goes on");
    collector.down();
    let outage = Instant::now();
    while outage.elapsed() < OUTAGE {
        for visitor in VISITORS {
            service.request(visitor, "/products/3").await?;
            sleep(Duration::from_millis(100)).await;
        }
    }
    let waiting = agent.stats().records.events.pending;
    story.say(&format!("{waiting} events wait in memory; health: {:?}", agent.health().level));
    collector.up();
    let back = Instant::now();
    story.say("the platform is back");
    let accepted = agent.stats().records.events.accepted;
    arrived(&collector, accepted).await;
    story.say(&format!("all of them arrived {:.2} s later", back.elapsed().as_secs_f64()));

    story.chapter("Shutdown");
    let before = Instant::now();
    agent.shutdown(Duration::from_secs(10)).await;
    story.say(&format!("done in {:.2} s", before.elapsed().as_secs_f64()));
    printer.abort();
    Ok(account(&agent.stats(), &collector))
}

/// The service: two pages, a guard before them, and clients that say who they are in `X-Forwarded-For`.
struct Service {
    url: String,
    client: reqwest::Client,
}

impl Service {
    async fn start(agent: Agent) -> Result<Self, Box<dyn Error>> {
        let app = Router::new()
            .route("/products/{id}", get(async |Path(id): Path<String>| format!("product {id}")))
            .route("/login", post(async || "welcome").get(async || "who are you?"))
            .layer(from_fn_with_state(agent, guard));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async { axum::serve(listener, app).await });
        Ok(Self { url, client: reqwest::Client::builder().no_proxy().build()? })
    }

    async fn request(&self, client: &str, path: &str) -> Result<StatusCode, reqwest::Error> {
        let request = self.client.get(format!("{}{path}", self.url)).header("x-forwarded-for", client);
        Ok(request.send().await?.status())
    }
}

/// Refuses whom the rules ban and what looks like an attack, and reports every request.
async fn guard(State(agent): State<Agent>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let client = request.headers().get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let client = client.unwrap_or_default().to_owned();
    let method = request.method().clone();
    let endpoint = request.uri().to_string();

    if agent.rules().is_some_and(|document| document.rules.ip_blacklist.contains(&client)) {
        let event = describe("ip_blocked", &client, &method, &endpoint).reason("banned by a dynamic rule");
        agent.send_event(event.action_taken("request_blocked").status_code(403));
        return StatusCode::FORBIDDEN.into_response();
    }
    if endpoint.to_lowercase().contains("union%20select") {
        let event = describe("penetration_attempt", &client, &method, &endpoint).reason("SQL injection");
        agent.send_event(
            event.action_taken("request_blocked").pattern_matched("union select").status_code(400),
        );
        return StatusCode::BAD_REQUEST.into_response();
    }
    let response = next.run(request).await;
    let seconds = started.elapsed().as_secs_f64();
    let event =
        describe("security_headers_applied", &client, &method, &endpoint).action_taken("headers_added");
    agent.send_event(event.status_code(response.status().as_u16()).response_time(seconds));
    agent.send_metric(SecurityMetric::now(MetricType::ResponseTime, seconds).endpoint(&endpoint));
    response
}

fn describe(event_type: &str, client: &str, method: &Method, endpoint: &str) -> SecurityEvent {
    SecurityEvent::now(event_type).ip_address(client).method(method).endpoint(endpoint)
}

/// Tells what happens, with the time since the start.
#[derive(Clone, Copy)]
struct Story {
    started: Instant,
}

impl Story {
    fn chapter(self, title: &str) {
        println!("\n{title}");
    }

    fn say(self, what: &str) {
        println!("{:>7.2} s  {what}", self.started.elapsed().as_secs_f64());
    }

    async fn print_arrivals(self, collector: Arc<Collector>) {
        let mut printed = 0;
        loop {
            let new = collector.read(|received| received.events[printed..].to_vec());
            printed += new.len();
            new.iter().for_each(|arrival| self.print(arrival));
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn print(self, arrival: &Arrival) {
        let event = arrival.value();
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let time = (arrival.at - self.started).as_secs_f64();
        let propagation = arrival.propagation().unwrap_or_default().as_millis();
        println!(
            "{time:>7.2} s    <- {:<24} {:<14} {:<4} {:<13.13} {propagation:>5} ms",
            text("event_type"),
            text("ip_address"),
            text("method"),
            text("endpoint"),
        );
    }
}

fn is_attack(arrival: &Arrival) -> bool {
    arrival.value()["event_type"] == "penetration_attempt"
}

async fn arrived(collector: &Collector, events: u64) {
    collector.until(|received| received.event_count >= events, LIMIT).await;
    // So that the printer is not overtaken.
    sleep(Duration::from_millis(30)).await;
}

/// Prints the accounting; answers whether it balances, with nothing lost.
fn account(stats: &Stats, collector: &Collector) -> bool {
    let (mut accepted, mut delivered, mut pending, mut dropped) = (0, 0, 0, 0);
    for ledger in Kind::ALL.map(|kind| &stats.records[kind]) {
        accepted += ledger.accepted;
        delivered += ledger.delivered;
        pending += ledger.pending;
        dropped += ledger.dropped.total();
    }
    let balances = Kind::ALL.iter().all(|kind| stats.records[*kind].balances());
    let (events, metrics, duplicates) =
        collector.read(|received| (received.event_count, received.metric_count, received.duplicates));
    // An answer that the outage swallowed shows as duplicates; metrics have no key to recognise them by.
    let arrived = events == stats.records.events.delivered && metrics >= stats.records.metrics.delivered;
    println!("           the collector has {events} events and {metrics} metrics ({duplicates} came twice)");
    for violation in collector.violations() {
        println!("           against the contract: {violation}");
    }
    println!("\naccounting: accepted={accepted} delivered={delivered} pending={pending} dropped={dropped}");
    balances && arrived && delivered == accepted && collector.violations().is_empty()
}
