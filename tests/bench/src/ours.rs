use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use guard_agent_tokio::store::{StoreAnswer, StoreError, StoreOp, StoreRequest};
use guard_agent_tokio::{Agent, AgentConfig, BoxFuture, Encoder, FileStore, SecurityEvent, Store};

use crate::request::{Request, Requests};
use crate::side::{
    API_KEY, ENCRYPTION_KEY, HOLD, INSTALL_ID, Journal, Load, Mode, SIGNING_SECRET, Setup, Side,
};

#[derive(Clone)]
pub struct Ours {
    agent: Agent,
    groups: Groups,
}

/// Bytes of each change of a journal.
type Groups = Arc<Mutex<Vec<usize>>>;

impl Side for Ours {
    type Event = SecurityEvent;

    #[inline]
    fn event(&self, request: &Request<'_>) -> SecurityEvent {
        event(request)
    }

    async fn start(setup: &Setup) -> Self {
        let mut config = AgentConfig::builder(API_KEY).endpoint(&setup.endpoint).install_id(INSTALL_ID);
        match setup.load {
            Load::Defaults | Load::Stream => {}
            Load::Hold => {
                config = config.buffer_size(HOLD).buffer_bytes(512 << 20).rate_limit(100_000);
            }
            Load::Unlimited => config = config.rate_limit(100_000),
        }
        match setup.mode {
            Mode::Plain => config = config.compression_enabled(false),
            Mode::Gzip => {}
            Mode::Sealed => {
                config = config.payload_signing_secret(SIGNING_SECRET).project_encryption_key(ENCRYPTION_KEY);
            }
        }
        let groups = Groups::default();
        let mut store = None;
        match &setup.journal {
            Journal::Absent => {}
            Journal::Redis { url } | Journal::StoppedRedis { url, .. } => {
                config = config.redis_url(url.as_str())
            }
            Journal::Files { dir } => {
                let files = FileStore::open(dir).expect("a folder");
                store = Some(Arc::new(Weighed { files, groups: Arc::clone(&groups) }));
            }
        }
        let mut builder = Agent::builder(config.build().expect("a configuration"));
        if let Some(store) = store {
            builder = builder.store(store);
        }
        Self { agent: builder.start().expect("an agent"), groups }
    }

    #[inline]
    fn send(&self, event: SecurityEvent) -> impl Future<Output = ()> + Send {
        self.agent.send_event(event);
        ready(())
    }

    async fn reset(&self) {
        self.flush().await;
    }

    async fn flush(&self) {
        self.agent.flush(Duration::from_secs(75)).await;
    }

    async fn persist(&self) {
        let report = self.agent.persist(Duration::from_secs(60)).await;
        assert!(report.is_secured(), "not durable within a minute: {report:?}");
    }

    async fn delivered(&self) -> u64 {
        self.agent.stats().records.events.delivered
    }

    fn groups(&self) -> Vec<usize> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn dropped(&self) -> u64 {
        self.agent.stats().records.events.dropped.total()
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(self.agent.stats().memory_bytes)
    }
}

/// A journal in files, and the bytes of its changes.
struct Weighed {
    files: FileStore,
    groups: Groups,
}

impl Store for Weighed {
    fn execute(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        if let StoreOp::Write(write) = &request.op {
            let logs = [&write.logs.events, &write.logs.metrics];
            let bytes = logs.iter().flat_map(|log| &log.append).map(|block| block.bytes.len()).sum();
            if bytes > 0 {
                self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            }
        }
        self.files.execute(request)
    }
}

#[inline]
pub fn event(request: &Request<'_>) -> SecurityEvent {
    SecurityEvent::now(request.event_type)
        .ip_address(request.ip_address)
        .country(request.country)
        .user_agent(request.user_agent)
        .action_taken(request.action_taken)
        .reason(request.reason)
        .endpoint(request.endpoint)
        .method(request.method)
        .status_code(request.status_code)
        .response_time(request.response_time)
        .handler_name(request.handler_name)
        .metadata("request_id", request.request_id)
        .metadata("tenant", request.tenant)
}

/// Bytes of JSON that such an event takes on the wire.
pub fn mean_json_len(requests: &Requests) -> f64 {
    const COUNT: usize = 1_024;
    let config = AgentConfig::builder(API_KEY).build().expect("a configuration");
    let mut encoder = Encoder::new(&config, [0; 32]).expect("an encoder");
    let lengths = requests
        .cycle()
        .take(COUNT)
        .map(|request| encoder.event(&event(&request)).expect("a record").json().len() as f64);
    lengths.sum::<f64>() / COUNT as f64
}
