//! Tests of what the journal decides by, one by one; [`crate::tests`] has those of the whole.

use alloc::vec;

use super::note::settled_note;
use super::requests::Appends;
use super::stream::SealState;
use super::*;
use crate::store::{Block, Orphan, StoreAnswer, StoreOp};

const EVENT: Kind = Kind::Event;
const LEASE: Duration = Duration::from_secs(40);

fn seq(place: u64) -> Seq {
    Seq::from_u64(place)
}

fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

fn now(instant: Instant) -> Now {
    Now { instant, wall: Timestamp::from_unix_micros(instant.as_micros().cast_signed()) }
}

fn spans(first: u64, last: u64) -> Spans {
    Spans::from_ends(seq(first), seq(last))
}

fn rng() -> Rng {
    Rng::new([6; 32])
}

fn stream(id: u64) -> StreamId {
    StreamId::new(Space::new(0), id)
}

fn unwritten(place: u64, json: &[u8]) -> Unwritten<'_> {
    Unwritten { seq: seq(place), accepted_at: crate::Timestamp::from_unix_micros(0), attack: false, json }
}

fn stored(place: u64) -> StoredRecord {
    StoredRecord {
        seq: seq(place),
        accepted_at: crate::Timestamp::from_unix_micros(0),
        attack: false,
        json: b"{}"[..].into(),
    }
}

fn journal_with(adjust: impl FnOnce(&mut AgentConfig)) -> Journal {
    let mut config = AgentConfig::builder("0123456789").journal_lease(LEASE).build().unwrap();
    adjust(&mut config);
    Journal::new(&config, now(Instant::ZERO), &mut rng()).unwrap()
}

/// A journal with a stream in the store, and an adopted one under 1.
fn journal() -> Journal {
    let mut journal = journal_with(|_| {});
    let lease = journal.lease;
    let own = own(&mut journal);
    own.renew(Instant::ZERO, lease);
    own.register_at = Instant::FAR_FUTURE;
    let mut adopted = Stream::adopted(stream(77), None);
    adopted.renew(Instant::ZERO, lease);
    journal.streams.insert(1, adopted);
    journal
}

fn own(journal: &mut Journal) -> &mut Stream {
    journal.streams.get_mut(&0).unwrap()
}

fn adopted(journal: &mut Journal) -> &mut Stream {
    journal.streams.get_mut(&1).unwrap()
}

/// Own records from 1 to that place are in the store and here.
fn append(journal: &mut Journal, last: u64) {
    let own = own(journal);
    own.logs[EVENT].on_appended(seq(last), spans(1, last));
    own.last[EVENT] = seq(last);
    journal.acknowledged[EVENT] = seq(last + 1);
}

fn page(journal: &mut Journal, origin: u16, place: u64) {
    let paged = Paged {
        origin,
        block: seq(place),
        total: 1,
        record: stored(place),
        is_sound: true,
        is_plausible: true,
    };
    journal.pages[EVENT].push_back(paged);
}

fn paged(journal: &Journal) -> Vec<u64> {
    journal.pages[EVENT].iter().map(|paged| paged.record.seq.as_u64()).collect()
}

/// A block of that stream of the journal with these records.
fn block(journal: &Journal, origin: u16, first: u64, last: u64) -> Block {
    let records: Vec<_> = (first..=last).map(|place| unwritten(place, b"{}")).collect();
    block::encode(&journal.streams[&origin].envelope, EVENT, &records, &mut rng()).unwrap()
}

fn read(journal: &mut Journal, origin: u16, blocks: Vec<Block>) -> JournalNews {
    let mut news = JournalNews::default();
    journal.on_read(origin, EVENT, 4, blocks, Instant::ZERO, &mut news);
    news
}

fn seal(kind: Kind, records: Spans, due: bool, awaited: bool) -> SealState {
    let id = BatchId::new(records.last().map_or(0, Seq::as_u64), 0);
    let created_at = crate::Timestamp::from_unix_micros(0);
    SealState { seal: Seal { kind, id, created_at, records }, noted: false, due, awaited }
}

/// An append of own records from 1 to 3 of which nobody knows whether it was made.
fn unsure(journal: &mut Journal, settled: &[u64]) -> Box<Writing> {
    let mut writing = journal.write(0, ByKind::<Appends>::default(), &mut rng()).unwrap();
    writing.appended[EVENT].push((seq(3), spans(1, 3)));
    writing.settled[EVENT].extend(settled.iter().map(|place| seq(*place)));
    writing
}

#[test]
fn a_batch_waits_for_records_that_may_still_come_back_and_for_no_others() {
    let mut journal = journal();
    adopted(&mut journal).logs[EVENT].read_on_after(seq(3));
    let may_return =
        |journal: &Journal| [3, 4, 5, 6].map(|place| journal.may_return(EVENT, seq(place).at_origin(1)));
    assert_eq!(may_return(&journal), [false, true, true, true], "what was read does not come again");
    adopted(&mut journal).ended[EVENT] = true;
    assert_eq!(may_return(&journal), [false; 4], "nothing comes after the end");
    page(&mut journal, 1, 5);
    assert_eq!(may_return(&journal), [false, false, true, true], "a record that was read and not taken");
    journal.pages[EVENT].clear();
    page(&mut journal, 2, 5);
    assert_eq!(may_return(&journal), [false; 4], "somebody else's");
    let log = &mut adopted(&mut journal).logs[EVENT];
    assert!(log.take(seq(3), 3, seq(3), 1));
    log.release(seq(3), 1);
    assert_eq!(may_return(&journal), [true; 4], "it was left to the store");
    assert!(!journal.may_return(EVENT, seq(3).at_origin(9)), "a stream that is gone");
}

#[test]
fn what_only_the_store_holds_is_counted_up_to_a_mark_or_with_that_of_others() {
    let mut journal = journal();
    append(&mut journal, 6);
    for place in 1..=4 {
        journal.release(EVENT, seq(place), 10);
    }
    let log = &mut adopted(&mut journal).logs[EVENT];
    assert!(log.take(seq(9), 1, seq(9), 1));
    log.release(seq(9), 1);
    assert_eq!(journal.stored_before(EVENT, seq(3)), 2);
    assert_eq!(journal.stored_before(EVENT, seq(7)), 4);
    assert_eq!(journal.stored_before(EVENT, seq(u64::MAX)), 5);
    journal.streams.remove(&0);
    assert_eq!(journal.stored_before(EVENT, seq(7)), 0);
    assert_eq!(journal.stored(EVENT), 1);
}

#[test]
fn a_record_is_in_memory_or_only_in_the_store() {
    let mut journal = journal();
    append(&mut journal, 2);
    journal.release(EVENT, seq(1), 10);
    let of = |place| (journal.holds(EVENT, seq(place)), journal.stores(EVENT, seq(place)));
    assert_eq!([of(1), of(2), of(3)], [(false, true), (true, false), (false, false)]);
}

#[test]
fn what_was_read_behind_a_record_that_is_left_to_the_store_is_read_again() {
    for (origin, left, again) in [(0, 3, true), (0, 7, false), (1, 3, false)] {
        let mut journal = journal();
        append(&mut journal, 8);
        journal.release(EVENT, seq(5), 10);
        own(&mut journal).logs[EVENT].read_on_after(seq(8));
        page(&mut journal, origin, 5);
        page(&mut journal, origin, 6);
        journal.release(EVENT, seq(left), 10);
        assert_eq!(paged(&journal).is_empty(), again, "{origin} {left}");
        let next = own(&mut journal).logs[EVENT].next();
        assert_eq!(next <= seq(3), left == 3, "{origin} {left}");
    }
}

#[test]
fn a_shutdown_deletes_no_stream_that_an_append_without_an_answer_may_have_filled() {
    for (settled, closable) in [(&[][..], None), (&[1, 2], None), (&[1, 2, 3], Some((0, false)))] {
        let mut journal = journal();
        journal.streams.remove(&1);
        let writing = unsure(&mut journal, settled);
        journal.unsure = Some(writing);
        assert_eq!(journal.closable(), None, "it goes on");
        journal.close();
        assert!(journal.is_closing());
        assert_eq!(journal.closable(), closable, "{settled:?}");
    }
}

#[test]
fn a_shutdown_keeps_what_is_not_settled_and_deletes_the_rest() {
    let mut journal = journal();
    journal.close();
    assert_eq!(journal.closable(), Some((0, false)), "nothing is left of ours");
    append(&mut journal, 2);
    assert_eq!(journal.closable(), Some((0, true)));
    journal.streams.remove(&0);
    assert_eq!(journal.closable(), Some((1, true)), "something may come to light");
    adopted(&mut journal).ended = ByKind { events: true, metrics: true };
    assert_eq!(journal.closable(), Some((1, false)));
}

#[test]
fn an_adopted_stream_is_closed_when_its_last_record_is_settled_and_not_before() {
    let mut journal = journal();
    assert_eq!(journal.closable(), None);
    adopted(&mut journal).ended = ByKind { events: true, metrics: true };
    page(&mut journal, 1, 5);
    assert_eq!(journal.closable(), None, "a record was read and not taken");
    journal.pages[EVENT].clear();
    assert_eq!(journal.closable(), Some((1, false)));
}

#[test]
fn a_settled_record_counts_for_the_append_that_is_under_way() {
    for is_unsure in [false, true] {
        let mut journal = journal();
        journal.streams.remove(&1);
        let writing = unsure(&mut journal, &[]);
        if is_unsure {
            // The operation under way is no append.
            let change = journal.write(0, ByKind::default(), &mut rng()).unwrap();
            journal.outstanding = Some((StoreOpId::from_u64(0), Instant::ZERO, Outstanding::Write(change)));
            journal.unsure = Some(writing);
        } else {
            journal.outstanding = Some((StoreOpId::from_u64(0), Instant::ZERO, Outstanding::Write(writing)));
        }
        journal.on_settled(EVENT, seq(2));
        journal.on_settled(EVENT, seq(4));
        let appending = journal.appending().unwrap();
        assert_eq!(appending.settled[EVENT], [seq(2)], "unsure: {is_unsure}");
    }
}

#[test]
fn news_are_owed_about_streams_that_the_store_knows() {
    let mut journal = journal_with(|_| {});
    let writing = unsure(&mut journal, &[]);
    assert!(!journal.owes_news(), "nothing was ever written");
    journal.unsure = Some(writing.clone());
    assert!(!journal.owes_news(), "nor made known");
    let lease = journal.lease;
    own(&mut journal).renew(Instant::ZERO, lease);
    assert!(journal.owes_news(), "it may have been written");
    journal.unsure = None;
    assert!(!journal.owes_news());
    journal.outstanding = Some((StoreOpId::from_u64(0), Instant::ZERO, Outstanding::Write(writing)));
    assert!(journal.owes_news(), "it is being written");
    journal.outstanding = None;
    append(&mut journal, 2);
    assert!(journal.owes_news(), "others could have it");
    for place in [1, 2] {
        journal.on_settled(EVENT, seq(place));
    }
    assert!(journal.owes_news(), "it is to be removed");
    own(&mut journal).logs[EVENT].take_removable(9);
    assert!(!journal.owes_news());
}

#[test]
fn others_are_adopted_where_there_is_room_for_both_kinds_and_few_streams() {
    let room = |events, metrics, others| JournalRoom { read: ByKind { events, metrics }, others };
    let mut journal = journal();
    assert!(journal.search_at(room(false, false, true)).is_some(), "to look for them takes no room");
    assert!(journal.search_at(room(true, true, false)).is_none());
    let orphan = Orphan { stream: stream(5), released: true };
    journal.orphans.on_listed(&[orphan], 1, 0, Instant::ZERO, &mut rng());
    for room in [room(false, true, true), room(true, false, true), room(true, true, false)] {
        assert!(journal.search_at(room).is_none(), "{room:?}");
    }
    for origin in 2..=64 {
        assert!(journal.search_at(room(true, true, true)).is_some(), "{origin}");
        journal.streams.insert(origin, Stream::adopted(stream(100 + u64::from(origin)), None));
    }
    assert!(journal.search_at(room(true, true, true)).is_none(), "64 of others");
    journal.streams.retain(|origin, _| *origin < 2);
    journal.close();
    assert!(journal.search_at(room(true, true, true)).is_none(), "it ends");
}

#[test]
fn an_adoption_is_news_once_and_reading_our_own_is_none() {
    let mut journal = journal();
    let (first, second) = (block(&journal, 1, 1, 3), block(&journal, 1, 4, 6));
    assert!(read(&mut journal, 1, vec![first]).adopted);
    assert!(!read(&mut journal, 1, vec![second]).adopted);
    append(&mut journal, 3);
    journal.release(EVENT, seq(1), 10);
    let ours = block(&journal, 0, 1, 3);
    assert!(!read(&mut journal, 0, vec![ours]).adopted);
}

#[test]
fn blocks_that_overlap_bring_each_record_once() {
    let mut journal = journal();
    let blocks = vec![block(&journal, 1, 1, 3), block(&journal, 1, 3, 5), block(&journal, 1, 5, 6)];
    assert_eq!(read(&mut journal, 1, blocks).corrupt, 0);
    assert_eq!(paged(&journal), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_may_be_appended_again_is_not_read() {
    for (origin, met) in [(0, vec![2]), (1, vec![1, 2, 3, 4, 5, 6])] {
        let mut journal = journal();
        append(&mut journal, 3);
        journal.release(EVENT, seq(2), 10);
        let blocks = vec![block(&journal, origin, 1, 3), block(&journal, origin, 4, 6)];
        read(&mut journal, origin, blocks);
        assert_eq!(paged(&journal), met, "{origin}");
        // They are on their way to where it reads on.
        assert_eq!(journal.streams[&origin].logs[EVENT].next(), seq(if origin == 0 { 4 } else { 7 }));
    }
}

#[test]
fn only_the_end_of_our_own_log_ends_the_doubt_about_it() {
    for (origin, doubt) in [(0, false), (1, true)] {
        let mut journal = journal();
        journal.doubt[EVENT] = true;
        read(&mut journal, origin, vec![]);
        assert_eq!((journal.doubt[EVENT], journal.streams[&origin].ended[EVENT]), (doubt, true), "{origin}");
    }
    let mut journal = journal();
    read(&mut journal, 0, vec![]);
    assert!(!journal.doubt[EVENT], "there was none");
}

#[test]
fn what_the_store_could_not_read_is_counted() {
    let mut journal = journal();
    let done = Outstanding::Read { origin: 1, kind: EVENT, from: seq(0), limit: 4 };
    let mut news = JournalNews::default();
    let answer = StoreAnswer::Blocks { blocks: vec![], skipped: 2 };
    journal.on_done(done, answer, Instant::ZERO, Instant::ZERO, &mut rng(), &mut news);
    assert_eq!(news.corrupt, 2);
}

#[test]
fn a_store_that_went_back_is_read_again_where_it_is_ours() {
    for (origin, again) in [(0, true), (1, false)] {
        let mut journal = journal();
        append(&mut journal, 8);
        journal.release(EVENT, seq(2), 10);
        own(&mut journal).logs[EVENT].read_on_after(seq(8));
        page(&mut journal, origin, 2);
        let writing = journal.write(0, ByKind::default(), &mut rng()).unwrap();
        let last = ByKind { events: seq(4), metrics: seq(0) };
        let mut news = JournalNews::default();
        journal.on_diverged(&writing, last, Instant::ZERO, &mut rng(), &mut news);
        assert!(news.error.is_some() && journal.doubt[EVENT]);
        assert_eq!(journal.acknowledged[EVENT], seq(5));
        assert_eq!(paged(&journal).is_empty(), again, "{origin}");
        assert_eq!(own(&mut journal).logs[EVENT].next() <= seq(2), again, "{origin}");
    }
}

#[test]
fn who_lost_its_stream_begins_another_unless_it_ends() {
    for closing in [false, true] {
        let mut journal = journal();
        append(&mut journal, 3);
        let before = journal.streams[&0].id;
        if closing {
            journal.close();
        }
        let mut news = JournalNews::default();
        journal.leave_stream(0, LeftBecause::Adopted, Instant::ZERO, &mut rng(), &mut news);
        assert_eq!(journal.streams.get(&0).map(|own| own.id != before), (!closing).then_some(true));
        assert!(journal.is_lost(EVENT, seq(3)) && !journal.is_lost(EVENT, seq(4)));
    }
}

#[test]
fn a_store_that_did_not_answer_may_have_forgotten_us_and_one_that_refused_has_not() {
    for (kind, register) in [(StoreErrorKind::TimedOut, true), (StoreErrorKind::Full, false)] {
        let mut journal = journal();
        let id = StoreOpId::from_u64(3);
        journal.outstanding = Some((id, Instant::ZERO, Outstanding::List));
        let error = StoreError::new(kind, "as told");
        journal.on_reply(id, Err(error), Instant::ZERO, &mut rng()).unwrap();
        assert_eq!(own(&mut journal).register_at == Instant::ZERO, register, "{kind:?}");
    }
}

#[test]
fn only_what_may_be_of_one_stream_says_nothing_of_the_search() {
    for (kind, why) in
        [(StoreErrorKind::WrongType, None), (StoreErrorKind::ReadOnly, Some(StoreErrorKind::ReadOnly))]
    {
        let mut journal = journal();
        assert_eq!(kind.may_be_of_one_stream(), why.is_none());
        journal.blame(&Outstanding::Adopt(stream(9)), kind, Instant::ZERO, &mut rng());
        assert_eq!(journal.troubles.why(Part::Search), why);
    }
}

#[test]
fn what_cannot_be_read_holds_up_no_order() {
    let mut journal = journal();
    assert!(journal.is_readable());
    let why = StoreErrorKind::WrongType;
    journal.troubles.on_failed(Part::Read, why, Instant::ZERO, &mut rng());
    assert!(!journal.is_readable());
    assert_eq!(journal.impaired(), Some(why), "an adopted stream is still to be read");
    journal.streams.remove(&1);
    assert_eq!(journal.impaired(), None, "nothing is");
}

#[test]
fn a_block_is_an_eighth_of_memory_at_most_by_number_and_by_bytes_or_one_record() {
    for (by_bytes, json, records) in [(false, 10, 10), (true, 10, 5), (true, 500, 1)] {
        let journal = journal_with(|config| {
            (config.buffer_size, config.buffer_bytes) = (80, if by_bytes { 8 * 5 * 18 } else { 1 << 20 });
        });
        let json = vec![b'x'; json];
        let all: Vec<_> = (1..=40).map(|place| unwritten(place, &json)).collect();
        let lens: Vec<_> =
            journal.blocks(EVENT, &all, &mut rng()).contents.iter().map(|(_, spans)| spans.len()).collect();
        assert_eq!(lens, vec![records; 40 / records as usize]);
    }
}

#[test]
fn a_failing_store_is_asked_often_enough_to_renew_a_lease_within_its_grace() {
    let mut journal = journal_with(|config| config.journal_lease = Duration::from_secs(8));
    for _ in 0..20 {
        journal.troubles.on_failed(Part::Change, StoreErrorKind::Full, Instant::ZERO, &mut rng());
    }
    assert!(journal.troubles.gate(Part::Change) <= Instant::ZERO + Duration::from_secs(1));
}

#[test]
fn who_is_late_by_less_than_an_operation_takes_did_not_sleep() {
    let mut journal = journal();
    let failed = |journal: &mut Journal| {
        journal.troubles.on_failed(Part::Append, StoreErrorKind::TimedOut, at(0), &mut rng())
    };
    assert!(failed(&mut journal));
    let late = journal.timeout + journal.lease.renewal;
    journal.on_time(now(Instant::ZERO + late));
    assert!(journal.is_down());
    journal.on_time(now(Instant::ZERO + late * 2));
    assert!(journal.is_down(), "twice in a row");
    journal.on_time(now(Instant::ZERO + late * 3 + Duration::from_micros(1)));
    assert!(!journal.is_down(), "whoever slept has to ask again");
}

#[test]
fn our_own_records_come_back_without_the_batches_of_others() {
    for origin in [0, 1] {
        let mut journal = journal();
        append(&mut journal, 3);
        journal.release(EVENT, seq(2), 10);
        journal.streams.get_mut(&origin).unwrap().seals.push(seal(EVENT, spans(1, 3), false, false));
        page(&mut journal, origin, 2);
        let returned = journal.take(EVENT).unwrap();
        assert!(returned.sealed.is_none_or(|seal| seal.last == seq(3).at_origin(1)));
        assert_eq!((returned.recovered, returned.sealed.is_some()), (origin == 1, origin == 1));
    }
}

#[test]
fn a_seal_is_written_once_its_records_are_and_hurries_what_it_waits_for() {
    let last = |place| ByKind { events: seq(place), metrics: seq(0) };
    for (due, awaited) in [(false, false), (false, true), (true, false), (true, true)] {
        for stored in [2, 3] {
            let mut journal = journal();
            let own = own(&mut journal);
            own.seals.push(seal(EVENT, spans(1, 3), due, awaited));
            own.last = last(stored);
            let hurries = due && awaited;
            assert_eq!(own.is_awaited(true), hurries && stored == 3, "{due} {awaited} {stored}");
            assert_eq!(own.is_awaited(false), hurries && stored == 2, "{due} {awaited} {stored}");
            assert_eq!(own.has_changes(), due && stored == 3);
            let (_, told) = own.tell(&last(stored), 9, &mut rng());
            assert_eq!(told.notes.len(), usize::from(due && stored == 3));
            assert_eq!(own.tell(&last(stored), 9, &mut rng()).1.notes.len(), 0, "once");
        }
    }
}

#[test]
fn a_seal_is_broken_by_records_of_its_kind_that_are_in_it() {
    for (kind, first, broken) in [(EVENT, 3, true), (EVENT, 4, false), (Kind::Metric, 3, false)] {
        let mut journal = journal();
        let own = own(&mut journal);
        own.seals.push(seal(EVENT, spans(1, 3), false, false));
        own.break_seals(kind, &spans(first, 9));
        assert_eq!(own.seals.is_empty(), broken, "{kind} {first}");
    }
}

#[test]
fn a_batch_that_is_sent_again_keeps_its_seal() {
    let mut journal = journal();
    let own = own(&mut journal);
    let SealState { seal: known, .. } = seal(EVENT, spans(1, 3), true, false);
    own.seal(known.clone(), false);
    own.tell(&ByKind { events: seq(3), metrics: seq(0) }, 9, &mut rng());
    own.seal(known, false);
    assert!(own.seals.len() == 1 && own.unsealed.is_empty() && !own.has_changes());
}

#[test]
fn with_a_key_what_was_not_written_under_it_is_skipped_and_counted() {
    let key = crate::Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let mut journal = journal_with(|config| config.project_encryption_key = Some(key));
    let id = StreamId::new(journal.space, 77);
    let ours = Stream::adopted(id, journal.key.as_ref()).envelope;
    let forged = Stream::adopted(id, None).envelope;
    let moved = Stream::adopted(StreamId::new(journal.space, 78), journal.key.as_ref()).envelope;
    let batch = |last: u64| seal(EVENT, spans(1, last), false, false).seal;
    let mut copied = batch(2).note(&ours, &mut rng());
    copied.name = batch(4).note(&ours, &mut rng()).name;
    let notes = [
        batch(3).note(&ours, &mut rng()),
        batch(5).note(&forged, &mut rng()),
        settled_note(EVENT, seq(3), &spans(1, 2), &forged, &mut rng()),
        settled_note(EVENT, seq(6), &spans(4, 5), &moved, &mut rng()),
        copied,
    ];
    let mut news = JournalNews::default();
    journal.on_adopted(id, &notes, Instant::ZERO, &mut news);
    assert_eq!((news.corrupt, adopted(&mut journal).seals.len()), (4, 1));
    let block =
        |envelope, place| block::encode(envelope, EVENT, &[unwritten(place, b"{}")], &mut rng()).unwrap();
    let blocks = vec![block(&ours, 1), block(&forged, 2), block(&moved, 3), block(&ours, 4)];
    let mut renamed = block(&ours, 5);
    renamed.id = seq(6);
    assert_eq!(read(&mut journal, 1, [blocks, vec![renamed]].concat()).corrupt, 3);
    assert_eq!(paged(&journal), [1, 4]);
}

#[test]
fn what_is_no_record_comes_without_its_bytes_and_settles_like_any_other() {
    for origin in [0, 1] {
        let mut journal = journal();
        if origin == 0 {
            append(&mut journal, 3);
            (1..=3).for_each(|place| journal.release(EVENT, seq(place), 10));
        }
        let records = [unwritten(1, b"{}"), unwritten(2, b"{},{}"), unwritten(3, b"{\"a\":1}")];
        let block = block::encode(&journal.streams[&origin].envelope, EVENT, &records, &mut rng()).unwrap();
        assert_eq!(read(&mut journal, origin, vec![block]).corrupt, 1);
        for (place, is_sound) in [(1, true), (2, false), (3, true)] {
            let returned = journal.take(EVENT).unwrap();
            assert_eq!((returned.seq.place(), returned.is_sound), (seq(place), is_sound));
            assert_eq!(
                returned.is_planted,
                !is_sound && origin == 1,
                "ours was a record when it was accepted"
            );
            assert_eq!((returned.record.json.is_empty(), returned.recovered), (!is_sound, origin == 1));
        }
        (1..=3).for_each(|place| journal.on_settled(EVENT, seq(place).at_origin(origin)));
        let log = &mut journal.streams.get_mut(&origin).unwrap().logs[EVENT];
        assert_eq!(log.take_removable(9), [(seq(3), false)], "{origin}");
        assert!(log.is_empty());
    }
}

#[test]
fn an_adoption_is_believed_once_the_lease_may_have_been_forgotten_and_left_alone() {
    let journal_held_at = |held_at| {
        let mut journal = journal();
        let lease = journal.lease;
        own(&mut journal).renew(held_at, lease);
        journal
    };
    let micro = Duration::from_micros(1);
    let journal = journal_held_at(at(5));
    let grace = journal.lease.grace;
    for (since, slept, why) in [
        (Duration::ZERO, false, LeftBecause::Stolen),
        (grace.saturating_sub(micro), false, LeftBecause::Stolen),
        (grace, false, LeftBecause::Claimed),
        (grace, true, LeftBecause::Adopted),
    ] {
        for origin in [0, 1] {
            let mut journal = journal_held_at(at(5));
            let lease = journal.lease;
            adopted(&mut journal).renew(at(5), lease);
            append(&mut journal, 4);
            journal.release(EVENT, seq(1), 10);
            let done = Outstanding::Read { origin, kind: EVENT, from: seq(0), limit: 1 };
            let mut news = JournalNews::default();
            journal.woke_at = Some(at(if slept { 5 } else { 4 }));
            journal.streams.values_mut().for_each(|stream| stream.asked_since = Some(at(6)));
            journal.on_fenced(&done, at(5) + since, &mut rng(), &mut news);
            let left = news.left.unwrap();
            assert_eq!((left.origin, left.why), (origin, why), "{since:?}");
            let adopted = why == LeftBecause::Adopted;
            assert_eq!(journal.is_lost(EVENT, seq(2).at_origin(origin)), adopted, "{origin} {since:?}");
            if origin == 1 {
                let is_lost = journal.is_lost(Kind::Metric, seq(2).at_origin(origin));
                assert_eq!(is_lost, why != LeftBecause::Stolen, "a metric that comes twice counts twice");
            }
            if origin == 0 {
                assert_eq!(journal.acknowledged[EVENT] == FIRST, !adopted);
                assert_eq!((left.stored.events, journal.stored(EVENT)), (1, 0));
            }
        }
    }
    let mut journal = journal_held_at(at(5));
    for (asked_at, kept_waiting) in [(at(5) + grace, false), (at(6), true)] {
        own(&mut journal).asked_since = Some(asked_at);
        assert_eq!(journal.was_kept_waiting(0), kept_waiting, "who asks too late has to believe it");
    }
    assert!(!journal.may_be_adopted(0, at(6)));
    // A wall clock that goes on alone tells of sleep, one that is put right by less does not.
    for (leap, believed) in [(grace.saturating_sub(micro), false), (grace, true)] {
        let mut now = now(at(6));
        journal.on_time(now);
        now.wall = Timestamp::from_unix_micros(now.wall.as_unix_micros() + leap.as_micros() as i64);
        journal.on_time(now);
        assert_eq!(journal.may_be_adopted(0, at(6)), believed);
    }
    let lease = journal.lease;
    own(&mut journal).renew(at(7), lease);
    assert!(!journal.may_be_adopted(0, at(7)), "the store was asked since");
}

#[test]
fn a_store_that_does_everything_except_to_keep_a_stream_keeps_it_waiting() {
    let mut journal = journal();
    let lease = journal.lease;
    own(&mut journal).renew(at(5), lease);
    append(&mut journal, 3);
    let room = JournalRoom { read: ByKind { events: true, metrics: true }, others: true };
    let mut searched = false;
    // Whoever can write into the store makes a key of the stream another type, and waits.
    for second in 6..40 {
        journal.on_time(now(at(second)));
        let Some(request) = journal.poll(at(second), room, &mut rng(), |_, _, _| vec![]) else { continue };
        let list = StoreAnswer::Orphans { orphans: vec![], streams: 1, foreign: 0, complete: true };
        let result = match request.op {
            StoreOp::List { .. } => Ok(list),
            StoreOp::Write(_) | StoreOp::Read { .. } | StoreOp::Adopt { .. } | StoreOp::Close { .. } => {
                Err(StoreError::new(StoreErrorKind::WrongType, "another type"))
            }
        };
        searched |= result.is_ok();
        journal.on_reply(request.id, result, at(second), &mut rng()).unwrap();
    }
    assert!(searched);
    let done = Outstanding::Read { origin: 0, kind: EVENT, from: seq(0), limit: 1 };
    let mut news = JournalNews::default();
    journal.on_fenced(&done, at(40), &mut rng(), &mut news);
    assert_eq!(news.left.unwrap().why, LeftBecause::Claimed);
}

#[test]
fn a_block_of_the_last_number_of_all_ends_its_log() {
    let mut journal = journal();
    let planted = || Block { id: seq(u64::MAX), bytes: b"planted"[..].into() };
    assert_eq!(read(&mut journal, 1, vec![planted()]).corrupt, 1);
    assert!(!adopted(&mut journal).ended[EVENT]);
    assert_eq!(read(&mut journal, 1, vec![planted()]).corrupt, 0, "it is not read for ever");
    assert!(adopted(&mut journal).ended[EVENT]);
    assert_eq!(adopted(&mut journal).logs[EVENT].take_removable(9), [(seq(u64::MAX), true)]);
}

#[test]
fn what_a_store_says_of_damage_overflows_no_counter() {
    let mut journal = journal();
    let mut news = JournalNews { corrupt: 5, ..JournalNews::default() };
    let done = Outstanding::Read { origin: 1, kind: EVENT, from: seq(0), limit: 4 };
    let answer = StoreAnswer::Blocks { blocks: vec![], skipped: u64::MAX };
    journal.on_done(done, answer, Instant::ZERO, Instant::ZERO, &mut rng(), &mut news);
    assert_eq!(news.corrupt, u64::MAX);
}

#[test]
fn of_any_number_of_planted_seals_the_newest_count() {
    for (seals, ranges, kept) in [(2_000, 1, 256), (100, 2_000, 32)] {
        let mut journal = journal();
        let envelope = adopted(&mut journal).envelope.clone();
        journal.streams.remove(&1);
        let planted = |id: u64| {
            let mut records = Spans::default();
            (0..ranges).for_each(|range| assert!(records.insert(seq((id * ranges + range) * 2 + 1))));
            let mut seal = seal(EVENT, records, false, false).seal;
            seal.id = BatchId::new(id, 0);
            seal.note(&envelope, &mut rng())
        };
        let notes: Vec<_> = (0..seals).map(planted).collect();
        journal.on_adopted(stream(77), &notes, Instant::ZERO, &mut JournalNews::default());
        let ids: Vec<_> = adopted(&mut journal).seals.iter().map(|state| state.seal.id.millis()).collect();
        assert_eq!(ids, (seals - kept..seals).collect::<Vec<_>>());
    }
}

#[test]
fn planted_markers_take_no_more_than_a_bounded_memory() {
    for (markers, ranges) in [(2_000, 100_u64), (30_000, 1), (3, 200_000)] {
        let mut journal = journal();
        let envelope = adopted(&mut journal).envelope.clone();
        journal.streams.remove(&1);
        let planted = |block: u64| {
            let mut records = Spans::default();
            (0..ranges).for_each(|range| records.push(seq(range * 2 + 1), seq(range * 2 + 1)));
            settled_note(EVENT, seq(1_000_000 + block), &records, &envelope, &mut rng())
        };
        let notes: Vec<_> = (0..markers).map(planted).collect();
        let mut news = JournalNews::default();
        journal.on_adopted(stream(77), &notes, Instant::ZERO, &mut news);
        let held = adopted(&mut journal).logs[EVENT].noted();
        assert!(held > 0 && held * (ranges as usize * 16 + 32) <= MOST_NOTED_BYTES, "{held} of {markers}");
        assert_eq!(news.corrupt as usize, markers as usize - held, "they are told");
    }
}

#[test]
fn a_note_counts_as_far_as_its_block_says_the_same() {
    let mut journal = journal();
    let mut settled = spans(1, 2);
    settled.insert(seq(9));
    let note = settled_note(EVENT, seq(3), &settled, &adopted(&mut journal).envelope, &mut rng());
    journal.streams.remove(&1);
    journal.on_adopted(stream(77), &[note], Instant::ZERO, &mut JournalNews::default());
    let block = block(&journal, 1, 1, 3);
    read(&mut journal, 1, vec![block]);
    assert_eq!(paged(&journal), [3]);
    assert!(journal.take(EVENT).unwrap().recovered);
    journal.on_settled(EVENT, seq(3).at_origin(1));
    assert_eq!(adopted(&mut journal).logs[EVENT].take_removable(9), [(seq(3), true)]);
}

#[test]
fn a_block_that_turns_out_damaged_holds_nothing_any_more() {
    let mut journal = journal();
    append(&mut journal, 3);
    let log = &mut own(&mut journal).logs[EVENT];
    log.discard(seq(3));
    assert!(log.here() == 0 && log.holds_nothing());
    assert_eq!(log.take_removable(9), [(seq(3), true)]);
}

#[test]
fn an_orphan_that_is_given_up_meanwhile_is_adopted_at_once() {
    let mut journal = journal();
    let mut list = |released, now| {
        let orphan = Orphan { stream: stream(5), released };
        journal.orphans.on_listed(&[orphan], 1, 0, now, &mut rng());
        journal.orphans.due()
    };
    assert_eq!(list(false, at(0)).1, super::orphans::Search::List);
    assert_eq!(list(true, at(1)), (at(1), super::orphans::Search::Adopt(stream(5))));
}

#[test]
fn searches_of_a_fleet_spread_by_a_quarter_to_both_sides() {
    let mut journal = journal();
    let mut rng = rng();
    let renewal = journal.lease.renewal;
    let waits: Vec<_> = (0..200)
        .map(|_| {
            journal.orphans.on_listed(&[], 1, 0, Instant::ZERO, &mut rng);
            journal.orphans.due().0.since(Instant::ZERO)
        })
        .collect();
    let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
    assert!(renewal * 3 / 4 <= least && least < renewal * 4 / 5, "{least:?}");
    assert!(renewal * 6 / 5 < most && most <= renewal * 5 / 4, "{most:?}");
}

#[test]
fn what_is_set_aside_is_in_the_store_and_comes_last() {
    let mut journal = journal();
    append(&mut journal, 3);
    journal.set_aside(EVENT, seq(1), 10);
    assert!(journal.stores(EVENT, seq(1)) && !own(&mut journal).logs[EVENT].has_ahead());
    journal.release(EVENT, seq(2), 10);
    assert!(own(&mut journal).logs[EVENT].has_ahead());
}

#[test]
fn others_are_looked_for_before_what_was_set_aside_is_read_and_after_the_rest() {
    for is_ahead in [false, true] {
        let mut journal = journal();
        journal.streams.remove(&1);
        append(&mut journal, 3);
        journal.set_aside(EVENT, seq(1), 10);
        if is_ahead {
            journal.release(EVENT, seq(2), 10);
        }
        let room = JournalRoom { read: ByKind { events: true, metrics: true }, others: true };
        let mut next = || {
            let request = journal.poll(Instant::ZERO, room, &mut rng(), |_, _, _| vec![]).unwrap();
            if matches!(request.op, StoreOp::List { .. }) {
                let none = StoreAnswer::Orphans { orphans: vec![], streams: 1, foreign: 0, complete: true };
                journal.on_reply(request.id, Ok(none), Instant::ZERO, &mut rng()).unwrap();
            }
            matches!(request.op, StoreOp::Read { .. })
        };
        assert_eq!(next(), is_ahead);
        assert!(is_ahead || next(), "while no search is due");
    }
}

#[test]
fn our_own_records_are_read_where_there_is_room_and_one_page_at_a_time() {
    let mut journal = journal();
    append(&mut journal, 3);
    journal.release(EVENT, seq(1), 10);
    let reads = |journal: &Journal, events| {
        let room = JournalRoom { read: ByKind { events, metrics: true }, others: false };
        journal.due_at(room).is_some_and(|(at, _)| at == Instant::ZERO)
    };
    assert!(reads(&journal, true) && !reads(&journal, false));
    page(&mut journal, 0, 1);
    assert!(!reads(&journal, true), "the last ones are still to be taken");
}

#[test]
fn many_small_records_are_appended_at_once_when_they_make_a_large_block() {
    let mut journal = journal_with(|_| {});
    journal.next_commit = at(100);
    let due = |journal: &Journal| journal.due_at(JournalRoom::default()).map(|(at, _)| at);
    assert_eq!(due(&journal), None);
    for expected in [at(100), at(100), at(1)] {
        journal.on_accepted(GROUP_BYTES / 3 + 1, at(1));
        assert_eq!(due(&journal), Some(expected));
    }
}

#[test]
fn a_lease_has_lapsed_when_it_could_have_been_renewed() {
    let mut journal = journal();
    let end = Instant::ZERO + journal.lease.ttl;
    let before = Instant::from_micros(end.as_micros() - 1);
    assert_eq!([before, end].map(|now| journal.has_lapsed(now)), [false, true]);
    journal.troubles.on_failed(Part::Change, StoreErrorKind::ReadOnly, Instant::ZERO, &mut rng());
    assert!(!journal.has_lapsed(end), "nobody can renew it");
    journal.troubles.forget();
    journal.close();
    assert!(!journal.has_lapsed(end), "it is given up anyway");
    assert!(journal.is_in_doubt(before));
}

#[test]
fn an_answer_later_than_the_lease_lasts_counts_unless_we_slept_or_end() {
    for (closing, slept, down) in [(false, false, true), (true, false, false), (false, true, false)] {
        let mut journal = journal();
        let id = StoreOpId::from_u64(3);
        journal.outstanding = Some((id, Instant::ZERO, Outstanding::List));
        (journal.closing, journal.fresh_from) = (closing, if slept { 4 } else { 3 });
        let now = Instant::ZERO + journal.lease.ttl;
        journal.on_reply(id, Ok(StoreAnswer::Done), now, &mut rng()).unwrap();
        assert_eq!(journal.is_down(), down, "{closing} {slept}");
    }
}

#[test]
fn an_append_that_may_have_been_made_is_repeated_as_it_was_until_it_is_known() {
    for (repeated, why, again) in [
        (false, StoreErrorKind::TimedOut, true),
        (true, StoreErrorKind::TimedOut, true),
        (true, StoreErrorKind::Full, true),
        (false, StoreErrorKind::Full, false),
    ] {
        let mut journal = journal();
        let mut writing = unsure(&mut journal, &[]);
        writing.repeated = repeated;
        journal.on_failed(Outstanding::Write(writing), why, Instant::ZERO);
        assert_eq!(
            journal.unsure.as_ref().is_some_and(|unsure| unsure.repeated),
            again,
            "{repeated} {why:?}"
        );
        assert_eq!(journal.waiting.is_some(), !again, "else it is appended anew");
    }
}

#[test]
fn a_stream_that_somebody_wrote_into_is_left_and_one_that_lost_something_is_not() {
    for (origin, last, left) in [(0, 3, false), (0, 2, false), (0, 4, true), (1, 3, true)] {
        let mut journal = journal();
        append(&mut journal, 3);
        let writing = journal.write(origin, ByKind::default(), &mut rng()).unwrap();
        let id = journal.streams[&origin].id;
        let last = ByKind { events: seq(last), metrics: seq(0) };
        let mut news = JournalNews::default();
        journal.on_diverged(&writing, last, Instant::ZERO, &mut rng(), &mut news);
        let spoilt = journal.spoilt.first().map(|spoilt| spoilt.stream);
        assert_eq!((spoilt, news.left.is_some()), (left.then_some(id), left), "{origin} {last:?}");
    }
}

#[test]
fn a_doubt_stays_until_the_end_was_read() {
    let mut journal = journal();
    append(&mut journal, 8);
    journal.release(EVENT, seq(2), 10);
    for last in [6, 4] {
        let writing = journal.write(0, ByKind::default(), &mut rng()).unwrap();
        let last = ByKind { events: seq(last), metrics: seq(0) };
        journal.on_diverged(&writing, last, Instant::ZERO, &mut rng(), &mut JournalNews::default());
        assert!(journal.doubt[EVENT], "{last:?}");
    }
}

#[test]
fn what_was_read_of_a_stream_that_is_left_goes_with_it() {
    let mut journal = journal();
    page(&mut journal, 1, 5);
    page(&mut journal, 0, 6);
    journal.leave_stream(1, LeftBecause::Adopted, Instant::ZERO, &mut rng(), &mut JournalNews::default());
    assert_eq!(paged(&journal), [6]);
}

#[test]
fn damaged_notes_are_counted() {
    let mut journal = journal();
    let note = |name: &str| crate::store::Note { name: name.into(), value: Some(b"?"[..].into()) };
    let mut news = JournalNews::default();
    journal.on_adopted(stream(5), &[note("s-e-1"), note("d-e-3")], Instant::ZERO, &mut news);
    assert_eq!(news.corrupt, 2);
}

#[test]
fn a_stream_is_made_known_as_often_as_its_lease_is_to_be_renewed() {
    for origin in [0, 1] {
        let mut journal = journal();
        journal.streams.get_mut(&origin).unwrap().register_at = Instant::ZERO;
        let renewal = journal.lease.renewal;
        let write = |journal: &mut Journal, at: Instant| {
            journal.on_time(now(at));
            let writing = journal.write(origin, ByKind::default(), &mut rng()).unwrap();
            let register = writing.write.register;
            journal.on_written(*writing, at, &mut JournalNews::default());
            register
        };
        let lease = journal.lease;
        let start = at(1);
        assert!(write(&mut journal, start), "{origin}");
        let just_before = start + (renewal - Duration::from_micros(1));
        assert!(!write(&mut journal, just_before), "{origin}");
        journal.streams.get_mut(&origin).unwrap().renew(just_before, lease);
        assert!(
            write(&mut journal, start + renewal),
            "{origin}: somebody may have emptied the list of streams"
        );
    }
}

#[test]
fn what_the_store_lost_is_not_persisted_after_the_end_either() {
    let mut journal = journal();
    append(&mut journal, 8);
    journal.release(EVENT, seq(2), 10);
    assert_eq!(journal.persisted(EVENT), 8);
    let writing = journal.write(0, ByKind::default(), &mut rng()).unwrap();
    let last = ByKind { events: seq(4), metrics: seq(0) };
    journal.on_diverged(&writing, last, Instant::ZERO, &mut rng(), &mut JournalNews::default());
    let persisted = journal.persisted(EVENT);
    assert!(persisted < 8);
    let id = StoreOpId::from_u64(3);
    journal.outstanding = Some((id, Instant::ZERO, Outstanding::Close { origin: 0, keep: true }));
    journal.on_reply(id, Ok(StoreAnswer::Done), Instant::ZERO, &mut rng()).unwrap();
    assert_eq!(journal.persisted(EVENT), persisted);
}

#[test]
fn every_stream_is_renewed_in_turn_however_slow_the_store_is() {
    let mut journal = journal_with(|_| {});
    let lease = journal.lease;
    for origin in 0..10 {
        let mut held = Stream::adopted(stream(u64::from(origin)), None);
        held.renew(Instant::ZERO, lease);
        journal.streams.insert(origin, held);
    }
    let mut now = Instant::ZERO;
    let mut renewed = vec![];
    for _ in 0..20 {
        now = now + lease.renewal;
        let origin = journal.next_change(now, &mut rng()).unwrap().origin;
        journal.streams.get_mut(&origin).unwrap().renew(now, lease);
        renewed.push(origin);
    }
    assert_eq!(renewed, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].repeat(2));
}

#[test]
fn appends_without_a_pause_do_not_keep_a_lease_from_being_renewed() {
    let mut journal = journal();
    let lease = journal.lease;
    let mut written = vec![];
    for renewals in 1..=3 {
        let now = Instant::ZERO + lease.renewal * renewals;
        journal.waiting = Some((2, Instant::ZERO));
        let unwritten = |kind, _, _| if kind == EVENT { vec![unwritten(1, b"{}")] } else { vec![] };
        let origin = journal.next_write(now, &mut rng(), unwritten).unwrap().origin;
        journal.streams.get_mut(&origin).unwrap().renew(now, lease);
        written.push(origin);
    }
    assert_eq!(written, [0, 1, 0]);
}

#[test]
fn appends_without_a_pause_do_not_keep_others_from_being_looked_for() {
    let mut journal = journal();
    let mut ops = vec![];
    for _ in 0..3 {
        journal.waiting = Some((2, Instant::ZERO));
        let unwritten = |kind, _, _| if kind == EVENT { vec![unwritten(1, b"{}")] } else { vec![] };
        let room = JournalRoom { read: ByKind::default(), others: true };
        let request = journal.poll(at(1_000), room, &mut rng(), unwritten).unwrap();
        ops.push(matches!(request.op, StoreOp::Write(_)));
        journal.outstanding = None;
        journal.next_commit = Instant::ZERO;
    }
    assert_eq!(ops, [true, false, true]);
}

#[test]
fn no_more_is_adopted_than_can_be_renewed() {
    for (renewals, adopts) in [(1, true), (2, false)] {
        let mut journal = journal();
        append(&mut journal, 1);
        journal.streams.remove(&1);
        let now = Instant::ZERO + journal.lease.renewal * renewals;
        let orphan = Orphan { stream: stream(5), released: true };
        journal.orphans.on_listed(&[orphan], 1, 0, now, &mut rng());
        journal.others_next = true;
        let room = JournalRoom { read: ByKind { events: true, metrics: true }, others: true };
        let request = journal.poll(now, room, &mut rng(), |_, _, _| vec![]).unwrap();
        assert_eq!(matches!(request.op, StoreOp::Adopt { .. }), adopts, "{:?}", request.op);
    }
}

#[test]
fn a_finished_stream_of_our_own_is_closed_although_leases_are_always_late() {
    for waiting in [None, Some((2, at(2_000)))] {
        let mut journal = journal();
        let own = own(&mut journal).id;
        journal.waiting = waiting;
        let room = JournalRoom { read: ByKind::default(), others: true };
        let mut closed = vec![];
        for _ in 0..3 {
            let request = journal.poll(at(1_000), room, &mut rng(), |_, _, _| vec![]).unwrap();
            closed.push(request.op == StoreOp::Close { stream: own, keep: false });
            journal.outstanding = None;
        }
        assert_eq!(closed, [true, false, false], "{waiting:?}");
    }
}

#[test]
fn who_waits_for_the_answer_to_a_first_append_is_known_to_have_slept() {
    for awaits in [false, true] {
        let mut journal = journal_with(|_| {});
        journal.outstanding = awaits.then(|| (StoreOpId::from_u64(3), Instant::ZERO, Outstanding::List));
        journal.next_op = 4;
        journal.on_time(now(at(1_000)));
        assert_eq!(journal.fresh_from, if awaits { 4 } else { 0 });
    }
}
