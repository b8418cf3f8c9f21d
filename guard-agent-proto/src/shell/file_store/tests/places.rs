//! Directories, names, permissions.

use std::format;
use std::fs;
use std::string::ToString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use proptest::prelude::ProptestConfig;

use super::super::FileStore;
use super::{STREAM, Scratch};
use crate::store::{Space, StoreErrorKind, StreamId};

#[test]
fn a_place_that_cannot_hold_a_journal_is_refused() {
    let scratch = Scratch::new();
    let file = scratch.0.join("file");
    fs::write(&file, "content").unwrap();
    for dir in [file.clone(), file.join("below")] {
        let error = FileStore::open(&dir).unwrap_err();
        assert_eq!(error.path(), dir);
        assert!(error.to_string().starts_with(&format!("no journal in {}: ", dir.display())), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"content");
    FileStore::open("").unwrap_err();
    // Even an administrator cannot create files there.
    #[cfg(target_os = "linux")]
    FileStore::open("/proc").unwrap_err();
}

#[test]
fn a_directory_is_created_with_its_parents_and_holds_nothing_before_the_first_write() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("a/b");
    let store = FileStore::open(&dir).unwrap();
    assert_eq!(store.path(), dir);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "no probe is left");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    let scratch = Scratch::new();
    let outer = scratch.0.join("outer");
    let store = FileStore::open(&outer).unwrap();
    let agent = super::Agent { store, owner: crate::store::OwnerId::from_u64(1) };
    agent.append(1, "one");
    agent.settle();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let stream = outer.join(STREAM.to_string());
    assert_eq!((mode(&outer), mode(&stream)), (0o700, 0o700));
    let files = super::files(&stream);
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let scratch = Scratch::new();
    let other_key = StreamId::new(Space::new(1), 1).to_string();
    for name in
        [&other_key, "v1-00000000-00c0ffee00c0ffee", "v2-short", "V2-00000000-00c0ffee00c0ffee", "other"]
    {
        fs::create_dir(scratch.0.join(name)).unwrap();
    }
    fs::write(scratch.0.join("v2-00000000-00000000000000ff"), "a file").unwrap();
    let before = super::files(&scratch.0);
    let agent = scratch.agent(1);
    assert_eq!(agent.list(), (0, 0, 3));
    agent.append(1, "one");
    assert_eq!(agent.list(), (0, 1, 3));
    agent.close(false);
    assert_eq!(super::files(&scratch.0), before);

    fs::write(scratch.stream(), "a file").unwrap();
    assert_eq!(agent.write(super::append(1, "one")).unwrap_err().kind, StoreErrorKind::Other);
    assert_eq!(fs::read(scratch.stream()).unwrap(), b"a file");
}

#[test]
fn files_that_others_put_into_a_stream_are_not_read() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    agent.append(1, "one");
    for name in ["notes.txt", "one-two.log", "00000009.log", "-.log"] {
        fs::write(scratch.stream().join(name), "something").unwrap();
    }
    fs::create_dir(scratch.stream().join("directory")).unwrap();
    drop(agent);
    let adopter = scratch.adopter(2);
    assert_eq!(adopter.ids(), ([1].into(), 0));
    adopter.close(false);
    assert!(!scratch.stream().exists());
}

#[test]
fn what_a_crash_left_of_making_or_deleting_a_stream_is_cleared_away_after_a_while() {
    for with_lock in [false, true] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.stream()).unwrap();
        if with_lock {
            fs::write(scratch.stream().join("lock"), "").unwrap();
        }
        let agent = scratch.agent(1);
        assert_eq!(agent.list(), (0, 1, 0), "its owner may be about to lock it");
        let dir = fs::File::open(scratch.stream()).unwrap();
        dir.set_modified(SystemTime::now() - Duration::from_secs(61)).unwrap();
        assert_eq!(agent.list(), (1, 1, 0));
        assert_eq!(agent.adopt(), Ok([].into()));
        agent.close(false);
        assert_eq!(agent.list(), (0, 0, 0));
    }
}

#[test]
fn stores_of_one_process_exclude_each_other() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.agent(1), scratch.agent(2));
    one.append(1, "one");
    assert_eq!(two.adopt().unwrap_err().kind, StoreErrorKind::Fenced);
    assert_eq!(two.list(), (0, 1, 0));
    drop(one);
    assert_eq!(scratch.adopter(3).ids(), ([1].into(), 0));
}

/// As agents do that start, work and end beside each other.
#[test]
fn what_is_being_made_or_deleted_is_no_orphan() {
    let scratch = Scratch::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (other, done) = (scratch.agent(2), &done);
        let lister = scope.spawn(move || {
            let mut orphans = 0;
            while !done.load(Ordering::Relaxed) {
                orphans += other.list().0;
            }
            orphans
        });
        let owner = scope.spawn(|| {
            // It has to be met in the act: as often as cases are tried.
            for number in 0..ProptestConfig::default().cases {
                let owner = scratch.agent(1);
                owner.append(1, "block");
                owner.close(false);
                assert!(!scratch.stream().exists(), "{number}");
            }
        });
        let outcome = owner.join();
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
        assert_eq!(lister.join().unwrap(), 0);
    });
}

#[test]
fn an_owner_is_not_fenced_by_those_that_list() {
    let scratch = Scratch::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for lister in [2, 3] {
            let (agent, done) = (scratch.agent(lister), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    agent.list();
                }
            });
        }
        let owner = scope.spawn(|| {
            let owner = scratch.agent(1);
            for id in 1..=50 {
                owner.append(id, "block");
                owner.close(true);
            }
        });
        let outcome = owner.join();
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
}
