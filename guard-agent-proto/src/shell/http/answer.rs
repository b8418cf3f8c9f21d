use std::error::Error;
use std::io::{self, Read};
use std::iter;
use std::string::{String, ToString as _};
use std::vec::Vec;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::Response;

/// The core keeps what these headers say, and sends an entity tag back: a longer one is nobody's.
const LONGEST_HEADER: usize = 1 << 10;
/// Codings of one body that are taken off.
const MOST_CODINGS: usize = 4;

/// An answer as it comes over a connection: what the agent reads of its head, then the body piece by piece.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    head: Response,
    /// Codings of the body, in the order in which they were applied.
    codings: Vec<Coding>,
    /// The body has no length of its own.
    ends_with_connection: bool,
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Unknown,
}

impl HttpAnswer {
    /// Header lines of one answer that a client has to read at least.
    pub const MAX_HEADERS: usize = 1_024;

    /// An answer with this head. Names of headers are in lower case; of one that is repeated the first counts.
    pub fn new<'a>(status: u16, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut head = Response { status, ..Response::default() };
        let mut codings = Vec::new();
        let mut ends_with_connection = true;
        for (name, value) in headers {
            match name {
                "retry-after" => keep(&mut head.retry_after, value),
                "etag" => keep(&mut head.etag, value),
                "date" => keep(&mut head.date, value),
                "content-encoding" => {
                    codings.extend(value.split(|byte| *byte == b',').filter_map(Coding::of))
                }
                "content-length" | "transfer-encoding" => ends_with_connection = false,
                _ => {}
            }
        }
        Self { head, codings, ends_with_connection, body: Vec::new() }
    }

    /// Takes the next piece of the body. Answers whether more is wanted: where not, the connection is to be dropped.
    pub fn push(&mut self, piece: &[u8]) -> bool {
        let left = Response::MAX_BODY - self.body.len();
        self.body.extend_from_slice(&piece[..piece.len().min(left)]);
        self.body.len() < Response::MAX_BODY
    }

    /// Whether the answer is complete although reading its body ended in `error`.
    ///
    /// A body without a length ends with its connection. Many servers then leave out what TLS says at its end: what
    /// came is the answer, and whether it was cut off shows in its JSON.
    #[must_use]
    pub fn is_complete_at(&self, error: &(dyn Error + 'static)) -> bool {
        let mut causes = iter::successors(Some(error), |&error| error.source());
        self.ends_with_connection && causes.any(is_end)
    }

    /// The answer for the core: the body decoded, as far as it can be.
    pub(super) fn into_response(self) -> Response {
        let known = self.codings.len() <= MOST_CODINGS;
        let codings = self.codings.iter().rev().take_while(|coding| known && **coding != Coding::Unknown);
        let body = codings.fold(self.body, |body, coding| coding.decode(body));
        let mut response = Response { body: in_utf8(body), ..self.head };
        response.body.truncate(Response::MAX_BODY);
        response
    }
}

impl Coding {
    /// The coding of that name; `None` for the one that changes nothing.
    fn of(name: &[u8]) -> Option<Self> {
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => None,
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            _ => Some(Self::Unknown),
        }
    }

    /// At most [`Response::MAX_BODY`] bytes. Proxies decode bodies and leave the header as it is: what is not coded
    /// stays as it is.
    fn decode(self, body: Vec<u8>) -> Vec<u8> {
        let decoded = match self {
            Self::Gzip => beginning(MultiGzDecoder::new(&body[..])),
            // With a zlib header, as the standard says, or without one, as some servers do: then nothing but its end
            // tells it from other bytes.
            Self::Deflate => {
                let zlib = beginning(ZlibDecoder::new(&body[..]));
                zlib.or_else(|| {
                    let (decoded, result) = bounded(DeflateDecoder::new(&body[..]));
                    result.is_ok().then_some(decoded)
                })
            }
            Self::Unknown => None,
        };
        decoded.unwrap_or(body)
    }
}

/// The part that can be decoded, though the end may be missing or wrong; `None` if that is nothing.
fn beginning(decoder: impl Read) -> Option<Vec<u8>> {
    let (decoded, result) = bounded(decoder);
    (result.is_ok() || !decoded.is_empty()).then_some(decoded)
}

fn bounded(decoder: impl Read) -> (Vec<u8>, io::Result<usize>) {
    let mut decoded = Vec::new();
    let most = u64::try_from(Response::MAX_BODY).unwrap_or(u64::MAX);
    let result = decoder.take(most).read_to_end(&mut decoded);
    (decoded, result)
}

/// JSON is UTF-8. Some servers write their messages in another charset, whose ASCII is the same.
fn in_utf8(body: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(body) {
        Ok(text) => text.into_bytes(),
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned().into_bytes(),
    }
}

fn keep(header: &mut Option<String>, value: &[u8]) {
    let is_text =
        value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) && value.len() <= LONGEST_HEADER;
    if header.is_none() && is_text {
        *header = std::str::from_utf8(value).ok().map(|text| text.trim().to_string());
    }
}

fn is_end(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;
    use std::vec;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn answer(headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut answer = HttpAnswer::new(200, headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        answer.push(body);
        answer.into_response()
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_first_readable_header_of_a_name_counts() {
        let long = "x".repeat(LONGEST_HEADER + 1);
        let response = answer(
            &[
                ("retry-after", "\u{e9}"),
                ("retry-after", " 5 "),
                ("retry-after", "6"),
                ("etag", &long),
                ("date", "now"),
            ],
            b"",
        );
        assert_eq!(response.retry_after.as_deref(), Some("5"));
        assert_eq!((response.etag, response.date.as_deref()), (None, Some("now")));
    }

    #[test]
    fn codings_are_taken_off_in_reverse_order() {
        let both = zlib(&gzip(b"{}"));
        assert_eq!(answer(&[("content-encoding", "gzip, Deflate")], &both).body, b"{}");
        assert_eq!(
            answer(&[("content-encoding", "x-gzip"), ("content-encoding", "deflate")], &both).body,
            b"{}"
        );
    }

    #[test]
    fn what_cannot_be_decoded_stays_as_it_is() {
        for coding in ["gzip", "deflate", "br", "gzip,gzip,gzip,gzip,gzip"] {
            assert_eq!(answer(&[("content-encoding", coding)], b"{}").body, b"{}", "{coding}");
        }
        // A coding that is not known hides those below it.
        let coded = gzip(b"{}");
        let kept = answer(&[("content-encoding", "gzip, br")], &coded).body;
        assert_eq!(kept, in_utf8(coded));
        assert_eq!(answer(&[("content-encoding", "gzip")], &gzip(b"")).body, b"");
    }

    #[test]
    fn the_bound_holds_for_what_comes_and_for_what_is_decoded() {
        let bomb = gzip(&vec![b'x'; 64 << 20]);
        assert!(bomb.len() < Response::MAX_BODY);
        assert_eq!(answer(&[("content-encoding", "gzip")], &bomb).body, vec![b'x'; Response::MAX_BODY]);
        let mut plain = HttpAnswer::new(200, []);
        assert!(plain.push(&vec![b'x'; Response::MAX_BODY - 1]));
        assert!(!plain.push(b"xy"));
        assert!(!plain.push(b"z"));
        assert_eq!(plain.into_response().body.len(), Response::MAX_BODY);
    }

    #[test]
    fn other_charsets_become_utf_8() {
        assert_eq!(
            answer(&[], b"{\"message\":\"d\xe9j\xe0\"}").body,
            "{\"message\":\"d\u{fffd}j\u{fffd}\"}".as_bytes()
        );
    }

    #[test]
    fn only_a_body_without_length_ends_with_its_connection() {
        let end = io::Error::from(io::ErrorKind::UnexpectedEof);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let bare = HttpAnswer::new(200, []);
        assert!(bare.is_complete_at(&end) && !bare.is_complete_at(&reset));
        for header in ["content-length", "transfer-encoding"] {
            assert!(!HttpAnswer::new(200, [(header, b"".as_slice())]).is_complete_at(&end));
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>, coding in "(gzip|deflate|br)(, ?(gzip|deflate))?") {
            let body = answer(&[("content-encoding", &coding)], &body).body;
            prop_assert!(body.len() <= Response::MAX_BODY);
        }
    }
}
