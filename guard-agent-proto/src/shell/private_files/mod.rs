//! Files and directories that only their owner may read, and that nobody else may have put there.

#[cfg_attr(not(unix), allow(dead_code, reason = "whose a file is, is not asked there"))]
mod trust;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(not(unix))]
mod elsewhere;
#[cfg(not(unix))]
use elsewhere as system;

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::string::String;

pub(super) use system::PrivateDir;
pub(super) use trust::{Owner, is_untrusted};
use trust::{Untrusted, Why};

/// What of a file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadAndWrite,
}

/// What is listed in a directory.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    /// It may be a directory, or lead to one.
    pub(super) may_be_dir: bool,
}

/// Whether the last part of a path may be a link. What is before that may always lead through links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// Somebody named the path: what counts is where it ends.
    Followed,
    /// We named the directory, so a link was put there by somebody else.
    Refused,
}

impl PrivateDir {
    /// The directory at that path, which is created with its parents unless it is there.
    ///
    /// # Errors
    ///
    /// Also if somebody else could have put something there, which [`is_untrusted`] recognizes.
    pub(super) fn create(path: &Path, links: Links) -> io::Result<Self> {
        create_dir(path)?;
        Self::open(path, Owner::Us, links)
    }

    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// Creates it with its parents, unless it is there.
fn create_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| match in_the_way(dir) {
        Some((path, why)) => Untrusted::error(path, why),
        None => error,
    })
}

/// The part of a path that is there and no directory, so that none can be created: systems say of it that it exists.
fn in_the_way(path: &Path) -> Option<(&Path, Why)> {
    path.ancestors().find_map(|part| {
        let is_link = fs::symlink_metadata(part).ok()?.is_symlink();
        match fs::metadata(part) {
            Ok(meta) => (!meta.is_dir()).then_some((part, Why::NoDirectory)),
            Err(error) if is_link && error.kind() == io::ErrorKind::NotFound => Some((part, Why::Dangling)),
            Err(_) => None,
        }
    })
}

/// Which file it is, whatever it is called. Where the system does not tell, all are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    #[cfg(unix)]
    place: (u64, u64),
}

impl FileId {
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of(&file.metadata()?))
    }

    /// That of what has this name, be it a link.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::symlink_metadata(path)?))
    }

    #[cfg(unix)]
    pub(super) fn of(file: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        Self { place: (file.dev(), file.ino()) }
    }

    #[cfg(not(unix))]
    pub(super) fn of(_file: &Metadata) -> Self {
        Self {}
    }
}
