use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::string::{String, ToString};

use uuid::Builder;

/// Longest id that is believed: it becomes a header of every request.
const LONGEST: usize = 256;

/// The id of this installation: `configured` if it is not blank, else the one kept in
/// `~/.guard-agent/install-id`, else a new one that is written there.
///
/// It never fails: when the file cannot be read or written, or holds no id, the agent gets one for the
/// life of the process, and a warning is logged.
#[must_use]
pub fn install_id(configured: Option<&str>) -> String {
    match configured.map(str::trim) {
        Some(id) if !id.is_empty() => String::from(id),
        _ => kept(env::home_dir().map(|home| home.join(".guard-agent"))),
    }
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
            if id.len() > LONGEST || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the file holds something else"));
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
    let written = create_private(&draft)
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

fn create_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Builder::from_random_bytes(bytes).into_uuid().to_string())
}
