use std::collections::BTreeMap;
use std::format;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::string::ToString;
use std::sync::Arc;
use std::vec;

use super::index::Place;
use crate::shell::private_files::{FileId, options, sync_dir};

/// The segment that frames are appended to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: Name,
    pub(super) id: FileId,
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// Name of a segment: its number, and the mark of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) number: u32,
    pub(super) mark: u32,
}

impl Segment {
    pub(super) fn create(stream: &Path, number: u32) -> io::Result<Self> {
        let name = Name { number, mark: random()? as u32 };
        let path = name.path(stream);
        let file = options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { name, id: FileId::of(&file.metadata()?), path, file, bytes: 0 })
    }

    /// Writes it once more, from the file that it was: that is there as long as it is open, whatever became of its name.
    pub(super) fn restore(name: Name, stream: &Path, mut kept: &File, bytes: u64) -> io::Result<Self> {
        let path = name.path(stream);
        let copy = path.with_extension("copy");
        let mut file = options().read(true).write(true).create(true).truncate(true).open(&copy)?;
        kept.rewind()?;
        if io::copy(&mut kept.take(bytes), &mut file)? < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.sync_all()?;
        fs::rename(&copy, &path)?;
        sync_dir(stream)?;
        Ok(Self { name, id: FileId::of(&file.metadata()?), path, file, bytes })
    }

    /// The same file, for [`restore`](Self::restore). That ends what is written here, for it moves the place of both.
    pub(super) fn keep(&self) -> Option<File> {
        self.file.try_clone().ok()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the frame durable. After an error the segment must be dropped: what the next one would follow is unknown.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(frame).and_then(|()| self.file.sync_data());
        let written = written.and_then(|()| match self.path.parent() {
            Some(stream) if self.bytes == 0 => sync_dir(stream),
            _ => Ok(()),
        });
        match written {
            Ok(()) => {
                self.bytes += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Gives the space back, and spares a reader half a frame. If it fails, the checksum is there.
                let _ =
                    if self.bytes == 0 { fs::remove_file(&self.path) } else { self.file.set_len(self.bytes) };
                Err(error)
            }
        }
    }
}

impl Name {
    pub(super) fn path(self, stream: &Path) -> PathBuf {
        stream.join(format!("{:08}-{:08x}.log", self.number, self.mark))
    }

    fn parse(file: &str) -> Option<Self> {
        let (number, mark) = file.strip_suffix(".log")?.split_once('-')?;
        Some(Self { number: number.parse().ok()?, mark: u32::from_str_radix(mark, 16).ok()? })
    }
}

/// Names of the segments in a directory, in the order of their numbers.
pub(super) fn names(stream: &Path) -> io::Result<BTreeMap<u32, Name>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(stream)? {
        let file = entry?.file_name();
        if let Some(name) = file.to_str().and_then(Name::parse) {
            names.insert(name.number, name);
        }
    }
    Ok(names)
}

/// Reads blocks; keeps the file open from one to the next.
#[derive(Default)]
pub(super) struct BlockReader(Option<(u32, File)>);

impl BlockReader {
    /// The bytes at that place, or `None` if they are gone from the disk.
    pub(super) fn read(&mut self, path: &Path, place: Place) -> io::Result<Option<Arc<[u8]>>> {
        match self.try_read(path, place) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn try_read(&mut self, path: &Path, place: Place) -> io::Result<Arc<[u8]>> {
        let (_, file) = match self.0.take() {
            Some((number, file)) if number == place.segment => self.0.insert((number, file)),
            _ => self.0.insert((place.segment, File::open(path)?)),
        };
        file.seek(SeekFrom::Start(place.offset))?;
        let mut bytes = vec![0; place.length as usize];
        file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

pub(super) fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
}
