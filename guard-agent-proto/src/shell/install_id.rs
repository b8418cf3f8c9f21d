use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::string::{String, ToString};

use uuid::Builder;

use super::private_files::{create_dir, options};

/// Longest id that is believed: it becomes a header of every request.
const LONGEST: usize = 4_096;

/// The id of this installation: `configured` if it is not blank, else the one kept in
/// `~/.guard-agent/install-id`, else a new one that is written there.
///
/// It never fails: when the file cannot be read or written, or holds no id, the agent gets one for the
/// life of the process, and a warning is logged.
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
        tracing::warn!(target: "guard_agent", "the install id is not kept: {error}");
        random_id().unwrap_or_else(|_| String::from("unknown"))
    })
}

fn read_or_write(dir: &Path) -> io::Result<String> {
    let path = dir.join("install-id");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim();
            if id.is_empty() {
                return write(dir, &path);
            }
            // Whatever another agent of the family wrote there, if it can be a header at all.
            if id.len() > LONGEST || !id.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                let error = "the file holds more than a line of printable ASCII";
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            Ok(String::from(id))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => write(dir, &path),
        Err(error) => Err(error),
    }
}

/// A reader sees the whole id or no file, and of two writers one wins for both.
fn write(dir: &Path, path: &Path) -> io::Result<String> {
    let id = random_id()?;
    create_dir(dir)?;
    let draft = dir.join(std::format!("install-id.{id}"));
    let written = options()
        .write(true)
        .create_new(true)
        .open(&draft)
        .and_then(|mut file| file.write_all(id.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        // It may not exist; the first error is the one to tell.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    let settled = fs::read_to_string(path)?;
    Ok(settled.trim().to_string())
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Builder::from_random_bytes(bytes).into_uuid().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
}
