//! A fork: the child has a typed error and can have an agent of its own, and the parent does not notice.

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
fn main() {
    unix::main();
}

#[cfg(unix)]
mod unix {
    use std::panic::AssertUnwindSafe;
    use std::time::{Duration, Instant};

    use fork::Fork;
    use guard_agent_blocking::{
        Agent, AgentConfig, HealthReason, Outcome, Receipt, SecurityEvent, TrySendErrorKind,
    };
    use guard_agent_tests::collector::Collector;
    use rustix::process::{Pid, WaitOptions, waitpid};

    const HANG: Duration = Duration::from_secs(20);

    pub(super) fn main() {
        // Often, since what other threads are about at that moment is what matters.
        for round in 0..20 {
            fork_while_the_agent_works(round);
        }
    }

    #[expect(clippy::expect_used, reason = "a test")]
    fn fork_while_the_agent_works(round: u64) {
        let collector = Collector::start();
        let agent = start(&collector);
        for _ in 0..50 {
            agent.send_event(SecurityEvent::now("before"));
        }
        let mut receipt = agent.try_send_event_with_receipt(SecurityEvent::now("awaited")).expect("room");
        std::thread::sleep(Duration::from_millis(round));
        match fork::fork().expect("a fork") {
            Fork::Child => {
                let good =
                    std::panic::catch_unwind(AssertUnwindSafe(|| child(&agent, &mut receipt, &collector)));
                // Neither the harness nor destructors are this process's business.
                std::process::exit(i32::from(good.is_err()));
            }
            Fork::Parent(pid) => {
                agent.send_event(SecurityEvent::now("meanwhile"));
                assert!(ended_well(pid), "the child failed in round {round}");
                agent.send_event(SecurityEvent::now("after"));
                assert_eq!(receipt.settled_within(HANG), Some(Outcome::Delivered));
                let report = agent.shutdown(HANG);
                assert!(report.is_complete(), "{report:?}");
                let ledger = agent.stats().records.events;
                assert_eq!((ledger.accepted, ledger.delivered), (53, 53), "{ledger:?}");
                collector.wait_for(|received| received.event_count >= 56, HANG);
                collector.read(|received| {
                    assert_eq!((received.event_count, received.duplicates), (56, 0));
                });
            }
        }
    }

    /// What is the parent's is closed; what is started here works.
    fn child(inherited: &Agent, receipt: &mut Receipt, collector: &Collector) {
        let began = Instant::now();
        assert_eq!((receipt.secured(), receipt.settled()), (None, None));
        inherited.send_event(SecurityEvent::now("ignored"));
        let refused = inherited.try_send_event(SecurityEvent::now("refused"));
        assert_eq!(refused.err().map(|error| error.kind), Some(TrySendErrorKind::Closed));
        assert!(inherited.health().reasons.contains(&HealthReason::DriverGone));
        inherited.flush(HANG);
        inherited.persist(HANG);
        assert!(inherited.send_event_within(SecurityEvent::now("refused"), HANG).is_err());
        assert!(inherited.take_dead_letters().is_empty());
        assert!(inherited.stats().records.events.balances());
        inherited.shutdown(HANG);
        drop(inherited.clone());
        assert!(began.elapsed() < HANG / 2, "it waited for a thread that it does not have");

        let own = start(collector);
        for _ in 0..3 {
            own.send_event(SecurityEvent::now("of the child"));
        }
        assert!(own.shutdown(HANG).is_complete());
    }

    #[expect(clippy::expect_used, reason = "a test")]
    fn start(collector: &Collector) -> Agent {
        let config = AgentConfig::builder("0123456789").endpoint(collector.url()).install_id("fork");
        Agent::builder(config.build().expect("a configuration")).start().expect("an agent")
    }

    #[expect(clippy::expect_used, reason = "a test")]
    fn ended_well(pid: i32) -> bool {
        let child = Pid::from_raw(pid).expect("the id of a process");
        let ended = waitpid(Some(child), WaitOptions::empty()).expect("the child's end");
        ended.and_then(|(_, status)| status.exit_status()) == Some(0)
    }
}
