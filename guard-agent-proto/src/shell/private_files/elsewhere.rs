use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::trust::{Untrusted, Why};
use super::{Access, Links, Listed, Owner};

/// A directory, by its path. Who can write to it, and to what is in it, is not found out on this system: that has to be
/// seen to by the permissions of the directory. Links in it are not followed.
#[derive(Debug)]
pub(in crate::shell) struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    pub(in crate::shell) fn open(path: &Path, _owner: Owner, links: Links) -> io::Result<Self> {
        let path = path.to_path_buf();
        if links == Links::Refused {
            check(&path, fs::Metadata::is_dir)?;
        }
        if fs::metadata(&path)?.is_dir() {
            Ok(Self { path })
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    pub(in crate::shell) fn open_dir(&self, name: &str) -> io::Result<Self> {
        let path = self.path_of(name);
        check(&path, fs::Metadata::is_dir)?;
        Ok(Self { path })
    }

    pub(in crate::shell) fn create_dir(&self, name: &str) -> io::Result<()> {
        match fs::create_dir(self.path_of(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    pub(in crate::shell) fn open_file(&self, name: &str, access: Access, _owner: Owner) -> io::Result<File> {
        self.open_any(name, access)
    }

    pub(in crate::shell) fn open_any(&self, name: &str, access: Access) -> io::Result<File> {
        let path = self.path_of(name);
        check(&path, fs::Metadata::is_file)?;
        OpenOptions::new().read(true).write(access == Access::ReadAndWrite).open(path)
    }

    pub(in crate::shell) fn create_file(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.path_of(name))
    }

    pub(in crate::shell) fn remove_file(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path_of(name))
    }

    pub(in crate::shell) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path_of(from), self.path_of(to))
    }

    /// The system has no way to ask for that.
    pub(in crate::shell) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::shell) fn entries(&self, mut wanted: impl FnMut(Listed) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let may_be_dir = !entry.file_type()?.is_file();
            if !wanted(Listed { name, may_be_dir }) {
                break;
            }
        }
        Ok(())
    }

    pub(in crate::shell) fn modified(&self) -> io::Result<SystemTime> {
        fs::metadata(&self.path)?.modified()
    }

    pub(in crate::shell) fn path(&self) -> &Path {
        &self.path
    }
}

fn check(path: &Path, is_wanted: fn(&fs::Metadata) -> bool) -> io::Result<()> {
    if is_wanted(&fs::symlink_metadata(path)?) { Ok(()) } else { Err(Untrusted::error(path, Why::Strange)) }
}
