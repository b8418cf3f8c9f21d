//! Streams that come, go, and are found.

use guard_agent_proto::Kind::{Event, Metric};
use guard_agent_proto::store::{Orphan, Space, StoreAnswer, StreamId};

use super::agent::{Draft, SPACE, STREAM, World, adopted, assert_fenced, block, diverged, note};

const OTHER_SPACE: Space = Space::new(7);

pub(super) async fn a_stream_that_is_kept_is_a_released_orphan_at_once(world: World<'_>) {
    let (owner, adopter) = (world.agent(1), world.agent(2));
    owner.done(Draft::new(STREAM).append(Event, [1]).append(Metric, [2]).note("n", "value")).await;
    for _ in 0..2 {
        assert_eq!(owner.close(STREAM, true).await, Ok(StoreAnswer::Done));
    }
    let orphan = Orphan { stream: STREAM, released: true };
    assert_eq!(adopter.list(SPACE).await, (vec![orphan], 1, 0));
    assert_eq!(adopter.adopt(STREAM).await, adopted([note("n", "value")]));
    assert_eq!(adopter.read(STREAM, Event).await, [block(Event, 1)]);
    assert_eq!(adopter.read(STREAM, Metric).await, [block(Metric, 2)]);
    assert_eq!(adopter.list(SPACE).await, (Vec::new(), 1, 0));
    assert_fenced(owner.close(STREAM, true).await);
}

pub(super) async fn a_stream_that_was_kept_is_its_owners_again(world: World<'_>) {
    let (owner, stranger) = (world.agent(1), world.agent(2));
    owner.done(Draft::new(STREAM).append(Event, [1])).await;
    assert_eq!(owner.close(STREAM, true).await, Ok(StoreAnswer::Done));
    owner.done(Draft::new(STREAM).expect(Event, 1).append(Event, [2])).await;
    assert_fenced(stranger.adopt(STREAM).await);
    assert_eq!(stranger.list(SPACE).await, (Vec::new(), 1, 0));
    assert_eq!(owner.ids(STREAM, Event).await, [1, 2]);
}

pub(super) async fn a_stream_that_is_deleted_leaves_nothing(world: World<'_>) {
    let owner = world.agent(1);
    owner.done(Draft::new(STREAM).append(Event, [1]).append(Metric, [2]).note("n", "value")).await;
    for _ in 0..2 {
        assert_eq!(owner.close(STREAM, false).await, Ok(StoreAnswer::Done));
    }
    assert_eq!(owner.list(SPACE).await, (Vec::new(), 0, 0));
    assert!(owner.ids(STREAM, Event).await.is_empty());
    assert_eq!(owner.write(Draft::new(STREAM).expect(Event, 1)).await, diverged(0, 0));
    owner.done(Draft::new(STREAM).expect(Event, 0).append(Event, [1])).await;
    assert_eq!(owner.adopt(STREAM).await, adopted([]));
}

pub(super) async fn closing_what_is_not_there_is_done(world: World<'_>) {
    let agent = world.agent(1);
    assert_eq!(agent.close(STREAM, true).await, Ok(StoreAnswer::Done));
    assert_eq!(agent.close(STREAM, false).await, Ok(StoreAnswer::Done));
    assert_eq!(agent.list(SPACE).await, (Vec::new(), 0, 0));
}

pub(super) async fn registering_twice_is_without_harm(world: World<'_>) {
    let agent = world.agent(1);
    agent.done(Draft::new(STREAM).append(Event, [1])).await;
    agent.done(Draft::new(STREAM).unregistered().append(Event, [2])).await;
    agent.done(Draft::new(STREAM)).await;
    assert_eq!(agent.list(SPACE).await, (Vec::new(), 1, 0));
    assert_eq!(agent.ids(STREAM, Event).await, [1, 2]);
}

pub(super) async fn streams_with_an_owner_are_counted(world: World<'_>) {
    let (one, two) = (world.agent(1), world.agent(2));
    let stream = |number| StreamId::new(SPACE, number);
    for number in 1..=3 {
        one.done(Draft::new(stream(number)).append(Event, [1])).await;
    }
    two.done(Draft::new(stream(4)).append(Event, [1])).await;
    assert_eq!(two.list(SPACE).await, (Vec::new(), 4, 0));
    for number in [2, 3] {
        assert_eq!(one.close(stream(number), true).await, Ok(StoreAnswer::Done));
    }
    let orphans = [2, 3].map(|number| Orphan { stream: stream(number), released: true });
    assert_eq!(two.list(SPACE).await, (orphans.to_vec(), 4, 0));
    assert_eq!(one.list(SPACE).await, (orphans.to_vec(), 4, 0));
}

pub(super) async fn spaces_are_apart(world: World<'_>) {
    let (one, two) = (world.agent(1), world.agent(2));
    let (ours, theirs) = (StreamId::new(SPACE, 5), StreamId::new(OTHER_SPACE, 5));
    one.done(Draft::new(ours).append(Event, [1])).await;
    two.done(Draft::new(theirs).append(Event, [2]).note("n", "theirs")).await;
    two.done(Draft::new(StreamId::new(OTHER_SPACE, 6)).append(Event, [3])).await;
    assert_eq!(one.list(SPACE).await, (Vec::new(), 1, 2));
    assert_eq!(two.list(OTHER_SPACE).await, (Vec::new(), 2, 1));

    assert_eq!(two.close(theirs, true).await, Ok(StoreAnswer::Done));
    assert_eq!(one.list(SPACE).await, (Vec::new(), 1, 2));
    let orphan = Orphan { stream: theirs, released: true };
    assert_eq!(one.list(OTHER_SPACE).await, (vec![orphan], 2, 1));
    assert_eq!(one.ids(ours, Event).await, [1], "the same number in another space is another stream");
    assert_eq!(one.adopt(theirs).await, adopted([note("n", "theirs")]));
    assert_eq!(one.ids(theirs, Event).await, [2]);
}
