//! Heads of answers that ureq's parser would not take, put into plain words for it.
//!
//! It refuses more than 128 headers, folded ones, and a `100 Continue` with headers; others read them, and an
//! acknowledgement that is not read makes its batch come again for ever.

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// Headers that the agent or ureq reads.
const READ: [&str; 7] =
    ["connection", "content-encoding", "content-length", "date", "etag", "retry-after", "transfer-encoding"];
/// Repetitions of these that are handed on, all together.
const MOST_HEADERS: usize = 100;
const LONGEST_HEAD: usize = 256 << 10;

/// The last link of a chain of connectors.
#[derive(Debug)]
pub(crate) struct PlainHeads;

impl<In: Transport> Connector<In> for PlainHeads {
    type Out = PlainTransport<In>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(chained.map(|inner| PlainTransport { inner, buffers, in_head: true, held: Vec::new() }))
    }
}

#[derive(Debug)]
pub(crate) struct PlainTransport<T> {
    inner: T,
    buffers: LazyBuffers,
    /// The end of the head did not come yet.
    in_head: bool,
    /// Bytes that came, and that ureq did not get yet.
    held: Vec<u8>,
}

impl<T: Transport> Transport for PlainTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // After a request comes a head.
        self.in_head = true;
        let mut left = self.buffers.output().get(..amount).unwrap_or_default();
        while !left.is_empty() {
            let output = self.inner.buffers().output();
            let (now, later) = left.split_at(left.len().min(output.len()));
            output[..now.len()].copy_from_slice(now);
            self.inner.transmit_output(now.len(), timeout)?;
            left = later;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        while self.in_head {
            let goes_on = self.receive(timeout)?;
            match read_head(&self.held) {
                Head::Partial if !goes_on => self.in_head = false,
                Head::Partial if self.held.len() > LONGEST_HEAD => {
                    return Err(Error::LargeResponseHeader(self.held.len(), LONGEST_HEAD));
                }
                Head::Partial => {}
                Head::Interim(end) => drop(self.held.drain(..end)),
                Head::Final(end) => {
                    let head = in_plain_words(&self.held[..end]);
                    drop(self.held.splice(..end, head));
                    self.in_head = false;
                }
                Head::Unknown => self.in_head = false,
            }
        }
        if self.held.is_empty() && !self.receive(timeout)? {
            return Ok(false);
        }
        let room = self.buffers.input_append_buf();
        let taken = self.held.len().min(room.len());
        room[..taken].copy_from_slice(&self.held[..taken]);
        self.buffers.input_appended(taken);
        self.held.drain(..taken);
        Ok(taken > 0)
    }

    fn is_open(&mut self) -> bool {
        // Nobody asked for what is left over: the next answer would be another one's.
        let is_clean = self.held.is_empty()
            && self.buffers.input().is_empty()
            && self.inner.buffers().input().is_empty();
        is_clean && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<T: Transport> PlainTransport<T> {
    /// Takes what the connection has, or waits for it; false at its end.
    fn receive(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if self.in_head && matches!(read_head(&self.held), Head::Interim(_) | Head::Final(_)) {
            return Ok(true);
        }
        if self.inner.buffers().input().is_empty() && !self.inner.await_input(timeout)? {
            return Ok(false);
        }
        let buffers = self.inner.buffers();
        let length = buffers.input().len();
        self.held.extend_from_slice(buffers.input());
        buffers.input_consume(length);
        Ok(length > 0)
    }
}

/// The beginning of some bytes, and where it ends.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// A head without its end.
    Partial,
    /// The head of a 1xx that another answer follows.
    Interim(usize),
    /// The head of the answer.
    Final(usize),
    /// None that HTTP knows.
    Unknown,
}

fn read_head(bytes: &[u8]) -> Head {
    const VERSION: &[u8] = b"HTTP/1.";
    let start = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let head = &bytes[start..];
    if !head.iter().zip(VERSION).all(|(is, must)| is == must) {
        return Head::Unknown;
    }
    let mut line_ends = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let end = line_ends.find_map(|end| match &head[end..] {
        [b'\n', ..] => Some(end + 1),
        [b'\r', b'\n', ..] => Some(end + 2),
        _ => None,
    });
    let Some(end) = end else { return Head::Partial };
    match head.get(VERSION.len() + 1..VERSION.len() + 5) {
        // 101 is final: another protocol follows it.
        Some([b' ', b'1', b'0', b'1']) => Head::Final(start + end),
        Some([b' ', b'1', ..]) => Head::Interim(start + end),
        _ => Head::Final(start + end),
    }
}

/// The status line and the headers that are read, each in one line.
fn in_plain_words(head: &[u8]) -> Vec<u8> {
    let mut lines =
        head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty());
    let mut plain = lines.next().unwrap_or_default().to_vec();
    let mut kept = 0;
    let mut is_kept = false;
    for line in lines {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if is_kept {
                plain.push(b' ');
                plain.extend_from_slice(line.trim_ascii());
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (line[..colon].trim_ascii(), &line[colon..]);
        is_kept = kept < MOST_HEADERS && READ.iter().any(|read| name.eq_ignore_ascii_case(read.as_bytes()));
        if is_kept {
            kept += 1;
            plain.extend_from_slice(b"\r\n");
            plain.extend_from_slice(name);
            plain.extend_from_slice(value);
        }
    }
    plain.extend_from_slice(b"\r\n\r\n");
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for (bytes, head) in [
            ("", Head::Partial),
            ("\r\n", Head::Partial),
            ("HTT", Head::Partial),
            ("HTTP/1.1 200 OK\r\n", Head::Partial),
            ("HTTP/1.1 200 OK\r\na: b\r\n\r", Head::Partial),
            ("HTTP/1.1 200 OK\r\n\r\nrest", Head::Final(19)),
            ("\r\nHTTP/1.0 200\n\n\n", Head::Final(16)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200", Head::Interim(25)),
            ("HTTP/1.1 101 Switching\r\n\r\n", Head::Final(26)),
            ("HTTP/1.1\r\n\r\n", Head::Final(12)),
            ("HTTP/2 200\r\n\r\n", Head::Unknown),
            ("\x15\x03", Head::Unknown),
        ] {
            assert_eq!(read_head(bytes.as_bytes()), head, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_read_stays_in_one_line_each() {
        let head = b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nRetry-After :\r\n\t7\nserver: x\ncontent-length: 2\r\n\r\n";
        let plain = in_plain_words(head);
        assert_eq!(plain, b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\ncontent-length: 2\r\n\r\n");
        assert_eq!(in_plain_words(&plain), plain);
        let many = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"date: x\r\n".repeat(1_000), b"\r\n"].concat();
        assert_eq!(read_head(&in_plain_words(&many)), Head::Final(17 + 9 * MOST_HEADERS + 2));
    }
}
