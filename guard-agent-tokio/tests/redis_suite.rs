//! The journal in Redis, played through the suite that every store must pass.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use guard_agent_tests::redis_server::RedisServer;
use guard_agent_tests::store_suite::{LeaseEnd, SCENARIOS, Subject};
use guard_agent_tokio::{AgentConfig, RedisOptions, RedisStore, Store};

/// A part of a server that nobody else uses.
struct Redis {
    url: String,
    prefix: String,
}

impl Subject for Redis {
    fn open(&self) -> Arc<dyn Store> {
        let config =
            AgentConfig::builder("key-of-the-tests").redis_url(&self.url).redis_key_prefix(&self.prefix);
        Arc::new(RedisStore::new(&RedisOptions::new(&config.build().unwrap())).unwrap())
    }

    fn lease_end(&self) -> LeaseEnd {
        LeaseEnd::Time
    }
}

#[tokio::test]
async fn redis() {
    let server = RedisServer::start(&[]);
    for (number, scenario) in SCENARIOS.iter().enumerate() {
        scenario.run(&Redis { url: server.url(), prefix: format!("suite:{number}") }).await;
    }
}
