//! Who owns a stream, and who does no longer.

use std::thread::sleep;

use futures_util::future::join;
use guard_agent_proto::Kind::{Event, Metric};
use guard_agent_proto::store::{Orphan, StoreAnswer, StoreOp, StreamId};

use super::LeaseEnd;
use super::agent::{
    Agent, Draft, LONG, SHORT, SPACE, STREAM, World, adopted, assert_fenced, block, diverged, note,
};

/// A stream with two events, a metric and a note.
fn something() -> Draft {
    Draft::new(STREAM).append(Event, [1, 3]).append(Metric, [2]).note("n", "value")
}

/// The first owner, whose lease lapsed, and who adopted its stream.
async fn adopt_from_another(world: &World<'_>) -> (Agent, Agent) {
    let owner = world.agent(1);
    owner.done(something()).await;
    let owner = world.lapse(owner, STREAM).await;
    let adopter = world.agent(2);
    assert_eq!(adopter.adopt(STREAM).await, adopted([note("n", "value")]));
    (owner, adopter)
}

async fn assert_something(owner: &Agent) {
    assert_eq!(owner.read(STREAM, Event).await, [1, 3].map(|id| block(Event, id)));
    assert_eq!(owner.read(STREAM, Metric).await, [block(Metric, 2)]);
    assert_eq!(owner.adopt(STREAM).await, adopted([note("n", "value")]));
}

/// Whatever only an owner may do.
async fn assert_all_is_fenced(stranger: &Agent) {
    let change = Draft::new(STREAM).append(Event, [9]).remove(Event, [1]).note("n", "x").note("m", "x");
    assert_fenced(stranger.write(change).await);
    assert_fenced(stranger.write(Draft::new(STREAM).expect(Event, 77)).await);
    assert_fenced(stranger.write(Draft::new(STREAM)).await);
    assert_fenced(stranger.try_read(STREAM, Event, 1, 10).await);
    assert_fenced(stranger.close(STREAM, true).await);
    assert_fenced(stranger.close(STREAM, false).await);
}

pub(super) async fn another_owner_is_fenced_and_changes_nothing(world: World<'_>) {
    let (owner, stranger) = (world.agent(1), world.agent(2));
    owner.done(something()).await;
    assert_all_is_fenced(&stranger).await;
    assert_fenced(stranger.adopt(STREAM).await);
    assert_something(&owner).await;
    assert_eq!(owner.write(Draft::new(STREAM).expect(Event, 0)).await, diverged(3, 2));
}

pub(super) async fn an_owner_adopts_its_own_stream(world: World<'_>) {
    let owner = world.agent(1);
    owner.done(something()).await;
    assert_eq!(owner.adopt(STREAM).await, adopted([note("n", "value")]));
    assert_something(&owner).await;
    owner.done(Draft::new(STREAM).expect(Event, 3).append(Event, [4])).await;
}

pub(super) async fn a_lease_that_ended_makes_an_orphan(world: World<'_>) {
    let owner = world.agent(1);
    owner.done(something()).await;
    let observer = world.agent(2);
    assert_eq!(observer.list(SPACE).await, (Vec::new(), 1, 0));
    let owner = world.lapse(owner, STREAM).await;
    let released = world.lease_end() == LeaseEnd::OwnerGone;
    assert_eq!(observer.list(SPACE).await, (vec![Orphan { stream: STREAM, released }], 1, 0));
    assert_something(&owner).await;
    assert_eq!(observer.list(SPACE).await, (Vec::new(), 1, 0));
}

pub(super) async fn an_orphan_that_nobody_adopted_is_its_owners_again(world: World<'_>) {
    let owner = world.agent(1);
    owner.done(something()).await;
    let owner = world.lapse(owner, STREAM).await;
    owner.done(Draft::new(STREAM).expect(Event, 3).expect(Metric, 2).append(Event, [4])).await;
    let stranger = world.agent(2);
    assert_fenced(stranger.adopt(STREAM).await);
    assert_eq!(stranger.list(SPACE).await, (Vec::new(), 1, 0));
    assert_eq!(owner.ids(STREAM, Event).await, [1, 3, 4]);
}

pub(super) async fn an_orphan_is_nobody_elses_without_an_adoption(world: World<'_>) {
    let owner = world.agent(1);
    owner.done(something()).await;
    let owner = world.lapse(owner, STREAM).await;
    assert_all_is_fenced(&world.agent(2)).await;
    assert_something(&owner).await;
}

pub(super) async fn writing_reading_and_adopting_renew_the_lease(world: World<'_>) {
    let (owner, stranger) = (world.agent(1), world.agent(2));
    let renewals = [
        StoreOp::Write(Draft::new(STREAM).0),
        StoreOp::Write(Draft::new(STREAM).expect(Event, 99).0),
        StoreOp::Read { stream: STREAM, kind: Event, from: block(Event, 1).id, limit: 1, lease: LONG },
        StoreOp::Adopt { stream: STREAM, lease: LONG },
    ];
    for renewal in renewals {
        owner.done(Draft::new(STREAM).lease(SHORT)).await;
        owner.execute(renewal).await.expect("a renewal works");
        sleep(SHORT * 2);
        assert_fenced(stranger.adopt(STREAM).await);
    }
}

pub(super) async fn one_of_two_adopts(world: World<'_>) {
    for number in 1..=5 {
        let stream = StreamId::new(SPACE, number);
        let owner = world.agent(number);
        owner.done(Draft::new(stream).append(Event, [1]).note("n", "value")).await;
        world.lapse(owner, stream).await;
        let (one, two) = (world.agent(100 + number), world.agent(200 + number));
        let answers = join(one.adopt(stream), two.adopt(stream)).await;
        let (winner, loser, won, lost) = match answers {
            (Ok(won), lost) => (one, two, Ok(won), lost),
            (lost, won) => (two, one, won, lost),
        };
        assert_eq!(won, adopted([note("n", "value")]));
        assert_fenced(lost);
        assert_fenced(loser.try_read(stream, Event, 1, 10).await);
        assert_eq!(winner.ids(stream, Event).await, [1]);
    }
}

pub(super) async fn an_adopter_may_ask_twice(world: World<'_>) {
    let owner = world.agent(1);
    owner.done(something()).await;
    world.lapse(owner, STREAM).await;
    let adopter = world.agent(2);
    for _ in 0..3 {
        assert_eq!(adopter.adopt(STREAM).await, adopted([note("n", "value")]));
    }
    assert_something(&adopter).await;
}

pub(super) async fn an_adopted_stream_is_read_and_written_in_place(world: World<'_>) {
    let (_, adopter) = adopt_from_another(&world).await;
    assert_something(&adopter).await;
    let write = Draft::new(STREAM).expect(Event, 3).append(Event, [5]).remove(Event, [1]).note("m", "more");
    adopter.done(write.clone()).await;
    adopter.done(write).await;
    assert_eq!(adopter.ids(STREAM, Event).await, [3, 5]);
    assert_eq!(adopter.ids(STREAM, Metric).await, [2]);
    assert_eq!(adopter.adopt(STREAM).await, adopted([note("m", "more"), note("n", "value")]));
}

pub(super) async fn its_first_owner_is_fenced_by_an_adoption(world: World<'_>) {
    let (owner, adopter) = adopt_from_another(&world).await;
    assert_all_is_fenced(&owner).await;
    assert_fenced(owner.adopt(STREAM).await);
    assert_something(&adopter).await;
}

pub(super) async fn its_first_owner_stays_fenced_when_the_adopter_is_late(world: World<'_>) {
    let (owner, adopter) = adopt_from_another(&world).await;
    let adopter = world.lapse(adopter, STREAM).await;
    assert_all_is_fenced(&owner).await;
    assert_something(&adopter).await;
}

pub(super) async fn its_first_owner_stays_fenced_when_the_adopter_gave_it_up(world: World<'_>) {
    let (owner, adopter) = adopt_from_another(&world).await;
    assert_eq!(adopter.close(STREAM, true).await, Ok(StoreAnswer::Done));
    assert_all_is_fenced(&owner).await;
    let third = world.agent(3);
    assert_eq!(third.adopt(STREAM).await, adopted([note("n", "value")]));
    assert_something(&third).await;
}

pub(super) async fn its_first_owner_stays_fenced_when_the_stream_is_deleted(world: World<'_>) {
    let (owner, adopter) = adopt_from_another(&world).await;
    assert_eq!(adopter.close(STREAM, false).await, Ok(StoreAnswer::Done));
    if world.lease_end() == LeaseEnd::Time {
        assert_fenced(owner.write(something().unregistered()).await);
        assert_fenced(owner.try_read(STREAM, Event, 1, 10).await);
    }
    assert_eq!(adopter.list(SPACE).await, (Vec::new(), 0, 0));
}

pub(super) async fn a_name_that_was_registered_too_late_goes_by_adoption(world: World<'_>) {
    let (owner, adopter) = adopt_from_another(&world).await;
    assert_eq!(adopter.close(STREAM, false).await, Ok(StoreAnswer::Done));
    if world.lease_end() == LeaseEnd::Time {
        assert_fenced(owner.write(something()).await);
    }
    for orphan in adopter.list(SPACE).await.0 {
        assert_eq!(adopter.adopt(orphan.stream).await, adopted([]));
        assert_eq!(adopter.close(orphan.stream, false).await, Ok(StoreAnswer::Done));
    }
    assert_eq!(adopter.list(SPACE).await, (Vec::new(), 0, 0));
}

pub(super) async fn an_adopted_stream_is_adopted_again(world: World<'_>) {
    let (owner, second) = adopt_from_another(&world).await;
    second.done(Draft::new(STREAM).expect(Event, 3).append(Event, [4]).note("n", "second")).await;
    let second = world.lapse(second, STREAM).await;
    let third = world.agent(3);
    assert_eq!(third.adopt(STREAM).await, adopted([note("n", "second")]));
    for fenced in [&owner, &second] {
        assert_all_is_fenced(fenced).await;
        assert_fenced(fenced.adopt(STREAM).await);
    }
    assert_eq!(third.ids(STREAM, Event).await, [1, 3, 4]);
    assert_eq!(third.ids(STREAM, Metric).await, [2]);
}

pub(super) async fn a_stream_that_is_not_there_can_be_adopted(world: World<'_>) {
    let (adopter, late) = (world.agent(1), world.agent(2));
    for _ in 0..2 {
        assert_eq!(adopter.adopt(STREAM).await, adopted([]));
    }
    assert!(adopter.ids(STREAM, Event).await.is_empty());
    assert_all_is_fenced(&late).await;
    assert_fenced(late.adopt(STREAM).await);
    assert_eq!(adopter.close(STREAM, false).await, Ok(StoreAnswer::Done));
    assert_eq!(late.list(SPACE).await, (Vec::new(), 0, 0));
}
