//! The stores that ship with the agent, played through the suite that every store must pass.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use guard_agent_proto::shell::{FileStore, MemoryStore, Store};
use guard_agent_tests::scratch::Scratch;
use guard_agent_tests::store_suite::{LeaseEnd, SCENARIOS, Subject};

struct Memory(Arc<MemoryStore>);

impl Subject for Memory {
    fn open(&self) -> Arc<dyn Store> {
        self.0.clone()
    }

    fn lease_end(&self) -> LeaseEnd {
        LeaseEnd::Time
    }
}

struct Files(Scratch);

impl Subject for Files {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(FileStore::open(self.0.path()).unwrap())
    }

    fn lease_end(&self) -> LeaseEnd {
        LeaseEnd::OwnerGone
    }
}

#[tokio::test]
async fn memory() {
    for scenario in SCENARIOS {
        scenario.run(&Memory(Arc::default())).await;
    }
}

#[tokio::test]
async fn files() {
    for scenario in SCENARIOS {
        scenario.run(&Files(Scratch::new().unwrap())).await;
    }
}
