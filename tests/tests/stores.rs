//! The stores that ship with the agent, played through the suite that every store must pass.

use std::sync::Arc;

use guard_agent_proto::shell::next::{MemoryStore, Store};
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

#[tokio::test]
async fn memory() {
    for scenario in SCENARIOS {
        scenario.run(&Memory(Arc::default())).await;
    }
}
