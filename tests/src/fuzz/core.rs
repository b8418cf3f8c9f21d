use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use guard_agent_proto::store::{
    Block, Note, Orphan, Space, StoreAnswer, StoreError, StoreErrorKind, StreamId,
};
use guard_agent_proto::{
    AgentConfig, ByKind, DrainOrder, DropReason, FlushId, Input, Instant, Kind, OverflowPolicy, RequestId,
    Response, Seq, StoreOpId, Timestamp, TransportError, TransportErrorKind,
};

use super::driver::{Driver, record};

/// Feeds the core any sequence of inputs: also answers to what was never asked, answers that come twice, time that
/// stands still and time that jumps.
pub fn core(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((config, journal)) = configuration(&mut u) else { return };
    let mut driver = Driver::new(&config, journal);
    // The end of the data ends the sequence.
    while !u.is_empty() && step(&mut driver, &mut u).is_ok() {}
    driver.finish();
}

fn configuration(u: &mut Unstructured<'_>) -> Result<(AgentConfig, bool)> {
    let mut config = AgentConfig::builder("fuzzing-api-key").build().unwrap();
    if u.arbitrary()? {
        config.project_id = Some(String::from("project"));
    }
    if u.arbitrary()? {
        config.buffer_size = u.int_in_range(1..=64)?;
        config.buffer_bytes = u.int_in_range(1_024..=20_000)?;
    }
    config.buffer_overflow_policy =
        *u.choose(&[OverflowPolicy::Drop, OverflowPolicy::Block, OverflowPolicy::Raise])?;
    config.drain = *u.choose(&[DrainOrder::LiveFirst, DrainOrder::Fifo])?;
    config.max_record_age = u.arbitrary::<Option<u16>>()?.map(|age| Duration::from_secs(u64::from(age) + 1));
    config.batch_max_records = u.int_in_range(1..=100)?;
    config.rate_limit = u.int_in_range(10..=100)?;
    config.max_concurrent_flushes = u.int_in_range(1..=4)?;
    config.dead_letter_capacity = u.int_in_range(0..=4)?;
    Ok((config, u.arbitrary()?))
}

fn step(driver: &mut Driver, u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=15)? {
        0..=2 => {
            let time = time_step(u)?;
            driver.advance(time);
        }
        3 => driver.now.wall = Timestamp::from_unix_micros(u.arbitrary()?),
        4..=6 => {
            let (kind, attack, size) = (kind(u)?, u.arbitrary()?, u.int_in_range(0..=4_000)?);
            let count = u.int_in_range(1..=100)?;
            driver.input(Input::Records(vec![record(kind, attack, size); count]));
        }
        7..=10 => {
            let id = match driver.requests.len().checked_sub(1) {
                Some(last) => driver.requests.swap_remove(u.int_in_range(0..=last)?).0,
                None => RequestId::from_u64(u.arbitrary()?),
            };
            let result = if u.ratio(3, 4)? { Ok(response(u)?) } else { Err(transport_error(u)?) };
            let input = Input::Response { id, result };
            if u.ratio(1, 8)? {
                driver.input(input.clone());
            }
            driver.input(input);
        }
        11 | 12 => {
            let id = match driver.operations.len().checked_sub(1) {
                Some(last) => driver.operations.swap_remove(u.int_in_range(0..=last)?).id,
                None => StoreOpId::from_u64(u.arbitrary()?),
            };
            let result = if u.ratio(3, 4)? { Ok(store_answer(u)?) } else { Err(store_error(u)?) };
            driver.input(Input::StoreReply { id, result });
        }
        13 => {
            let (kind, count) = (kind(u)?, u64::from(u.arbitrary::<u16>()?));
            driver.input(if u.arbitrary()? {
                Input::Lost { kind, reason: *u.choose(&DropReason::ALL)?, count }
            } else {
                Input::Invalid { kind, count }
            });
        }
        14 => {
            let deadline = deadline(driver, u)?;
            driver.input(match u.int_in_range(0..=2)? {
                0 => Input::Flush { id: FlushId::from_u64(u.arbitrary()?), deadline },
                1 => Input::RefreshRules,
                _ => Input::CredentialsChanged,
            });
        }
        _ => {
            // Seldom, since little happens afterwards.
            if u.ratio(1, 8)? {
                let deadline = deadline(driver, u)?;
                driver.input(Input::Shutdown { deadline });
            }
        }
    }
    Ok(())
}

fn time_step(u: &mut Unstructured<'_>) -> Result<Duration> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Duration::ZERO,
        1 => Duration::from_micros(u.int_in_range(1..=1_000)?),
        2 | 3 => Duration::from_millis(u.int_in_range(1..=2_000)?),
        4 => Duration::from_secs(u.int_in_range(1..=600)?),
        _ => Duration::from_secs(u.int_in_range(1..=1_000_000)?),
    })
}

fn deadline(driver: &Driver, u: &mut Unstructured<'_>) -> Result<Instant> {
    Ok(if u.ratio(1, 8)? { Instant::from_micros(u.arbitrary()?) } else { driver.now.instant + time_step(u)? })
}

fn kind(u: &mut Unstructured<'_>) -> Result<Kind> {
    u.choose(&Kind::ALL).copied()
}

fn response(u: &mut Unstructured<'_>) -> Result<Response> {
    const STATUSES: [u16; 18] =
        [200, 200, 200, 201, 204, 304, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504];
    const BODIES: [&str; 10] = [
        "",
        "{}",
        r#"{"success":true,"errors":null,"events_dropped_invalid_timestamp":3}"#,
        r#"{"success":false}"#,
        r#"{"success":false,"errors":[{"index":0},{"index":99},{"idempotency_key":"x"}]}"#,
        r#"{"errors":["nothing we know"]}"#,
        "<html>",
        r#"{"rule_id":"a","version":2,"ttl":0,"ip_blacklist":["192.0.2.7"]}"#,
        r#"{"rule_id":"b","ttl":-9223372036854775808,"expires_at":"9999-12-31T23:59:59Z"}"#,
        r#"{"rule_id":"c","expires_at":"1970-01-01T00:00:00Z"}"#,
    ];
    const WAITS: [&str; 6] = ["0", "5", "-5", "nan", "99999999999999999999", "Thu, 01 Jan 1970 00:00:00 GMT"];
    let status = if u.ratio(1, 10)? { u.arbitrary()? } else { *u.choose(&STATUSES)? };
    let retry_after = if u.ratio(1, 4)? { Some(String::from(*u.choose(&WAITS)?)) } else { None };
    let etag = if u.ratio(1, 4)? { Some(String::from("\"etag\"")) } else { None };
    let body = u.choose(&BODIES)?.as_bytes().to_vec();
    Ok(Response { status, retry_after, etag, body, ..Response::default() })
}

fn transport_error(u: &mut Unstructured<'_>) -> Result<TransportError> {
    let kind = *u.choose(&[
        TransportErrorKind::Connect,
        TransportErrorKind::Timeout,
        TransportErrorKind::Connection,
        TransportErrorKind::Tls,
        TransportErrorKind::Protocol,
        TransportErrorKind::Panicked,
        TransportErrorKind::Other,
    ])?;
    Ok(TransportError::new(kind, "scripted"))
}

/// An answer that has nothing to do with the question.
fn store_answer(u: &mut Unstructured<'_>) -> Result<StoreAnswer> {
    Ok(match u.int_in_range(0..=5)? {
        0 | 1 => StoreAnswer::Done,
        2 => {
            let orphan = |_| {
                Ok(Orphan { stream: StreamId::new(Space::new(0), u.arbitrary()?), released: u.arbitrary()? })
            };
            let orphans = (0..3).map(orphan).collect::<Result<_>>()?;
            StoreAnswer::Orphans {
                orphans,
                streams: u.arbitrary()?,
                foreign: u.arbitrary()?,
                complete: u.arbitrary()?,
            }
        }
        3 => {
            let (events, metrics) = (Seq::from_u64(u.arbitrary()?), Seq::from_u64(u.arbitrary()?));
            StoreAnswer::Diverged { last: ByKind { events, metrics } }
        }
        4 => {
            let note =
                Note { name: String::from(*u.choose(&["s-e-1", "d-m-7", "?"])?), value: Some(bytes(u)?) };
            StoreAnswer::Adopted { notes: vec![note], lost_logs: 0 }
        }
        _ => {
            let block = |_| Ok(Block { id: Seq::from_u64(u.arbitrary()?), bytes: bytes(u)? });
            let blocks = (0..3).map(block).collect::<Result<_>>()?;
            StoreAnswer::Blocks { blocks, skipped: u64::from(u.arbitrary::<u8>()?) }
        }
    })
}

fn bytes(u: &mut Unstructured<'_>) -> Result<Arc<[u8]>> {
    let length = u.int_in_range(0..=40)?;
    Ok(u.bytes(length)?.into())
}

fn store_error(u: &mut Unstructured<'_>) -> Result<StoreError> {
    let kind = *u.choose(&[
        StoreErrorKind::Fenced,
        StoreErrorKind::Unreachable,
        StoreErrorKind::TimedOut,
        StoreErrorKind::Full,
    ])?;
    Ok(StoreError::new(kind, "scripted"))
}

#[cfg(test)]
mod tests {
    use super::super::pseudo_random_inputs;

    #[test]
    fn any_sequence_of_inputs_keeps_the_accounting() {
        pseudo_random_inputs().for_each(|data| super::core(&data));
    }
}
