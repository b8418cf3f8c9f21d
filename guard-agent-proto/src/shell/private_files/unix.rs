use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::string::String;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, mkdirat, open, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::trust::{Traits, Untrusted, Why};
use super::{Access, Links, Listed, Owner};

/// A directory that nobody but us can write to, by its descriptor: what is opened in it is opened in this very one.
#[derive(Debug)]
pub(in crate::shell) struct PrivateDir {
    path: PathBuf,
    dir: File,
}

/// Opening waits for nobody at the other end of a pipe, and makes no terminal ours.
const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIR_MODE: Mode = Mode::from_raw_mode(0o700);

impl PrivateDir {
    /// The directory at that path.
    pub(in crate::shell) fn open(path: &Path, owner: Owner, links: Links) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | COMMON;
        let dir = match links {
            Links::Followed => open(path, flags, Mode::empty())?,
            Links::Refused => {
                open(path, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| refusal(error, path))?
            }
        };
        Self::checked(path.to_path_buf(), dir.into(), owner)
    }

    /// The directory of that name in it, which is no link.
    pub(in crate::shell) fn open_dir(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | COMMON;
        let path = self.path_of(name);
        match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(dir) => Self::checked(path, dir.into(), Owner::Us),
            Err(error) => Err(refusal(error, &path)),
        }
    }

    /// Makes a directory in it, unless that is there.
    pub(in crate::shell) fn create_dir(&self, name: &str) -> io::Result<()> {
        match mkdirat(&self.dir, name, DIR_MODE) {
            Ok(()) => self.sync(),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A file in it: a regular one without another name, which nobody else can write to.
    pub(in crate::shell) fn open_file(&self, name: &str, access: Access, owner: Owner) -> io::Result<File> {
        let file = self.open_any(name, access)?;
        check(&file, &self.path_of(name), owner, |meta| meta.is_file())?;
        Ok(file)
    }

    /// A file of which the caller knows whose it is.
    pub(in crate::shell) fn open_any(&self, name: &str, access: Access) -> io::Result<File> {
        let access = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadAndWrite => OFlags::RDWR,
        };
        match openat(&self.dir, name, access | OFlags::NOFOLLOW | COMMON, Mode::empty()) {
            Ok(file) => Ok(file.into()),
            Err(error) => Err(refusal(error, &self.path_of(name))),
        }
    }

    /// A file that was not there before.
    pub(in crate::shell) fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | COMMON;
        Ok(openat(&self.dir, name, flags, FILE_MODE)?.into())
    }

    pub(in crate::shell) fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    pub(in crate::shell) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.dir, from, &self.dir, to)?)
    }

    /// Makes the names in it durable.
    pub(in crate::shell) fn sync(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    /// Looks at the names in it, in any order, as long as that is wanted. Names that are no text are left out.
    pub(in crate::shell) fn entries(&self, mut wanted: impl FnMut(Listed) -> bool) -> io::Result<()> {
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            let may_be_dir =
                matches!(entry.file_type(), FileType::Directory | FileType::Symlink | FileType::Unknown);
            if !wanted(Listed { name: String::from(name), may_be_dir }) {
                break;
            }
        }
        Ok(())
    }

    pub(in crate::shell) fn path(&self) -> &Path {
        &self.path
    }

    /// When a name in it changed last.
    pub(in crate::shell) fn modified(&self) -> io::Result<SystemTime> {
        self.dir.metadata()?.modified()
    }

    fn checked(path: PathBuf, dir: File, owner: Owner) -> io::Result<Self> {
        check(&dir, &path, owner, |meta| meta.is_dir())?;
        Ok(Self { path, dir })
    }
}

fn check(
    file: &File,
    path: &Path,
    owner: Owner,
    is_wanted: fn(&std::fs::Metadata) -> bool,
) -> io::Result<()> {
    let meta = file.metadata()?;
    let traits = Traits {
        is_what_is_wanted: is_wanted(&meta),
        owner: meta.uid(),
        mode: meta.mode(),
        links: if meta.is_dir() { 1 } else { meta.nlink() },
    };
    match traits.trouble(owner, geteuid().as_raw()) {
        Some(why) => Err(Untrusted::error(path, why)),
        None => Ok(()),
    }
}

/// What cannot be opened because it is a link, or nothing that can be read.
fn refusal(error: Errno, path: &Path) -> io::Error {
    // Systems say in different ways that the last part of a path is a link.
    if [Errno::LOOP, Errno::MLINK, Errno::NOTDIR, Errno::NXIO, Errno::ISDIR].contains(&error) {
        Untrusted::error(path, Why::Strange)
    } else {
        error.into()
    }
}
