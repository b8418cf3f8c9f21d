use core::fmt;
use std::format;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::store::{StoreError, StoreErrorKind};

/// A directory that cannot hold a journal.
#[derive(Debug)]
pub struct FileStoreError {
    dir: PathBuf,
    reason: io::Error,
}

impl FileStoreError {
    pub(super) const fn new(dir: PathBuf, reason: io::Error) -> Self {
        Self { dir, reason }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Why not.
    #[must_use]
    pub const fn reason(&self) -> &io::Error {
        &self.reason
    }
}

impl fmt::Display for FileStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no journal in {}: {}", self.dir.display(), self.reason)
    }
}

impl core::error::Error for FileStoreError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// The error of an operation, for the core.
pub(super) fn failed(what: &'static str, error: &io::Error) -> StoreError {
    let kind = if is_full(error) {
        StoreErrorKind::Full
    } else if error.kind() == ErrorKind::PermissionDenied {
        StoreErrorKind::Denied
    } else if error.kind() == ErrorKind::ReadOnlyFilesystem {
        StoreErrorKind::ReadOnly
    } else {
        StoreErrorKind::Other
    };
    StoreError::new(kind, format!("cannot {what}: {error}"))
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

pub(super) fn fenced() -> StoreError {
    StoreError::new(StoreErrorKind::Fenced, "the stream belongs to another agent")
}
