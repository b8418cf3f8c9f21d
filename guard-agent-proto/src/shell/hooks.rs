use std::boxed::Box;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::string::String;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec::Vec;

use futures_util::future::select;

use super::offload::Shortage;
use super::{BoxFuture, Runtime};
use crate::{ErrorStage, RulesDocument, SecurityEvent, SecurityMetric, printable};

/// Errors that wait for a hook that is still busy with earlier ones; the rest is not told.
const WAITING_NOTICES: usize = 64;
/// How long the end of an agent waits for hooks: so that a program that exits with the shutdown's report has heard of
/// everything, and shorter than a shutdown waits for its report.
const LAST_NOTICES: Duration = Duration::from_millis(50);

type ErrorHook = Arc<dyn Fn(&AgentError) + Send + Sync>;
type Processor<T> = Box<dyn Fn(T) -> Option<T> + Send + Sync>;
type RulesHook = dyn Fn(Option<&Arc<RulesDocument>>) + Send + Sync;

/// Something failed inside the agent, as told to the error hook: at most once per episode and stage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentError {
    /// Where.
    pub stage: ErrorStage,
    /// What, in one line without secrets, as [`printable`](crate::printable) leaves it.
    pub message: String,
}

impl AgentError {
    pub(super) fn new(stage: ErrorStage, message: impl fmt::Display) -> Self {
        Self { stage, message: printable(message) }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.message)
    }
}

impl std::error::Error for AgentError {}

/// The application's code that the agent calls.
///
/// All of it runs on the driver's side, never on a thread that sends a record and never under a lock, so
/// it may call the agent. A panic is contained: the record is counted as dropped for
/// [`DropReason::Processor`](crate::DropReason::Processor), and the agent goes on.
///
/// A processor that blocks holds back the records behind it; requests already under way, retries and
/// the deadlines of flush and shutdown go on. An error hook or a subscriber that blocks holds back only
/// later calls of hooks and subscribers. None of them may hold the last handle of the agent for ever:
/// an agent that is never let go is not stopped.
#[derive(Default)]
pub struct Hooks {
    pub(super) processors: Processors,
    pub(super) error: Option<ErrorHook>,
}

impl Hooks {
    /// No hooks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step that each event passes: it changes, replaces or (`None`) removes the event, which
    /// counts as filtered.
    pub fn event_processor(
        &mut self,
        process: impl Fn(SecurityEvent) -> Option<SecurityEvent> + Send + Sync + 'static,
    ) {
        self.processors.events.push(Box::new(process));
    }

    /// Adds a step that each metric passes.
    pub fn metric_processor(
        &mut self,
        process: impl Fn(SecurityMetric) -> Option<SecurityMetric> + Send + Sync + 'static,
    ) {
        self.processors.metrics.push(Box::new(process));
    }

    /// Is told of errors, in place of an earlier error hook.
    pub fn on_error(&mut self, hook: impl Fn(&AgentError) + Send + Sync + 'static) {
        self.error = Some(Arc::new(hook));
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("event_processors", &self.processors.events.len())
            .field("metric_processors", &self.processors.metrics.len())
            .field("error", &self.error.is_some())
            .finish()
    }
}

/// The steps that records pass before they are encoded.
#[derive(Default)]
pub(super) struct Processors {
    pub(super) events: Vec<Processor<SecurityEvent>>,
    pub(super) metrics: Vec<Processor<SecurityMetric>>,
}

impl Processors {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.metrics.is_empty()
    }
}

/// Who listens to rules.
#[derive(Default)]
pub(super) struct Subscribers(Mutex<Vec<Weak<RulesHook>>>);

/// Keeps a subscription to the rules; dropping it ends the subscription.
#[must_use = "dropping it ends the subscription"]
pub struct RulesSubscription(#[expect(dead_code, reason = "held, not read")] Arc<RulesHook>);

impl Subscribers {
    pub(super) fn add(
        &self,
        hook: impl Fn(Option<&Arc<RulesDocument>>) + Send + Sync + 'static,
    ) -> RulesSubscription {
        let hook: Arc<RulesHook> = Arc::new(hook);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&hook));
        RulesSubscription(hook)
    }

    fn current(&self) -> Vec<Arc<RulesHook>> {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.retain(|hook| hook.strong_count() > 0);
        hooks.iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscribers")
    }
}

impl fmt::Debug for RulesSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RulesSubscription")
    }
}

enum Notice {
    Error(AgentError),
    Rules(Option<Arc<RulesDocument>>),
}

/// Tells the application what happened: in order, one call at a time, beside the delivery.
pub(super) struct Notices {
    error: Option<ErrorHook>,
    waiting: VecDeque<Notice>,
    running: Option<BoxFuture<'static, ()>>,
}

impl Notices {
    pub(super) fn new(error: Option<ErrorHook>) -> Self {
        Self { error, waiting: VecDeque::new(), running: None }
    }

    pub(super) fn error(&mut self, error: AgentError) {
        if self.error.is_some() && self.waiting.len() < WAITING_NOTICES {
            self.waiting.push_back(Notice::Error(error));
        }
    }

    /// Tells of an error here and now, for which there is no later.
    pub(super) fn error_at_once(&self, error: &AgentError) {
        self.error.iter().for_each(|hook| contain(|| hook(error)));
    }

    /// Only the newest rules are worth telling.
    pub(super) fn rules(&mut self, rules: Option<Arc<RulesDocument>>) {
        self.waiting.retain(|notice| matches!(notice, Notice::Error(_)));
        self.waiting.push_back(Notice::Rules(rules));
    }

    /// Goes on telling.
    pub(super) fn poll(
        &mut self,
        runtime: &Arc<impl Runtime>,
        shortage: &Shortage,
        subscribers: &Subscribers,
        cx: &mut Context<'_>,
    ) {
        loop {
            if let Some(running) = &mut self.running {
                match running.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(()) => self.running = None,
                }
            }
            if self.waiting.is_empty() {
                return;
            }
            self.running = Some(self.tell(runtime, shortage, subscribers));
        }
    }

    /// Tells what is left, and waits for that a moment. A hook that takes longer is left alone.
    pub(super) async fn finish(
        mut self,
        runtime: &Arc<impl Runtime>,
        shortage: &Shortage,
        subscribers: &Subscribers,
    ) {
        let limit = runtime.sleep_until(runtime.now().instant + LAST_NOTICES);
        let told = poll_fn(|cx| {
            self.poll(runtime, shortage, subscribers, cx);
            if self.running.is_some() { Poll::Pending } else { Poll::Ready(()) }
        });
        select(pin!(told), limit).await;
    }

    fn tell(
        &mut self,
        runtime: &Arc<impl Runtime>,
        shortage: &Shortage,
        subscribers: &Subscribers,
    ) -> BoxFuture<'static, ()> {
        let notices = mem::take(&mut self.waiting);
        let subscribers = subscribers.current();
        let error = self.error.clone();
        shortage.insist(runtime, move || {
            for notice in notices {
                match notice {
                    Notice::Error(told) => error.iter().for_each(|hook| contain(|| hook(&told))),
                    Notice::Rules(rules) => {
                        subscribers.iter().for_each(|hook| contain(|| hook(rules.as_ref())));
                    }
                }
            }
        })
    }
}

fn contain(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::warn!(target: "guard_agent", "a hook of the application panicked");
    }
}
