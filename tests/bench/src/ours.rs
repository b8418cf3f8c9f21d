use std::future::ready;
use std::time::Duration;

use guard_agent_tokio::{Agent, AgentConfig, Encoder, SecurityEvent};

use crate::request::{Request, Requests};
use crate::side::{API_KEY, ENCRYPTION_KEY, HOLD, INSTALL_ID, Load, Mode, SIGNING_SECRET, Setup, Side};

#[derive(Clone)]
pub struct Ours(Agent);

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
        }
        match setup.mode {
            Mode::Plain => config = config.compression_enabled(false),
            Mode::Gzip => {}
            Mode::Sealed => {
                config = config.payload_signing_secret(SIGNING_SECRET).project_encryption_key(ENCRYPTION_KEY);
            }
        }
        let config = config.build().expect("a configuration");
        Self(Agent::builder(config).start().expect("an agent"))
    }

    #[inline]
    fn send(&self, event: SecurityEvent) -> impl Future<Output = ()> + Send {
        self.0.send_event(event);
        ready(())
    }

    async fn reset(&self) {
        self.flush().await;
    }

    async fn flush(&self) {
        self.0.flush(Duration::from_secs(75)).await;
    }

    async fn dropped(&self) -> u64 {
        self.0.stats().records.events.dropped.total()
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(self.0.stats().memory_bytes)
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
