//! Drives the core with nothing but `core` and `alloc`, as a static library with its own panic handler and
//! allocator: if anything in its dependency tree links std, this does not compile.
#![no_std]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::panic::PanicInfo;
use core::time::Duration;

use guard_agent_proto::{
    Agent, AgentConfig, Input, Instant, Kind, Now, Output, Record, Response, Timestamp,
};

#[cfg(feature = "negative-control-clock")]
use std::time::Instant as _;

/// C's allocator.
struct Malloc;

unsafe extern "C" {
    fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    fn abort() -> !;
}

// SAFETY: `aligned_alloc` gives memory of that size and alignment or null, and `free` takes it back. The size
// is rounded up to a multiple of the alignment, as C11 asks for.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align().max(size_of::<usize>());
        unsafe { aligned_alloc(align, layout.size().next_multiple_of(align)).cast() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        unsafe { free(memory.cast()) }
    }
}

#[global_allocator]
static MALLOC: Malloc = Malloc;

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    unsafe { abort() }
}

/// Delivers one event and shuts down. Answers how many records are unaccounted for, or a negative number when
/// the agent could not be made or does not come to an end.
#[unsafe(no_mangle)]
pub extern "C" fn guard_agent_smoke() -> i64 {
    let Ok(config) = AgentConfig::builder("no-std-api-key").build() else { return -1 };
    let mut now = at(0);
    let Ok(mut agent) = Agent::new(&config, false, [7; 32], now) else { return -2 };

    let json: Box<[u8]> = Box::from(&br#"{"event_type":"ip_banned"}"#[..]);
    agent.handle_input(now, Input::Records(vec![Record::new(Kind::Event, true, json)]));
    agent.handle_input(now, Input::Shutdown { deadline: now.instant + Duration::from_secs(5) });
    for _ in 0..1_000 {
        match agent.poll_output() {
            Output::Send(request) => {
                let result = Ok(Response::accepted());
                agent.handle_input(now, Input::Response { id: request.id, result });
            }
            Output::Closed(_) => {
                let records = agent.stats().records;
                return if records.events.balances() && records.metrics.balances() { 0 } else { 1 };
            }
            Output::Idle { deadline, .. } if deadline == Instant::FAR_FUTURE => return -3,
            Output::Idle { deadline, .. } => {
                now = at(deadline.as_micros());
                agent.handle_input(now, Input::Timeout);
            }
            _ => {}
        }
    }
    -4
}

fn at(micros: u64) -> Now {
    let wall = Timestamp::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX));
    Now { instant: Instant::from_micros(micros), wall }
}
