//! What stands beside the two agents: the least that a queue costs, and what a Rust service would reach
//! for otherwise. Nothing of it reaches a network.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter, SdkLogRecord, SdkLogger, SdkLoggerProvider,
};
use sentry::protocol::Map;
use sentry::{ClientInitGuard, ClientOptions, Envelope, Transport, TransportFactory, TransportOptions};

use crate::request::Request;
use crate::side::{HOLD, Setup, Side};

/// Our event into a locked queue that has room, and nothing else.
#[derive(Clone)]
pub struct BarePush(Arc<Mutex<VecDeque<guard_agent_tokio::SecurityEvent>>>);

impl Side for BarePush {
    type Event = guard_agent_tokio::SecurityEvent;

    fn event(&self, request: &Request<'_>) -> Self::Event {
        crate::ours::event(request)
    }

    async fn start(_: &Setup) -> Self {
        Self(Arc::new(Mutex::new(VecDeque::with_capacity(HOLD))))
    }

    #[inline]
    fn send(&self, event: Self::Event) -> impl Future<Output = ()> + Send {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        ready(())
    }

    async fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn flush(&self) {
        self.reset().await;
    }

    async fn dropped(&self) -> u64 {
        0
    }
}

/// `Logger::emit` into the batch processor, whose exporter discards.
#[derive(Clone)]
pub struct OpenTelemetry {
    provider: SdkLoggerProvider,
    logger: SdkLogger,
}

#[derive(Debug)]
struct Discard;

impl LogExporter for Discard {
    async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
        Ok(())
    }
}

impl Side for OpenTelemetry {
    type Event = SdkLogRecord;

    #[inline]
    fn event(&self, request: &Request<'_>) -> SdkLogRecord {
        let text = |text: &str| AnyValue::from(text.to_owned());
        let mut record = self.logger.create_log_record();
        record.set_timestamp(std::time::SystemTime::now());
        record.set_body(text(request.event_type));
        record.add_attribute("ip_address", text(request.ip_address));
        record.add_attribute("country", text(request.country));
        record.add_attribute("user_agent", text(request.user_agent));
        record.add_attribute("action_taken", text(request.action_taken));
        record.add_attribute("reason", text(request.reason));
        record.add_attribute("endpoint", text(request.endpoint));
        record.add_attribute("method", text(request.method));
        record.add_attribute("status_code", AnyValue::from(i64::from(request.status_code)));
        record.add_attribute("response_time", AnyValue::from(request.response_time));
        record.add_attribute("handler_name", text(request.handler_name));
        record.add_attribute("request_id", text(request.request_id));
        record.add_attribute("tenant", text(request.tenant));
        record
    }

    async fn start(_: &Setup) -> Self {
        // The default queue of 2,048 would drop most of a round.
        let config = BatchConfigBuilder::default().with_max_queue_size(HOLD).build();
        let processor = BatchLogProcessor::builder(Discard).with_batch_config(config).build();
        let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
        let logger = provider.logger("bench");
        Self { provider, logger }
    }

    #[inline]
    fn send(&self, event: SdkLogRecord) -> impl Future<Output = ()> + Send {
        self.logger.emit(event);
        ready(())
    }

    async fn reset(&self) {
        self.provider.force_flush().expect("a flush");
    }

    async fn flush(&self) {
        self.reset().await;
    }

    async fn dropped(&self) -> u64 {
        0
    }
}

/// `capture_event` into a transport that discards.
#[derive(Clone)]
pub struct Sentry(#[expect(dead_code, reason = "the client ends with it")] Arc<ClientInitGuard>);

struct Void;

impl Transport for Void {
    fn send_envelope(&self, envelope: Envelope) {
        drop(envelope);
    }
}

impl TransportFactory for Void {
    fn create_transport_with_options(&self, _: TransportOptions) -> Arc<dyn Transport> {
        Arc::new(Self)
    }
}

impl Side for Sentry {
    type Event = sentry::protocol::Event<'static>;

    #[inline]
    fn event(&self, request: &Request<'_>) -> Self::Event {
        sentry::protocol::Event {
            message: Some(request.event_type.to_owned()),
            extra: Map::from([
                ("ip_address".to_owned(), request.ip_address.into()),
                ("country".to_owned(), request.country.into()),
                ("user_agent".to_owned(), request.user_agent.into()),
                ("action_taken".to_owned(), request.action_taken.into()),
                ("reason".to_owned(), request.reason.into()),
                ("endpoint".to_owned(), request.endpoint.into()),
                ("method".to_owned(), request.method.into()),
                ("status_code".to_owned(), request.status_code.into()),
                ("response_time".to_owned(), request.response_time.into()),
                ("handler_name".to_owned(), request.handler_name.into()),
                ("request_id".to_owned(), request.request_id.into()),
                ("tenant".to_owned(), request.tenant.into()),
            ]),
            ..Default::default()
        }
    }

    async fn start(_: &Setup) -> Self {
        let options = ClientOptions::new().dsn("http://key@127.0.0.1/1").transport(Void);
        Self(Arc::new(sentry::init(options)))
    }

    #[inline]
    fn send(&self, event: Self::Event) -> impl Future<Output = ()> + Send {
        sentry::capture_event(event);
        ready(())
    }

    async fn reset(&self) {}

    async fn flush(&self) {}

    async fn dropped(&self) -> u64 {
        0
    }
}
