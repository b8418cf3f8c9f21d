//! What others put where a journal is, or could.

use std::format;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::string::{String, ToString as _};
use std::vec::Vec;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::geteuid;

use super::super::FileStore;
use super::{Agent, STREAM, Scratch, append};
use crate::store::{OwnerId, Space, StoreErrorKind, StreamId};

/// A user that is not the one of this process.
const STRANGER: u32 = 12_345;

fn make(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives it to a stranger, which only the administrator can do: what is decided for others is tested beside the decision.
fn give_away(path: &Path) -> bool {
    geteuid().is_root() && chown(path, Some(STRANGER), None).map(|()| true).unwrap()
}

/// A stream of which the owner is gone.
fn orphan(scratch: &Scratch) -> PathBuf {
    let agent = scratch.agent(1);
    agent.append(1, "one");
    agent.append(2, "two");
    agent.settle();
    drop(agent);
    drop(scratch.adopter(2));
    scratch.stream()
}

fn refusal(agent: &Agent) -> String {
    // It is locked by the thread of a store that was dropped, for a moment.
    for _ in 0..10_000 {
        let error = agent.adopt().unwrap_err();
        if error.kind != StoreErrorKind::Fenced {
            assert!(matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Other), "{error}");
            return error.to_string();
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("the stream stays locked");
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_and_named() {
    for mode in [0o777, 0o1777, 0o770, 0o720, 0o702, 0o2775] {
        let scratch = Scratch::new();
        make(&scratch.0, mode);
        let error = FileStore::open(&scratch.0).unwrap_err().to_string();
        let dir = scratch.0.display();
        assert!(error.contains(&format!("mode {mode:o}")), "{error}");
        assert!(error.contains(&format!("`chmod go-w '{dir}'`")), "{error}");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0, "nothing is left in it");
        make(&scratch.0, 0o755);
        FileStore::open(&scratch.0).unwrap();
        // One of its own in it is made for it, and is nobody else's.
        make(&scratch.0, mode);
        FileStore::open(scratch.0.join("own")).unwrap();
    }
}

#[test]
fn a_directory_that_others_can_write_to_later_is_not_written_to_any_more() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    make(&scratch.0, 0o777);
    let error = agent.write(append(1, "one")).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("chmod go-w"), "{error}");
    make(&scratch.0, 0o700);
    agent.append(1, "one");
    // What is open is ours.
    make(&scratch.0, 0o777);
    agent.append(2, "two");
}

#[test]
fn a_directory_of_another_user_is_refused_and_its_owner_named() {
    let scratch = Scratch::new();
    if give_away(&scratch.0) {
        let error = FileStore::open(&scratch.0).unwrap_err().to_string();
        assert!(error.contains(&format!("belongs to the user {STRANGER}")), "{error}");
    }
}

#[test]
fn the_directory_itself_may_be_a_link_to_one_of_ours() {
    let scratch = Scratch::new();
    let (real, link) = (scratch.0.join("real"), scratch.0.join("link"));
    fs::create_dir(&real).unwrap();
    make(&real, 0o700);
    symlink(&real, &link).unwrap();
    let agent = Agent { store: FileStore::open(&link).unwrap(), owner: OwnerId::from_u64(1) };
    agent.append(1, "one");
    assert!(real.join(STREAM.to_string()).exists());
    make(&real, 0o777);
    FileStore::open(&link).unwrap_err();
}

#[test]
fn a_lock_that_leads_elsewhere_overwrites_nothing() {
    type Plant = (&'static str, fn(&Path, &Path));
    let plants: [Plant; 2] =
        [("link", |to, at| symlink(to, at).unwrap()), ("hard link", |to, at| fs::hard_link(to, at).unwrap())];
    for (what, plant) in plants {
        let scratch = Scratch::new();
        let stream = orphan(&scratch);
        let victim = scratch.0.join("victim");
        fs::write(&victim, "").unwrap();
        fs::remove_file(stream.join("lock")).unwrap();
        plant(&victim, &stream.join("lock"));
        let agent = scratch.agent(3);
        let error = refusal(&agent);
        assert!(error.contains("/lock`"), "{what}: {error}");
        assert_eq!(agent.list().0, 1, "{what}: somebody has to be told");
        assert_eq!(fs::read(&victim).unwrap(), b"", "{what}");
        fs::remove_file(stream.join("lock")).unwrap();
        assert_eq!(scratch.adopter(3).ids(), ([1, 2].into(), 0), "{what}: mended");
    }
}

#[test]
fn what_is_in_the_way_of_the_directory_is_named_with_what_to_do() {
    let scratch = Scratch::new();
    let (link, file) = (scratch.0.join("link"), scratch.0.join("file"));
    symlink(scratch.0.join("nowhere"), &link).unwrap();
    fs::write(&file, "").unwrap();
    let told = |dir: PathBuf| FileStore::open(dir).unwrap_err().to_string();
    for below in [link.clone(), link.join("guard"), link.join("a/b")] {
        let error = told(below);
        let expected = format!("`{}` is a link that leads nowhere: create what it names", link.display());
        assert!(error.contains(&expected), "{error}");
    }
    for below in [file.clone(), file.join("guard")] {
        let error = told(below);
        assert!(error.contains(&format!("`{}` is no directory", file.display())), "{error}");
    }
    assert!(!scratch.0.join("nowhere").exists());
    fs::create_dir(scratch.0.join("nowhere")).unwrap();
    make(&scratch.0.join("nowhere"), 0o700);
    FileStore::open(link.join("guard")).unwrap();
}

#[test]
fn the_folder_of_a_stream_is_not_a_link_and_nobody_elses() {
    let scratch = Scratch::new();
    let stream = orphan(&scratch);
    let agent = scratch.agent(3);
    make(&stream, 0o777);
    assert!(refusal(&agent).contains(&format!("`chmod go-w '{}'`", stream.display())));
    make(&stream, 0o700);

    let moved = scratch.0.join("moved");
    fs::rename(&stream, &moved).unwrap();
    symlink(&moved, &stream).unwrap();
    assert!(refusal(&agent).contains("is a link or of another kind"));
    assert_eq!(agent.list(), (1, 1, 0));
    fs::remove_file(&stream).unwrap();
    fs::rename(&moved, &stream).unwrap();

    if give_away(&stream) {
        assert!(refusal(&agent).contains(&format!("belongs to the user {STRANGER}")));
        chown(&stream, Some(0), None).unwrap();
    }
    assert_eq!(scratch.adopter(3).ids(), ([1, 2].into(), 0));
}

/// Forged by whoever could write there once.
#[test]
fn of_many_strange_streams_one_is_told() {
    let scratch = Scratch::new();
    for id in 0..20 {
        let stream = scratch.0.join(StreamId::new(Space::new(0), id).to_string());
        fs::create_dir(&stream).unwrap();
        fs::write(stream.join("lock"), "00000000000000ff\n").unwrap();
        make(&stream, 0o777);
    }
    let agent = scratch.agent(1);
    assert_eq!(agent.list(), (1, 1, 0));
    assert_eq!(agent.list(), (1, 1, 0));
}

/// Opening a pipe waits for somebody at its other end, if it is done in the usual way.
#[test]
fn what_is_no_file_and_is_called_like_one_is_told_and_waited_for_by_nobody() {
    type Plant = (&'static str, fn(&Path));
    let pipe = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let plants: [Plant; 5] = [
        ("pipe", pipe),
        ("socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("directory", |path| fs::create_dir(path).unwrap()),
        ("link", |path| symlink("/etc/passwd", path).unwrap()),
        ("device", |path| {
            // Those who may not make one link to one.
            let device = mknodat(CWD, path, FileType::CharacterDevice, Mode::from(0o600), makedev(1, 5));
            device.or_else(|_| rustix::fs::symlink("/dev/zero", path)).unwrap();
        }),
    ];
    for (what, plant) in plants {
        for name in ["lock", "00000007-0000abcd.log"] {
            let scratch = Scratch::new();
            let stream = orphan(&scratch);
            let at = stream.join(name);
            let _ = fs::remove_file(&at);
            plant(&at);
            let agent = scratch.agent(3);
            let error = refusal(&agent);
            assert!(error.contains(&format!("/{name}`")), "{what}: {error}");
            if what == "directory" { fs::remove_dir(&at) } else { fs::remove_file(&at) }.unwrap();
            assert_eq!(scratch.adopter(3).ids(), ([1, 2].into(), 0), "{what}");
        }
    }
}

#[test]
fn a_segment_with_a_second_name_or_of_another_user_is_told_and_stays() {
    let scratch = Scratch::new();
    let stream = orphan(&scratch);
    let second = scratch.0.join("second");
    let segment = scratch.segments().remove(0);
    fs::hard_link(&segment, &second).unwrap();
    let agent = scratch.agent(3);
    assert!(refusal(&agent).contains("one of 2 names"));
    fs::remove_file(&second).unwrap();
    make(&segment, 0o666);
    assert!(refusal(&agent).contains("mode 666"));
    make(&segment, 0o600);
    if give_away(&segment) {
        assert!(refusal(&agent).contains(&format!("user {STRANGER}")));
        chown(&segment, Some(0), None).unwrap();
    }
    assert!(stream.exists());
    assert_eq!(scratch.adopter(3).ids(), ([1, 2].into(), 0));
}

#[test]
fn two_segments_with_one_number_are_told() {
    let scratch = Scratch::new();
    let planted = orphan(&scratch).join("00000001-0000abcd.log");
    fs::write(&planted, "").unwrap();
    make(&planted, 0o600);
    assert!(refusal(&scratch.agent(3)).contains("two segments with the number 1"));
    fs::remove_file(&planted).unwrap();
    assert_eq!(scratch.adopter(3).ids(), ([1, 2].into(), 0));
}

#[test]
fn a_segment_larger_than_any_is_damage_and_not_read() {
    let scratch = Scratch::new();
    let stream = orphan(&scratch);
    let sparse = File::create(stream.join("00000009-0000abcd.log")).unwrap();
    make(&stream.join("00000009-0000abcd.log"), 0o600);
    sparse.set_len(10 << 30).unwrap();
    let adopter = scratch.adopter(3);
    assert_eq!(adopter.ids(), ([1, 2].into(), 1));
    adopter.append(3, "three");
    assert_eq!(adopter.ids(), ([1, 2, 3].into(), 1));
}

#[test]
fn a_large_lock_is_read_in_part() {
    let scratch = Scratch::new();
    let stream = orphan(&scratch);
    File::options().write(true).open(stream.join("lock")).unwrap().set_len(10 << 30).unwrap();
    assert_eq!(scratch.adopter(3).ids(), ([1, 2].into(), 0));
}

#[test]
fn what_takes_the_place_of_a_segment_while_it_is_in_use_is_not_read() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    agent.append(1, "one");
    let segment = scratch.segments().remove(0);
    let length = fs::metadata(&segment).unwrap().len() as usize;
    let victim = scratch.0.join("victim");
    fs::write(&victim, Vec::from([b'x'; 4096])).unwrap();
    assert!(length < 4096);
    fs::remove_file(&segment).unwrap();
    symlink(&victim, &segment).unwrap();
    let copy = segment.with_extension("copy");
    symlink(&victim, &copy).unwrap();
    assert_eq!(agent.ids(), ([1].into(), 0));
    agent.append(2, "two");
    assert_eq!(agent.ids(), ([1, 2].into(), 0));
    assert_eq!(fs::read(&victim).unwrap(), [b'x'; 4096]);
    assert!(fs::symlink_metadata(&segment).unwrap().is_file());
}

/// A service that dies at each start leaves many, and what is looked at holds up what is written.
#[test]
fn of_many_streams_some_are_looked_at_in_turns() {
    let scratch = Scratch::new();
    let agent = scratch.agent(1);
    let many = 1_500_u64;
    for id in 0..many {
        let stream = scratch.0.join(StreamId::new(Space::new(0), id).to_string());
        fs::create_dir(&stream).unwrap();
        make(&stream, 0o700);
        fs::write(stream.join("lock"), "00000000000000ff\n").unwrap();
        make(&stream.join("lock"), 0o600);
    }
    let mut found = Vec::new();
    for _ in 0..2 {
        let (orphans, streams) = agent.orphans();
        assert_eq!((orphans.len(), streams), (1_024, 1_024));
        found.extend(orphans);
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len() as u64, many);
}
