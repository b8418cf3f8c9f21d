use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

use uuid::Builder;

use super::log;
use super::private_files::{Access, Links, Owner, PrivateDir};

/// Longest id that is believed: it becomes a header of every request.
const LONGEST: usize = 4_096;

/// The id of this installation: `configured` if it is not blank, else the one kept in
/// `~/.guard-agent/install-id`, else a new one that is written there.
///
/// It never fails: when the file cannot be read or written, holds no id, or may be somebody else's, the agent gets one for
/// the life of the process, and a warning is logged that says why. The directory must be no link (the home may be one), and
/// the file a regular one with a single name; both have to belong to the user whose process this is or to root, and their
/// group and others must not be able to write there.
#[must_use]
pub fn install_id(configured: Option<&str>) -> String {
    configured_id(configured).unwrap_or_else(|| kept(env::home_dir().map(|home| home.join(".guard-agent"))))
}

fn configured_id(configured: Option<&str>) -> Option<String> {
    configured.map(str::trim).filter(|id| !id.is_empty()).map(String::from)
}

fn kept(dir: Option<PathBuf>) -> String {
    let attempt = match dir.filter(|dir| dir.is_absolute()) {
        Some(dir) => read_or_write(&dir),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "there is no home directory")),
    };
    attempt.unwrap_or_else(|error| {
        log::id_not_kept(&error);
        random_id().unwrap_or_else(|_| String::from("unknown"))
    })
}

const NAME: &str = "install-id";

fn read_or_write(path: &Path) -> io::Result<String> {
    let opened = PrivateDir::open(path, Owner::UsOrRoot, Links::Refused);
    let file = opened.and_then(|dir| dir.open_file(NAME, Access::Read, Owner::UsOrRoot));
    match file.and_then(read) {
        Ok(id) if !id.is_empty() => Ok(id),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => write(&PrivateDir::create(path, Links::Refused)?),
    }
}

fn read(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    // Some blanks around it are cut off, and what is longer is not read.
    file.take(2 * LONGEST as u64).read_to_end(&mut bytes)?;
    let text = core::str::from_utf8(&bytes).map(str::trim).ok();
    // Whatever another agent of the family wrote there, if it can be a header at all.
    let id = text.filter(|id| id.len() <= LONGEST && id.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    let id = id.ok_or_else(|| {
        let error = "the file holds more than a line of printable ASCII";
        io::Error::new(ErrorKind::InvalidData, error)
    })?;
    Ok(String::from(id))
}

/// A reader sees the whole id or no file, and of two writers one wins for both.
fn write(dir: &PrivateDir) -> io::Result<String> {
    let id = random_id()?;
    let draft = std::format!("{NAME}.{id}");
    let written = dir
        .create_file(&draft)
        .and_then(|mut file| file.write_all(id.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| dir.rename(&draft, NAME));
    if let Err(error) = written {
        // It may not exist; the first error is the one to tell.
        let _ = dir.remove_file(&draft);
        return Err(error);
    }
    read(dir.open_file(NAME, Access::Read, Owner::Us)?)
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Builder::from_random_bytes(bytes).into_uuid().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    /// A directory of its own for each test, removed at its end.
    struct Home(PathBuf);

    impl Home {
        fn new() -> Self {
            let path = env::temp_dir().join(std::format!("guard-agent-{}", random_id().unwrap()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn dir(&self) -> PathBuf {
            self.0.join(".guard-agent")
        }

        fn holding(text: impl AsRef<[u8]>) -> Self {
            let home = Self::new();
            fs::create_dir(home.dir()).unwrap();
            fs::write(home.dir().join("install-id"), text).unwrap();
            home
        }

        fn id(&self) -> String {
            kept(Some(self.dir()))
        }

        fn file(&self) -> String {
            fs::read_to_string(self.dir().join("install-id")).unwrap()
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn is_new(id: &str) -> bool {
        uuid::Uuid::parse_str(id).unwrap().get_version_num() == 4
    }

    #[test]
    fn a_configured_id_wins_unless_blank() {
        assert_eq!(install_id(Some(" mine ")), "mine");
        assert_eq!(configured_id(Some("  ")), None);
    }

    #[test]
    fn a_new_id_is_written_once_and_kept() {
        let home = Home::new();
        let id = home.id();
        assert!(is_new(&id));
        assert_eq!(home.file(), id);
        assert_eq!(home.id(), id);
        assert_eq!(fs::read_dir(home.dir()).unwrap().count(), 1, "no draft is left");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;

        let home = Home::new();
        home.id();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home.dir()), 0o700);
        assert_eq!(mode(&home.dir().join("install-id")), 0o600);
    }

    #[test]
    fn an_id_is_read_trimmed_and_a_blank_file_is_replaced() {
        assert_eq!(Home::holding(" kept-id\n").id(), "kept-id");
        assert_eq!(Home::holding("rack 7, host 3").id(), "rack 7, host 3");
        assert_eq!(Home::holding("x".repeat(4_096)).id().len(), 4_096);
        let blank = Home::holding(" \n");
        assert_eq!(blank.id(), blank.file());
    }

    #[test]
    fn what_is_not_an_id_is_left_alone_and_one_in_memory_is_used() {
        for text in [b"\xff\xfe".as_slice(), b"two\nlines", "schl\u{fc}ssel".as_bytes(), &[b'x'; 5_000]] {
            let home = Home::holding(text);
            assert!(is_new(&home.id()));
            assert_eq!(fs::read(home.dir().join("install-id")).unwrap(), text);
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_gives_an_id_in_memory() {
        let home = Home::new();
        fs::write(home.dir(), "a file where the directory should be").unwrap();
        assert!(is_new(&home.id()));
        let full = Home::new();
        fs::create_dir_all(full.dir().join("install-id")).unwrap();
        assert!(is_new(&full.id()));
        assert!(is_new(&kept(None)));
        assert!(is_new(&kept(Some(PathBuf::from("relative")))));
    }

    #[cfg(unix)]
    #[test]
    fn what_others_may_have_put_there_is_not_believed_nor_touched() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        type Plant = (&'static str, fn(&Path));
        let victim = |file: &Path| file.with_file_name("victim");
        let plants: [Plant; 6] = [
            ("link", |file| symlink(file.with_file_name("victim"), file).unwrap()),
            ("link to nowhere", |file| symlink(file.with_file_name("nowhere"), file).unwrap()),
            ("hard link", |file| fs::hard_link(file.with_file_name("victim"), file).unwrap()),
            ("pipe", |file| {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                mknodat(CWD, file, FileType::Fifo, Mode::from(0o600), 0).unwrap();
            }),
            ("writable file", |file| {
                fs::write(file, "planted").unwrap();
                fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
            }),
            ("writable directory", |file| {
                fs::write(file, "planted").unwrap();
                fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
            }),
        ];
        for (what, plant) in plants {
            let home = Home::new();
            PrivateDir::create(&home.dir(), Links::Refused).unwrap();
            let file = home.dir().join(NAME);
            fs::write(victim(&file), "planted").unwrap();
            fs::set_permissions(victim(&file), fs::Permissions::from_mode(0o600)).unwrap();
            plant(&file);
            let error = read_or_write(&home.dir()).unwrap_err().to_string();
            assert!(error.contains(home.dir().to_str().unwrap()), "{what}: {error}");
            assert!(is_new(&home.id()), "{what}");
            assert_eq!(fs::read(victim(&file)).unwrap(), b"planted", "{what}");
            assert!(!file.with_file_name("nowhere").exists(), "{what}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_home_may_be_a_link() {
        use std::os::unix::fs::symlink;

        for there in [true, false] {
            let (home, other) = (Home::new(), Home::holding("planted"));
            let target = if there { other.dir() } else { other.0.join("nowhere") };
            symlink(&target, home.dir()).unwrap();
            let error = read_or_write(&home.dir()).unwrap_err().to_string();
            assert!(error.contains(&std::format!("`{}` is a link", home.dir().display())), "{error}");
            assert!(is_new(&home.id()));
            assert!(there || !target.exists());
            assert_eq!(fs::read_dir(other.dir()).unwrap().count(), 1);
        }
        let (home, link) = (Home::holding("kept"), Home::new());
        symlink(&home.0, link.0.join("home")).unwrap();
        assert_eq!(kept(Some(link.0.join("home").join(".guard-agent"))), "kept");
    }

    #[test]
    fn a_file_of_any_size_is_read_in_part() {
        let home = Home::holding("x");
        let file = fs::File::options().write(true).open(home.dir().join(NAME)).unwrap();
        file.set_len(10 << 30).unwrap();
        assert!(is_new(&home.id()));
    }
}
