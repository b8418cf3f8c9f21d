use std::time::Duration;

use guard_agent_rs::{AgentConfig, GuardAgent, RedisConfig, SecurityEvent};
use serde_json::json;

use crate::request::Request;
use crate::side::{
    API_KEY, ENCRYPTION_KEY, HOLD, INSTALL_ID, Journal, Load, Mode, SIGNING_SECRET, Setup, Side,
};

#[derive(Clone)]
pub struct Peer(GuardAgent);

impl Side for Peer {
    type Event = SecurityEvent;

    #[inline]
    fn event(&self, request: &Request<'_>) -> SecurityEvent {
        SecurityEvent::new(request.event_type)
            .with_ip_address(request.ip_address)
            .with_country(request.country)
            .with_user_agent(request.user_agent)
            .with_action_taken(request.action_taken)
            .with_reason(request.reason)
            .with_endpoint(request.endpoint)
            .with_method(request.method)
            .with_status_code(request.status_code)
            .with_response_time(request.response_time)
            .with_handler_name(request.handler_name)
            .with_metadata(json!({"request_id": request.request_id, "tenant": request.tenant}))
    }

    async fn start(setup: &Setup) -> Self {
        let mut config = AgentConfig::new(API_KEY);
        config.endpoint.clone_from(&setup.endpoint);
        config.install_id = Some(INSTALL_ID.to_owned());
        match setup.load {
            Load::Defaults | Load::Unlimited => {}
            Load::Hold => {
                config.buffer_size = HOLD;
                config.flush_interval = 3_600;
            }
            Load::Stream => {
                config.buffer_size = 1_000;
                config.high_watermark_ratio = 0.3;
            }
        }
        match setup.mode {
            Mode::Plain => config.compression_enabled = false,
            Mode::Gzip => {}
            Mode::Sealed => {
                config.payload_signing_secret = Some(SIGNING_SECRET.to_owned());
                config.project_encryption_key = Some(ENCRYPTION_KEY.to_owned());
            }
        }
        match &setup.journal {
            Journal::Absent => {}
            Journal::Redis { url } | Journal::StoppedRedis { url, .. } => {
                let mut redis = RedisConfig::new(url);
                if setup.load == Load::Hold && !setup.journal.stops() {
                    // Each of its writes waits behind all others, which the default of 5 s would end.
                    redis.command_timeout_ms = 120_000;
                }
                config.redis = Some(redis);
            }
            Journal::Files { .. } => panic!("the peer has no journal in files"),
        }
        let agent = GuardAgent::new(config).expect("a configuration");
        agent.start().await;
        Self(agent)
    }

    #[inline]
    fn send(&self, event: SecurityEvent) -> impl Future<Output = ()> + Send {
        self.0.send_event(event)
    }

    async fn reset(&self) {
        // Memory goes first; a Redis that has stopped would hold this up.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.clear_buffer()).await;
    }

    async fn flush(&self) {
        // Its request limit may hold this up for a minute.
        let _ = tokio::time::timeout(Duration::from_secs(75), self.0.flush_buffer()).await;
    }

    async fn persist(&self) {
        self.0.wait_for_persists().await;
        let failures = self.0.get_stats().await.redis_persist_failures;
        assert_eq!(failures, 0, "writes failed, which is cheaper than to make them");
    }

    async fn delivered(&self) -> u64 {
        self.0.get_stats().await.events_sent
    }

    async fn dropped(&self) -> u64 {
        self.0.get_stats().await.events_dropped
    }
}
