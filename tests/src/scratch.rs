//! Directories for tests.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// An empty directory that is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn new() -> io::Result<Self> {
        Self::within(&env::temp_dir())
    }

    /// A new one in memory where there is such a file system: for more files than a disk likes.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn in_memory() -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::within(memory) } else { Self::new() }
    }

    fn within(parent: &Path) -> io::Result<Self> {
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let path = parent.join(format!("guard-agent-{number:016x}"));
        let mut dir = fs::DirBuilder::new();
        // Whatever the mask of new files is here: a journal is not put where others can write.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut dir, 0o700);
        dir.create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A process that is still writing to it may win; the system clears what is temporary.
        let _ = fs::remove_dir_all(&self.0);
    }
}
