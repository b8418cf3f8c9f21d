//! What every store must do: one scenario per sentence of [`guard_agent_proto::store`].
//!
//! A store's tests bring a [`Subject`] and run [`SCENARIOS`] one after another, each on a storage of its own. The
//! scenarios know no runtime: the caller blocks on them. They wait, by sleeping on the thread for some
//! milliseconds, only where a lease has to end.
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures_util::FutureExt;
//! use guard_agent_proto::shell::{MemoryStore, Store};
//! use guard_agent_tests::store_suite::{LeaseEnd, SCENARIOS, Subject};
//!
//! struct Memory(Arc<MemoryStore>);
//!
//! impl Subject for Memory {
//!     fn open(&self) -> Arc<dyn Store> {
//!         self.0.clone()
//!     }
//!
//!     fn lease_end(&self) -> LeaseEnd {
//!         LeaseEnd::Time
//!     }
//! }
//!
//! for scenario in SCENARIOS {
//!     // A store in memory never waits; others need a runtime that blocks.
//!     scenario.run(&Memory(Arc::default())).now_or_never().unwrap();
//! }
//! ```

mod agent;
mod leases;
mod logs;
mod streams;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use guard_agent_proto::shell::Store;

use agent::World;

/// A storage under test, empty at first.
pub trait Subject {
    /// Opens it once more, as another process would.
    fn open(&self) -> Arc<dyn Store>;

    /// What ends a lease.
    fn lease_end(&self) -> LeaseEnd;
}

/// What ends a lease that is not given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Its time, even if the owner lives on.
    Time,
    /// The end of its owner: here, that the handle from [`Subject::open`] is dropped. Such a store need not
    /// remember adoptions for longer than the stream is there, for no first owner can come back.
    OwnerGone,
}

/// One thing that stores must do.
#[derive(Clone, Copy)]
pub struct Scenario {
    name: &'static str,
    play: for<'a> fn(World<'a>) -> LocalBoxFuture<'a, ()>,
}

impl Scenario {
    /// What it is about, as an identifier.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Plays it on an empty storage.
    ///
    /// # Panics
    ///
    /// When the store does something else than it must; the message begins with the scenario's name.
    pub async fn run(&self, subject: &dyn Subject) {
        let outcome = AssertUnwindSafe((self.play)(World::new(subject))).catch_unwind().await;
        if let Err(panic) = outcome {
            match message(&*panic) {
                Some(message) => panic!("{}: {message}", self.name),
                None => resume_unwind(panic),
            }
        }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn message(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied())
}

macro_rules! scenarios {
    ($($module:ident::$name:ident,)*) => {
        &[$(Scenario { name: stringify!($name), play: |world| Box::pin($module::$name(world)) },)*]
    };
}

/// All that a store must do.
pub const SCENARIOS: &[Scenario] = scenarios![
    logs::blocks_are_read_in_the_order_of_their_ids,
    logs::the_logs_of_a_stream_are_apart,
    logs::a_write_that_expects_something_else_diverges_and_changes_nothing,
    logs::a_write_may_expect_nothing,
    logs::a_repeated_write_doubles_nothing,
    logs::a_repetition_goes_by_the_last_block,
    logs::a_write_without_changes_is_done,
    logs::absent_blocks_may_be_removed,
    logs::removed_blocks_keep_their_place_in_the_count,
    logs::a_log_is_read_page_by_page,
    logs::notes_are_set_overwritten_and_deleted,
    logs::any_byte_and_no_byte_is_kept,
    logs::large_blocks_are_kept,
    logs::many_blocks_are_kept,
    logs::an_operation_that_was_dropped_is_repeated_without_harm,
    leases::another_owner_is_fenced_and_changes_nothing,
    leases::an_owner_adopts_its_own_stream,
    leases::a_lease_that_ended_makes_an_orphan,
    leases::an_orphan_that_nobody_adopted_is_its_owners_again,
    leases::an_orphan_is_nobody_elses_without_an_adoption,
    leases::writing_reading_and_adopting_renew_the_lease,
    leases::one_of_two_adopts,
    leases::an_adopter_may_ask_twice,
    leases::an_adopted_stream_is_read_and_written_in_place,
    leases::its_first_owner_is_fenced_by_an_adoption,
    leases::its_first_owner_stays_fenced_when_the_adopter_is_late,
    leases::its_first_owner_stays_fenced_when_the_adopter_gave_it_up,
    leases::its_first_owner_stays_fenced_when_the_stream_is_deleted,
    leases::a_name_that_was_registered_too_late_goes_by_adoption,
    leases::an_adopted_stream_is_adopted_again,
    leases::a_stream_that_is_not_there_can_be_adopted,
    streams::a_stream_that_is_kept_is_a_released_orphan_at_once,
    streams::a_stream_that_was_kept_is_its_owners_again,
    streams::a_stream_that_is_deleted_leaves_nothing,
    streams::closing_what_is_not_there_is_done,
    streams::registering_twice_is_without_harm,
    streams::streams_with_an_owner_are_counted,
    streams::spaces_are_apart,
];
