use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use guard_agent_proto::shell::MemoryStore;
use guard_agent_proto::store::{
    Block, LogWrite, Note, OwnerId, Space, StoreOp, StoreRequest, StreamId, Write,
};
use guard_agent_proto::{AgentConfig, ByKind, Input, Kind, Response, Seq, StoreOpId};

use super::driver::{Driver, record};

/// The stream that is adopted.
const STREAM: u64 = 7;

/// An agent adopts a stream whose blocks and notes have valid checksums, and any content.
pub fn journal(data: &[u8]) {
    let mut config = AgentConfig::builder("fuzzing-api-key").build().unwrap();
    config.buffer_size = 16;
    let mut driver = Driver::new(&config, true);
    let store = MemoryStore::new();
    let mut u = Unstructured::new(data);
    if leave(&store, &driver, &mut u).is_ok() {
        while !u.is_empty() && step(&mut driver, &store, &mut u).is_ok() {}
    }
    driver.finish();
}

/// Some other agent wrote that, and is gone.
fn leave(store: &MemoryStore, driver: &Driver, u: &mut Unstructured<'_>) -> Result<()> {
    let stream = StreamId::new(Space::new(0), STREAM);
    let mut log = |kind| {
        let mut place = 1;
        let append = (0..u.int_in_range(0..=5)?).map(|_| block(kind, &mut place, u));
        let append = append.collect::<Result<_>>()?;
        Ok(LogWrite { append, ..LogWrite::default() })
    };
    let logs = ByKind { events: log(Kind::Event)?, metrics: log(Kind::Metric)? };
    let notes = (0..u.int_in_range(0..=4)?).map(|_| note(u)).collect::<Result<_>>()?;
    let write = Write { stream, register: true, lease: Duration::from_secs(1), logs, notes };
    for op in [StoreOp::Write(write), StoreOp::Close { stream, keep: true }] {
        let (id, owner) = (StoreOpId::from_u64(1), OwnerId::from_u64(1));
        let request = StoreRequest { id, owner, op, timeout: Duration::from_secs(1) };
        store.execute_at(request, driver.now.instant).unwrap();
    }
    Ok(())
}

fn step(driver: &mut Driver, store: &MemoryStore, u: &mut Unstructured<'_>) -> Result<()> {
    if u.ratio(1, 8)? {
        let kind = *u.choose(&Kind::ALL)?;
        driver.input(Input::Records(vec![record(kind, false, 10); u.int_in_range(1..=20)?]));
    }
    if let Some((id, _)) = driver.requests.pop() {
        let status = *u.choose(&[200, 200, 422, 503])?;
        driver.input(Input::Response { id, result: Ok(Response { status, ..Response::accepted() }) });
    }
    match driver.operations.pop() {
        Some(request) => {
            let id = request.id;
            let result = store.execute_at(request, driver.now.instant);
            driver.input(Input::StoreReply { id, result });
        }
        None => driver.advance(Duration::from_millis(u.int_in_range(1..=30_000)?)),
    }
    Ok(())
}

fn note(u: &mut Unstructured<'_>) -> Result<Note> {
    let what = *u.choose(&["s", "d"])?;
    let kind = *u.choose(&["e", "m"])?;
    let name = format!("{what}-{kind}-{}", u.arbitrary::<u8>()?);
    let body = bytes(u)?;
    Ok(Note { name, value: Some(frame(crc32fast::hash(&body), &body)) })
}

/// A block of records from `place` on, or of anything.
fn block(kind: Kind, place: &mut u64, u: &mut Unstructured<'_>) -> Result<Block> {
    let mut body = Vec::new();
    if u.ratio(3, 4)? {
        let count = u.int_in_range(1..=6)?;
        number(count, &mut body);
        // Now and then it overlaps the one before.
        *place = place.saturating_sub(u64::from(u.ratio(1, 8)?)).max(1);
        number(*place, &mut body);
        number(u.arbitrary()?, &mut body);
        for _ in 0..count {
            let step = u64::from(u.arbitrary::<u8>()?) / 64;
            *place += step + 1;
            number(step << 1, &mut body);
            number(u.arbitrary::<u16>()?.into(), &mut body);
            let json = bytes(u)?;
            number(json.len() as u64, &mut body);
            body.extend(json);
        }
    } else {
        body = bytes(u)?;
        *place += 1;
    }
    let id = if u.ratio(7, 8)? { *place - 1 } else { u.arbitrary()? };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&STREAM.to_le_bytes());
    hasher.update(&[kind as u8]);
    hasher.update(&id.to_le_bytes());
    hasher.update(&body);
    Ok(Block { id: Seq::from_u64(id), bytes: frame(hasher.finalize(), &body) })
}

fn frame(checksum: u32, body: &[u8]) -> Arc<[u8]> {
    let mut bytes = vec![1];
    bytes.extend(checksum.to_le_bytes());
    bytes.extend(body);
    bytes.into()
}

fn number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn bytes(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = u.int_in_range(0..=40)?;
    Ok(u.bytes(length)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::pseudo_random_inputs;

    #[test]
    fn any_stream_keeps_the_accounting() {
        pseudo_random_inputs().for_each(|data| super::journal(&data));
    }
}
