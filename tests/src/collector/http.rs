//! As much of HTTP/1.1 as a server needs that also has to break it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answer::{Answer, Reply};

/// Largest head and body that are read, in bytes.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 16 << 20;
/// How much of an endless answer is sent at most: nobody should read that far.
pub(super) const ENDLESS: usize = 256 << 20;

/// A request as it came over the connection.
#[derive(Debug)]
pub(super) struct RawRequest {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// Reads the next request; `None` when the client closed the connection instead.
pub(super) async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<RawRequest>> {
    let (mut request, head_len) = loop {
        if let Some(head) = parse_head(buffer)? {
            break head;
        }
        if buffer.len() > MAX_HEAD {
            return Err(invalid("head too large"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(invalid("cut head")) };
        }
    };
    let length = match request.headers.get("content-length") {
        Some(length) => length.parse().map_err(|_| invalid("content-length"))?,
        None if request.headers.contains_key("transfer-encoding") => return Err(invalid("chunked")),
        None => 0,
    };
    if length > MAX_BODY {
        return Err(invalid("body too large"));
    }
    while buffer.len() < head_len + length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(invalid("cut body"));
        }
    }
    request.body = buffer[head_len..head_len + length].to_vec();
    buffer.drain(..head_len + length);
    Ok(Some(request))
}

/// Sends what `answer` says; `platform` is what stands for [`Reply::Platform`]. Answers whether the connection
/// can serve on. `flooded` counts the bytes of an answer without end.
pub(super) async fn write_answer(
    stream: &mut TcpStream,
    answer: &Answer,
    platform: &PlainAnswer,
    flooded: impl Fn(usize),
) -> io::Result<bool> {
    tokio::time::sleep(answer.delay).await;
    match &answer.reply {
        Reply::Platform => {
            let PlainAnswer { status, headers, body } = platform;
            write_plain(stream, &encode(*status, headers, body), answer).await?;
        }
        Reply::Http { status, headers, body } => {
            write_plain(stream, &encode(*status, headers, body), answer).await?;
        }
        Reply::Hang => {
            // Until the client gives up, which reads as the end or as an error.
            let mut sink = [0; 1024];
            while stream.read(&mut sink).await? > 0 {}
            return Ok(false);
        }
        Reply::Reset => {
            stream.set_zero_linger()?;
            return Ok(false);
        }
        Reply::Cut => {
            let body = br#"{"success":true,"errors":null,"events_rec"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4096\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        Reply::Garbage => {
            stream.write_all(b"\x16\x03\x01\x02\0\x01\xff\xfe not what you asked for\r\n\r\n\0\0").await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        Reply::EndlessBody => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"success\":true,\"x\":\"";
            stream.write_all(head.as_bytes()).await?;
            flood(stream, &[b'x'; 64 << 10], flooded).await?;
            return Ok(false);
        }
        Reply::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            flood(stream, format!("x-flood: {}\r\n", "x".repeat(4096)).as_bytes(), flooded).await?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// An answer without faults.
#[derive(Clone, Debug, Default)]
pub struct PlainAnswer {
    /// Status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As sent.
    pub body: Vec<u8>,
}

impl PlainAnswer {
    /// The value of the first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn parse_head(buffer: &[u8]) -> io::Result<Option<(RawRequest, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(buffer).map_err(|error| invalid(&error.to_string()))? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => {
            let headers = request
                .headers
                .iter()
                .map(|header| {
                    (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
                })
                .collect();
            let request = RawRequest {
                method: request.method.unwrap_or_default().to_owned(),
                path: request.path.unwrap_or_default().to_owned(),
                headers,
                body: Vec::new(),
            };
            Ok(Some((request, length)))
        }
    }
}

fn encode(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // These two have no body by definition.
    if !matches!(status, 204 | 304) {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if !matches!(status, 204 | 304) {
        bytes.extend_from_slice(body);
    }
    bytes
}

async fn write_plain(stream: &mut TcpStream, bytes: &[u8], answer: &Answer) -> io::Result<()> {
    match answer.again {
        None => write_once(stream, bytes, answer).await?,
        // In one piece, so that the client has it before it asks for anything else.
        Some(Duration::ZERO) => write_once(stream, &bytes.repeat(2), answer).await?,
        Some(pause) => {
            write_once(stream, bytes, answer).await?;
            stream.flush().await?;
            tokio::time::sleep(pause).await;
            write_once(stream, bytes, answer).await?;
        }
    }
    stream.flush().await
}

async fn write_once(stream: &mut TcpStream, bytes: &[u8], answer: &Answer) -> io::Result<()> {
    match answer.trickle {
        None => stream.write_all(bytes).await,
        Some(pause) => trickle(stream, bytes, pause).await,
    }
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> io::Result<()> {
    for byte in bytes {
        tokio::time::sleep(pause).await;
        stream.write_all(std::slice::from_ref(byte)).await?;
    }
    Ok(())
}

async fn flood(stream: &mut TcpStream, piece: &[u8], flooded: impl Fn(usize)) -> io::Result<()> {
    for _ in 0..ENDLESS / piece.len() {
        stream.write_all(piece).await?;
        flooded(piece.len());
    }
    Ok(())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
