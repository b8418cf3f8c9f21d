//! Blocks and notes of one owner.

use guard_agent_proto::Kind::{Event, Metric};
use guard_agent_proto::store::{StoreAnswer, StoreOp};

use super::agent::{Agent, Draft, STREAM, World, adopted, block, diverged, ids, note};

const A_MEBIBYTE: usize = 1 << 20;

pub(super) async fn blocks_are_read_in_the_order_of_their_ids(world: World<'_>) {
    let agent = world.agent(1);
    agent.done(Draft::new(STREAM).expect(Event, 0).append(Event, [3, 7])).await;
    agent.done(Draft::new(STREAM).expect(Event, 7).append(Event, [20, 1_000_000_000_000])).await;
    let blocks = [3, 7, 20, 1_000_000_000_000].map(|id| block(Event, id));
    assert_eq!(agent.read(STREAM, Event).await, blocks);
}

pub(super) async fn the_logs_of_a_stream_are_apart(world: World<'_>) {
    let agent = world.agent(1);
    let draft = Draft::new(STREAM).expect(Event, 0).expect(Metric, 0);
    agent.done(draft.append(Event, [1, 4]).append(Metric, [2, 3])).await;
    agent.done(Draft::new(STREAM).expect(Event, 4).expect(Metric, 3).remove(Event, [1, 2, 3])).await;
    assert_eq!(agent.read(STREAM, Event).await, [block(Event, 4)]);
    assert_eq!(agent.read(STREAM, Metric).await, [2, 3].map(|id| block(Metric, id)));
}

pub(super) async fn a_write_that_expects_something_else_diverges_and_changes_nothing(world: World<'_>) {
    let agent = world.agent(1);
    let first = Draft::new(STREAM).expect(Event, 5).append(Event, [6]).note("n", "early");
    assert_eq!(agent.write(first).await, diverged(0, 0));
    agent.done(Draft::new(STREAM).append(Event, [1, 2]).append(Metric, [3]).note("n", "kept")).await;

    let draft = || Draft::new(STREAM).remove(Event, [1]).note("n", "changed").note("m", "new");
    let higher = draft().expect(Event, 7).append(Event, [8]);
    assert_eq!(agent.write(higher).await, diverged(2, 3));
    let lower = draft().expect(Event, 1).append(Event, [8]);
    assert_eq!(agent.write(lower).await, diverged(2, 3));
    let nothing_to_append = draft().expect(Event, 0);
    assert_eq!(agent.write(nothing_to_append).await, diverged(2, 3));
    let one_of_two = draft().expect(Event, 2).append(Event, [8]).expect(Metric, 4).append(Metric, [9]);
    assert_eq!(agent.write(one_of_two).await, diverged(2, 3));

    assert_eq!(agent.ids(STREAM, Event).await, [1, 2]);
    assert_eq!(agent.ids(STREAM, Metric).await, [3]);
    assert_eq!(agent.adopt(STREAM).await, adopted([note("n", "kept")]));
}

pub(super) async fn a_write_may_expect_nothing(world: World<'_>) {
    let agent = world.agent(1);
    agent.done(Draft::new(STREAM).append(Event, [2])).await;
    agent.done(Draft::new(STREAM).append(Event, [9])).await;
    agent.done(Draft::new(STREAM).remove(Event, [2])).await;
    assert_eq!(agent.ids(STREAM, Event).await, [9]);
}

pub(super) async fn a_repeated_write_doubles_nothing(world: World<'_>) {
    let agent = world.agent(1);
    agent.done(Draft::new(STREAM).append(Event, [1, 2]).note("old", "value")).await;
    let write = Draft::new(STREAM)
        .expect(Event, 2)
        .append(Event, [3, 5])
        .remove(Event, [1])
        .expect(Metric, 0)
        .append(Metric, [4])
        .note("new", "value")
        .forget("old");
    for _ in 0..3 {
        agent.done(write.clone()).await;
    }
    assert_eq!(agent.read(STREAM, Event).await, [2, 3, 5].map(|id| block(Event, id)));
    assert_eq!(agent.read(STREAM, Metric).await, [block(Metric, 4)]);
    assert_eq!(agent.adopt(STREAM).await, adopted([note("new", "value")]));
}

pub(super) async fn a_repetition_goes_by_the_last_block(world: World<'_>) {
    let agent = world.agent(1);
    let first = Draft::new(STREAM).expect(Event, 0).append(Event, [1, 2]);
    agent.done(first.clone()).await;
    agent.done(Draft::new(STREAM).expect(Event, 2).remove(Event, [1, 2])).await;
    agent.done(first.clone()).await;
    assert!(agent.ids(STREAM, Event).await.is_empty(), "removed blocks do not come back");
    agent.done(Draft::new(STREAM).expect(Event, 2).append(Event, [3])).await;
    assert_eq!(agent.write(first).await, diverged(3, 0));
}

pub(super) async fn a_write_without_changes_is_done(world: World<'_>) {
    let agent = world.agent(1);
    agent.done(Draft::new(STREAM)).await;
    agent.done(Draft::new(STREAM).expect(Event, 0).expect(Metric, 0)).await;
    assert!(agent.ids(STREAM, Event).await.is_empty());
    assert!(agent.ids(STREAM, Metric).await.is_empty());
}

pub(super) async fn absent_blocks_may_be_removed(world: World<'_>) {
    let agent = world.agent(1);
    agent.done(Draft::new(STREAM).remove(Event, [1, 2])).await;
    agent.done(Draft::new(STREAM).append(Event, [1, 5]).append(Metric, [3])).await;
    agent.done(Draft::new(STREAM).remove(Event, [1, 2, 3, 4, 900])).await;
    assert_eq!(agent.ids(STREAM, Event).await, [5]);
    assert_eq!(agent.ids(STREAM, Metric).await, [3]);
}

pub(super) async fn removed_blocks_keep_their_place_in_the_count(world: World<'_>) {
    let agent = world.agent(1);
    agent.done(Draft::new(STREAM).append(Event, [1, 2]).append(Metric, [3])).await;
    agent.done(Draft::new(STREAM).remove(Event, [2]).remove(Metric, [3])).await;
    assert_eq!(agent.write(Draft::new(STREAM).expect(Event, 1).append(Event, [4])).await, diverged(2, 3));
    agent.done(Draft::new(STREAM).expect(Event, 2).remove(Event, [1])).await;

    // Nothing is left but what the store remembers, and it does so for an adopter too.
    world.lapse(agent, STREAM).await;
    let adopter = world.agent(2);
    assert_eq!(adopter.adopt(STREAM).await, adopted([]));
    assert_eq!(adopter.write(Draft::new(STREAM).expect(Event, 0).expect(Metric, 0)).await, diverged(2, 3));
    let next = Draft::new(STREAM).expect(Event, 2).append(Event, [4]).expect(Metric, 3).append(Metric, [5]);
    adopter.done(next).await;
}

pub(super) async fn a_log_is_read_page_by_page(world: World<'_>) {
    let agent = world.agent(1);
    agent.done(Draft::new(STREAM).append(Event, [2, 4, 6, 8, 10]).append(Metric, [3, 5])).await;
    agent.done(Draft::new(STREAM).remove(Event, [6])).await;
    for (from, limit, expected) in [
        (0, 100, &[2, 4, 8, 10][..]),
        (0, 2, &[2, 4]),
        (2, 1, &[2]),
        (3, 1, &[4]),
        (4, 2, &[4, 8]),
        (5, 2, &[8, 10]),
        (9, 2, &[10]),
        (10, 2, &[10]),
        (11, 2, &[]),
        (u64::MAX, 1, &[]),
    ] {
        let page = agent.try_read(STREAM, Event, from, limit).await;
        let Ok(StoreAnswer::Blocks { blocks, skipped: 0 }) = page else { panic!("read: {page:?}") };
        assert_eq!(ids(&blocks), expected, "{limit} from {from}");
    }
}

pub(super) async fn notes_are_set_overwritten_and_deleted(world: World<'_>) {
    let agent = world.agent(1);
    let name = "a name of sixty-four characters, the longest that a note may ha!";
    assert_eq!(name.len(), 64);
    agent.done(Draft::new(STREAM).note("a", "1").note("b", [0, 255]).note(name, "3")).await;
    agent.done(Draft::new(STREAM).note("a", "one").note("c", "").forget("b").forget("absent")).await;
    assert_eq!(agent.adopt(STREAM).await, adopted([note("a", "one"), note(name, "3"), note("c", "")]));

    world.lapse(agent, STREAM).await;
    let adopter = world.agent(2);
    assert_eq!(adopter.adopt(STREAM).await, adopted([note("a", "one"), note(name, "3"), note("c", "")]));
    adopter.done(Draft::new(STREAM).forget(name).note("c", "4")).await;
    assert_eq!(adopter.adopt(STREAM).await, adopted([note("a", "one"), note("c", "4")]));
}

pub(super) async fn any_byte_and_no_byte_is_kept(world: World<'_>) {
    let agent = world.agent(1);
    let bytes: Vec<u8> = (0..=255).collect();
    let line_ends = b"\r\n\0\r\n$-1\r\n";
    let draft = Draft::new(STREAM).append_bytes(Event, 1, &bytes).append_bytes(Event, 2, b"");
    agent.done(draft.append_bytes(Event, 3, line_ends).note("n", &bytes)).await;
    let read = agent.read(STREAM, Event).await;
    assert_eq!(read.iter().map(|block| &*block.bytes).collect::<Vec<_>>(), [&bytes[..], b"", line_ends]);
    assert_eq!(agent.adopt(STREAM).await, adopted([note("n", bytes)]));
}

pub(super) async fn large_blocks_are_kept(world: World<'_>) {
    let agent = world.agent(1);
    let large = |id: u64| -> Vec<u8> {
        (0..A_MEBIBYTE as u64).map(|place| (place.wrapping_mul(id + 1) >> 5) as u8).collect()
    };
    for id in 1..=4 {
        agent.done(Draft::new(STREAM).expect(Event, id - 1).append_bytes(Event, id, &large(id))).await;
    }
    for id in 1..=4 {
        let page = agent.try_read(STREAM, Event, id, 1).await;
        let Ok(StoreAnswer::Blocks { blocks, .. }) = page else { panic!("read: {page:?}") };
        assert!(*blocks[0].bytes == *large(id), "block {id}");
    }
}

pub(super) async fn many_blocks_are_kept(world: World<'_>) {
    const BLOCKS: u64 = 3_000;
    const BATCH: u64 = 100;

    let agent = world.agent(1);
    for start in (0..BLOCKS).step_by(BATCH as usize) {
        agent.done(Draft::new(STREAM).expect(Event, start).append(Event, start + 1..=start + BATCH)).await;
    }
    agent.done(Draft::new(STREAM).remove(Event, (1..=BLOCKS).step_by(2))).await;
    let even: Vec<u64> = (2..=BLOCKS).step_by(2).collect();
    assert_eq!(page_through(&agent, 64).await, even);
    agent.done(Draft::new(STREAM).remove(Event, even)).await;
    assert!(page_through(&agent, 64).await.is_empty());
}

async fn page_through(agent: &Agent, limit: usize) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let from = all.last().map_or(1, |last| last + 1);
        match agent.try_read(STREAM, Event, from, limit).await {
            Ok(StoreAnswer::Blocks { blocks, skipped: 0 }) if blocks.is_empty() => return all,
            Ok(StoreAnswer::Blocks { blocks, skipped: 0 }) => {
                assert!(blocks.len() <= limit);
                assert!(blocks.iter().all(|read| *read == block(Event, read.id.as_u64())));
                all.extend(ids(&blocks));
            }
            answer => panic!("read: {answer:?}"),
        }
    }
}

pub(super) async fn an_operation_that_was_dropped_is_repeated_without_harm(world: World<'_>) {
    let agent = world.agent(1);
    for id in 1..=20 {
        let write = Draft::new(STREAM).expect(Event, id - 1).append(Event, [id]).note("n", [id as u8]);
        agent.drop_operation(StoreOp::Write(write.0.clone())).await;
        agent.done(write).await;
    }
    let remove = Draft::new(STREAM).expect(Event, 20).remove(Event, 1..=18);
    agent.drop_operation(StoreOp::Write(remove.0.clone())).await;
    agent.done(remove).await;
    assert_eq!(agent.ids(STREAM, Event).await, [19, 20]);

    world.lapse(agent, STREAM).await;
    let adopter = world.agent(2);
    adopter.drop_operation(StoreOp::Adopt { stream: STREAM, lease: super::agent::LONG }).await;
    assert_eq!(adopter.adopt(STREAM).await, adopted([note("n", [20])]));
    adopter.drop_operation(StoreOp::Close { stream: STREAM, keep: false }).await;
    assert_eq!(adopter.close(STREAM, false).await, Ok(StoreAnswer::Done));
    assert!(adopter.ids(STREAM, Event).await.is_empty());
}
