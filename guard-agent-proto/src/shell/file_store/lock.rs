use std::format;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;
use std::vec::Vec;

use crate::shell::private_files::{Access, FileId, Owner, PrivateDir};
use crate::store::OwnerId;

/// Others that list streams hold a lock for an instant: how often to try again, and after what time.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// Longer than it takes to make a stream, or to delete one.
const MAKING: Duration = Duration::from_secs(60);

/// More bytes than an owner's id takes.
const LONGEST: u64 = 64;

/// The lock on a stream. The operating system gives it up when this is dropped or the process is gone.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
    /// Text form of the owner's id; empty at first.
    owner: Vec<u8>,
}

/// What the file is called.
const NAME: &str = "lock";

impl Lock {
    /// Locks the stream in that directory, unless somebody else has.
    pub(super) fn take(stream: &PrivateDir) -> io::Result<Option<Self>> {
        let path = stream.path_of(NAME);
        for _ in 0..ATTEMPTS {
            let Some(file) = open_or_create(stream)? else { continue };
            match file.try_lock() {
                Ok(()) => {
                    let mut owner = Vec::new();
                    (&file).take(LONGEST).read_to_end(&mut owner)?;
                    let lock = Self { path: path.clone(), file, owner };
                    // Somebody may have deleted the stream before we got the lock.
                    if lock.is_in_place() {
                        return Ok(Some(lock));
                    }
                }
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether somebody else owned the stream last.
    pub(super) fn was_of_another(&self, owner: OwnerId) -> bool {
        !self.owner.is_empty() && self.owner != text(owner)
    }

    /// Writes down who the owner is, over the last one: that takes no space on the disk.
    pub(super) fn set_owner(&mut self, owner: OwnerId) -> io::Result<()> {
        let text = text(owner);
        if self.owner != text {
            self.file.rewind()?;
            self.file.write_all(&text)?;
            self.file.sync_data()?;
            self.owner = text;
        }
        Ok(())
    }

    pub(super) fn is_owned_by(&self, owner: OwnerId) -> bool {
        self.owner == text(owner)
    }

    /// Whether the lock is still that of the directory, which somebody may have deleted.
    pub(super) fn is_in_place(&self) -> bool {
        same_file(&self.file, &self.path).unwrap_or(false)
    }
}

/// Whether the owner of the stream in that directory is gone.
///
/// While a stream is made or deleted its lock names nobody, or is not there, and nobody holds it. If it stays like
/// that, whoever did it died on the way.
pub(super) fn is_orphaned(stream: &PrivateDir) -> io::Result<bool> {
    let named = match stream.open_file(NAME, Access::Read, Owner::Us) {
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => file.metadata()?.len() > 0 && same_file(&file, &stream.path_of(NAME))?,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    Ok(named || stream.modified()?.elapsed().is_ok_and(|age| age > MAKING))
}

/// Whether files can be written and locked in that directory.
pub(super) fn try_out(dir: &PrivateDir) -> io::Result<()> {
    let name = format!("probe-{:016x}", super::segment::random()?);
    let file = dir.create_file(&name)?;
    let tried = file.try_lock().map_err(io::Error::from);
    dir.remove_file(&name).and(tried)
}

/// `None` if another one made or deleted it at the same time.
fn open_or_create(stream: &PrivateDir) -> io::Result<Option<File>> {
    match stream.open_file(NAME, Access::ReadAndWrite, Owner::Us) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened.map(Some),
    }
    match stream.create_file(NAME) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        created => created.map(Some),
    }
}

fn text(owner: OwnerId) -> Vec<u8> {
    format!("{owner}\n").into_bytes()
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    Ok(FileId::of_file(file)? == FileId::at(path)?)
}
