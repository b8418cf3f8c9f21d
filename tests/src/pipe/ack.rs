use std::pin::pin;
use std::sync::mpsc as threads;
use std::thread;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use guard_agent_proto::shell::{Handle, Receipt};
use guard_agent_proto::{Outcome, SecurityEvent, SecurityMetric};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::line::Line;
use super::output::Output;

/// Begins to print what becomes of records, in a thread of its own, so that whoever does not read
/// standard output holds up nothing but the input, and that only after `capacity` acknowledgements.
pub(super) fn open(capacity: usize, output: Output) -> (Acks, Printer) {
    let (sender, receiver) = mpsc::channel(capacity);
    let (stop, stopped) = oneshot::channel();
    let (ended, end) = threads::channel();
    thread::spawn(move || {
        // It is dropped at the end, however that comes.
        let _ended: threads::Sender<()> = ended;
        match tokio::runtime::Builder::new_current_thread().build() {
            Ok(runtime) => runtime.block_on(print(receiver, stopped, &output)),
            Err(error) => super::tell(error),
        }
    });
    (Acks(sender), Printer { stop, end })
}

/// Hands records to the agent and their receipts to the printer.
#[derive(Debug)]
pub(super) struct Acks(mpsc::Sender<Awaited>);

/// A record of the input.
#[derive(Debug)]
struct Awaited {
    /// Of an event; metrics have none.
    key: Option<Uuid>,
    line: u64,
    /// Or why the agent did not take it.
    receipt: Result<Receipt, String>,
}

impl Acks {
    /// Hands over an event as soon as there is room, until `stop`, or says why it could not.
    pub(super) async fn event(
        &self,
        line: u64,
        mut event: SecurityEvent,
        agent: &Handle,
        stop: impl Future<Output = ()> + Send + Clone,
    ) -> Result<(), String> {
        let room = self.room(stop.clone()).await?;
        // The agent would mint it too late to be known here.
        event.idempotency_key = event.idempotency_key.or_else(mint_key);
        let key = event.idempotency_key;
        let receipt = agent.send_event_with_receipt_within(event, stop).await.map_err(super::reason);
        put(room, Awaited { key, line, receipt })
    }

    /// Hands over a metric; see [`event`](Self::event).
    pub(super) async fn metric(
        &self,
        line: u64,
        metric: SecurityMetric,
        agent: &Handle,
        stop: impl Future<Output = ()> + Send + Clone,
    ) -> Result<(), String> {
        let room = self.room(stop.clone()).await?;
        let receipt = agent.send_metric_with_receipt_within(metric, stop).await.map_err(super::reason);
        put(room, Awaited { key: None, line, receipt })
    }

    /// Answers a record of a kind that the configuration turns off.
    pub(super) async fn disabled(
        &self,
        number: u64,
        record: &Line,
        stop: impl Future<Output = ()>,
    ) -> Result<(), String> {
        let key = match record {
            Line::Event(event) => event.idempotency_key.or_else(mint_key),
            Line::Metric(_) | Line::Flush => None,
        };
        let room = self.room(stop).await?;
        room.send(Awaited { key, line: number, receipt: Err("disabled".into()) });
        Ok(())
    }

    /// Room that there is, there is even after `stop`.
    async fn room(&self, stop: impl Future<Output = ()>) -> Result<mpsc::Permit<'_, Awaited>, String> {
        let room = match select(pin!(self.0.reserve()), pin!(stop)).await {
            Either::Left((room, _)) => room.ok(),
            Either::Right(_) => None,
        };
        room.ok_or_else(|| "nobody reads the acknowledgements".into())
    }
}

fn put(room: mpsc::Permit<'_, Awaited>, awaited: Awaited) -> Result<(), String> {
    let refusal = awaited.receipt.as_ref().err().cloned();
    room.send(awaited);
    refusal.map_or(Ok(()), Err)
}

fn mint_key() -> Option<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// The thread that prints.
#[derive(Debug)]
pub(super) struct Printer {
    stop: oneshot::Sender<()>,
    end: threads::Receiver<()>,
}

impl Printer {
    /// Prints what is known by now, as far as it is read before the deadline; what is not known now is not printed.
    pub(super) fn finish(self, deadline: Instant) {
        // It has ended already when there was nothing left to wait for.
        let _ = self.stop.send(());
        // Nothing is ever sent: this is the end of it, or of the time.
        let _ = self.end.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

async fn print(mut input: mpsc::Receiver<Awaited>, mut stop: oneshot::Receiver<()>, output: &Output) {
    let write = |line: Option<String>| line.into_iter().for_each(|line| output.print(line));
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            // News first: what is known does not pile up.
            biased;
            Some(line) = waiting.next() => write(line),
            Some(awaited) = input.recv() => waiting.push(line(awaited)),
            _ = &mut stop => break,
        }
    }
    input.close();
    while let Some(awaited) = input.recv().await {
        waiting.push(line(awaited));
    }
    while let Some(Some(line)) = waiting.next().now_or_never() {
        write(line);
    }
}

/// The line to print, once there is something to say.
async fn line(Awaited { key, line, receipt }: Awaited) -> Option<String> {
    let reason = match receipt {
        Ok(mut receipt) => match receipt.secured().await? {
            Outcome::Durable | Outcome::Delivered | Outcome::HandedOver => None,
            Outcome::Dropped(reason) => Some(reason.as_str().to_owned()),
        },
        Err(refusal) => Some(refusal),
    };
    let (ack, nack) = if reason.is_none() { (key, None) } else { (None, key) };
    serde_json::to_string(&AckLine { ack, nack, line, reason }).ok()
}

#[derive(Serialize)]
struct AckLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nack: Option<Uuid>,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}
