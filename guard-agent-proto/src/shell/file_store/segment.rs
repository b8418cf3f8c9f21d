use std::collections::BTreeMap;
use std::format;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use super::index::Place;
use crate::shell::private_files::{Access, FileId, Owner, PrivateDir, is_untrusted};

/// Larger than any segment: one that is nearly full takes one more write, beside some notes.
const LARGEST: u64 = 64 << 20;

/// Most bytes that one write appends or notes.
pub(super) const LARGEST_WRITE: usize = 40 << 20;

/// More files than a stream ever has: half a terabyte of segments.
const MOST_ENTRIES: usize = 1 << 16;

/// The segment that frames are appended to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: Name,
    pub(super) id: FileId,
    stream: Arc<PrivateDir>,
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
    pub(super) fn create(stream: &Arc<PrivateDir>, number: u32) -> io::Result<Self> {
        let name = Name { number, mark: random()? as u32 };
        let file = stream.create_file(&name.text())?;
        Ok(Self { name, id: FileId::of_file(&file)?, stream: Arc::clone(stream), file, bytes: 0 })
    }

    /// Writes it once more, from the file that it was: that is there as long as it is open, whatever became of its name.
    pub(super) fn restore(
        name: Name,
        stream: &Arc<PrivateDir>,
        mut kept: &File,
        bytes: u64,
    ) -> io::Result<Self> {
        let copy = format!("{:08}-{:08x}.copy", name.number, name.mark);
        match stream.remove_file(&copy) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = stream.create_file(&copy)?;
        kept.rewind()?;
        if io::copy(&mut kept.take(bytes), &mut file)? < bytes {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        file.sync_all()?;
        stream.rename(&copy, &name.text())?;
        stream.sync()?;
        Ok(Self { name, id: FileId::of_file(&file)?, stream: Arc::clone(stream), file, bytes })
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
        let written = written.and_then(|()| if self.bytes == 0 { self.stream.sync() } else { Ok(()) });
        match written {
            Ok(()) => {
                self.bytes += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Gives the space back, and spares a reader half a frame. If it fails, the checksum is there.
                let _ = if self.bytes == 0 {
                    self.stream.remove_file(&self.name.text())
                } else {
                    self.file.set_len(self.bytes)
                };
                Err(error)
            }
        }
    }
}

impl Name {
    pub(super) fn text(self) -> String {
        format!("{:08}-{:08x}.log", self.number, self.mark)
    }

    fn parse(file: &str) -> Option<Self> {
        let (number, mark) = file.strip_suffix(".log")?.split_once('-')?;
        let name = Self { number: number.parse().ok()?, mark: u32::from_str_radix(mark, 16).ok()? };
        // What is written in another way than ours is not found again by its name.
        (name.text() == file).then_some(name)
    }
}

/// Names of the segments in a directory, in the order of their numbers.
pub(super) fn names(stream: &PrivateDir) -> io::Result<BTreeMap<u32, Name>> {
    let mut names = BTreeMap::new();
    let (mut entries, mut twice) = (0, None);
    stream.entries(|entry| {
        entries += 1;
        if let Some(name) = Name::parse(&entry.name)
            && names.insert(name.number, name).is_some()
        {
            twice = Some(name.number);
        }
        entries <= MOST_ENTRIES
    })?;
    let path = stream.path().display();
    let error = match twice {
        None if entries <= MOST_ENTRIES => return Ok(names),
        None => format!("`{path}` holds more than {MOST_ENTRIES} files"),
        // Which of them is ours cannot be told.
        Some(number) => {
            format!("`{path}` holds two segments with the number {number}: remove the one that is not ours")
        }
    };
    Err(io::Error::new(ErrorKind::InvalidData, error))
}

/// Opens a segment that somebody wrote before. No bytes, if it is larger than any that is ours.
pub(super) fn load(stream: &PrivateDir, name: Name) -> io::Result<(File, Vec<u8>)> {
    let file = stream.open_file(&name.text(), Access::Read, Owner::Us)?;
    let mut bytes = Vec::new();
    if file.metadata()?.len() <= LARGEST {
        (&file).take(LARGEST).read_to_end(&mut bytes)?;
    }
    Ok((file, bytes))
}

/// Reads blocks; keeps the file open from one to the next.
#[derive(Default)]
pub(super) struct BlockReader(Option<(u32, File)>);

impl BlockReader {
    /// The bytes at that place of that segment, or `None` if they are gone from the disk.
    pub(super) fn read(
        &mut self,
        stream: &PrivateDir,
        segment: Option<(Name, FileId)>,
        place: Place,
    ) -> io::Result<Option<Arc<[u8]>>> {
        let Some((name, id)) = segment else { return Ok(None) };
        let file = match self.0.take() {
            Some((number, file)) if number == place.segment => file,
            _ => match stream.open_any(&name.text(), Access::Read) {
                Ok(file) if FileId::of_file(&file)? == id => file,
                // Something else has its name.
                Ok(_) => return Ok(None),
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        let (_, file) = self.0.insert((place.segment, file));
        match read_at(file, place) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn read_at(file: &mut File, place: Place) -> io::Result<Arc<[u8]>> {
    file.seek(SeekFrom::Start(place.offset))?;
    let mut bytes = vec![0; place.length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || is_untrusted(error)
}

pub(super) fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
}
