use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// The protocol that a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Redis,
    Tls,
}

/// A command of Redis, and no request of HTTP that a platform could count.
const COMMAND: &[u8] = b"PING\r\n";

/// A line that Redis and HTTP answer at once: a command with an argument too many, and a request of an unknown method.
#[cfg(feature = "redis")]
const LINE: &[u8] = b"PING / HTTP/1.0\r\n\r\n";

/// A `ClientHello` of TLS 1.2, which every server of TLS answers, be it with an alert. To the line above many of them
/// say nothing.
#[cfg(feature = "redis")]
#[rustfmt::skip]
const HELLO: &[u8] = &[
    // A record of a handshake: a hello, its version and 32 bytes that need not be random.
    0x16, 3, 1, 0, 77, 1, 0, 0, 73, 3, 3,
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
    // No session; ECDHE with AES-GCM by ECDSA and RSA; no compression.
    0, 0, 8, 0xc0, 0x2b, 0xc0, 0x2c, 0xc0, 0x2f, 0xc0, 0x30, 1, 0,
    // The groups x25519 and P-256, and signatures by ECDSA and RSA with SHA-256.
    0, 24, 0, 10, 0, 6, 0, 4, 0, 29, 0, 23, 0, 13, 0, 10, 0, 8, 4, 3, 8, 4, 4, 1, 5, 1,
];

impl Protocol {
    /// Asks a port, over two connections and within that time, what it speaks; `None` if that does not show. Blocks.
    ///
    /// For messages after a failure: an error of the client often does not say that there is another server than expected.
    #[cfg(feature = "redis")]
    pub(super) fn of(host: &str, port: u16, limit: Duration) -> Option<Self> {
        ask(host, port, LINE, limit / 2).or_else(|| ask(host, port, HELLO, limit / 2))
    }

    /// Asks a port, over one connection and within that time, whether it speaks Redis. Blocks.
    pub(super) fn is_redis(host: &str, port: u16, limit: Duration) -> bool {
        ask(host, port, COMMAND, limit) == Some(Self::Redis)
    }

    fn recognize(answer: &[u8]) -> Option<Self> {
        match answer {
            // An alert or a handshake, of any version of TLS.
            [0x15 | 0x16, 0x03, ..] => Some(Self::Tls),
            [b'H', b'T', b'T', b'P', b'/', ..] | [b'<', ..] => Some(Self::Http),
            [b'+' | b'-', rest @ ..] => rest.first()?.is_ascii_uppercase().then_some(Self::Redis),
            _ => None,
        }
    }
}

fn ask(host: &str, port: u16, question: &[u8], limit: Duration) -> Option<Protocol> {
    let until = Instant::now() + limit;
    let mut addresses = (host, port).to_socket_addrs().ok()?;
    let answer = addresses.find_map(|address| beginning(address, question, until).ok())?;
    Protocol::recognize(&answer)
}

/// The first bytes of the answer; none from one who hangs up without a word.
fn beginning(address: SocketAddr, question: &[u8], until: Instant) -> io::Result<Vec<u8>> {
    const ENOUGH: usize = 5;
    let mut stream = TcpStream::connect_timeout(&address, left(until)?)?;
    stream.set_write_timeout(Some(left(until)?))?;
    stream.set_read_timeout(Some(left(until)?))?;
    stream.write_all(question)?;
    let mut answer = Vec::new();
    // An error is the end too. Five bytes come in one piece, or the limit is met a few times.
    let _ = stream.take(ENOUGH as u64).read_to_end(&mut answer);
    Ok(answer)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "redis")]
    #[test]
    fn the_hello_has_the_lengths_that_it_says() {
        assert_eq!(usize::from(HELLO[4]), HELLO.len() - 5, "the record");
        assert_eq!(usize::from(HELLO[8]), HELLO.len() - 9, "the hello");
        assert_eq!(usize::from(HELLO[HELLO.len() - 25]), 24, "the extensions");
    }

    #[test]
    fn answers_are_recognized() {
        for (answer, protocol) in [
            (&b"\x15\x03\x01\0\x02\x02\x46"[..], Some(Protocol::Tls)),
            (b"\x16\x03\x03\0\x3d\x02", Some(Protocol::Tls)),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(Protocol::Http)),
            (b"<!DOCTYPE html>", Some(Protocol::Http)),
            (b"-ERR wrong number of arguments for 'ping' command\r\n", Some(Protocol::Redis)),
            (b"-NOAUTH Authentication required.\r\n", Some(Protocol::Redis)),
            (b"+PONG\r\n", Some(Protocol::Redis)),
            (b"+ok mail server ready\r\n", None),
            (b"SSH-2.0-OpenSSH_9.2p1\r\n", None),
            (b"-", None),
            (b"", None),
        ] {
            assert_eq!(Protocol::recognize(answer), protocol, "{answer:?}");
        }
    }
}
