//! What the HTTP transport puts on the wire, and what it makes of whatever comes back.
#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use guard_agent_proto::shell::http::{HttpClient, HttpTransport};
use guard_agent_proto::shell::{Attempt, HttpError, HttpOptions, Transport as _};
use guard_agent_proto::wire::Credentials;
use guard_agent_proto::{
    Agent, AgentConfig, AgentStatus, Batch, FlushId, Input, Kind, Now, Output, Payload, Record, Response,
    Secret, StatusLevel, Timestamp, TransportError, TransportErrorKind,
};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::raw_server::{Request, Server, read_request};
use crate::redis_server::RedisServer;

/// The tests of an HTTP client.
#[macro_export]
macro_rules! http_suite {
    ($client:ty, $connections:literal) => {
        #[tokio::test]
        async fn a_post_carries_exactly_the_headers_of_the_contract() {
            $crate::suites::http::a_post_carries_exactly_the_headers_of_the_contract::<$client>().await;
        }

        #[tokio::test]
        async fn a_get_is_conditional_and_has_no_body() {
            $crate::suites::http::a_get_is_conditional_and_has_no_body::<$client>().await;
        }

        #[tokio::test]
        async fn a_large_body_is_gzip_and_counted_as_sent() {
            $crate::suites::http::a_large_body_is_gzip_and_counted_as_sent::<$client>().await;
        }

        #[tokio::test]
        async fn a_batch_goes_to_the_endpoint_of_its_kind_whatever_its_size() {
            $crate::suites::http::a_batch_goes_to_the_endpoint_of_its_kind_whatever_its_size::<$client>()
                .await;
        }

        #[tokio::test]
        async fn five_requests_have_as_many_connections_as_they_should() {
            assert_eq!($crate::suites::http::connections_of_five_requests::<$client>().await, $connections);
        }

        #[tokio::test]
        async fn credentials_change_from_one_request_to_the_next() {
            $crate::suites::http::credentials_change_from_one_request_to_the_next::<$client>().await;
        }

        #[tokio::test]
        async fn an_answer_is_handed_on_as_it_is() {
            $crate::suites::http::an_answer_is_handed_on_as_it_is::<$client>().await;
        }

        #[tokio::test]
        async fn what_an_ordinary_client_reads_is_read() {
            $crate::suites::http::what_an_ordinary_client_reads_is_read::<$client>().await;
        }

        #[tokio::test]
        async fn a_complete_answer_counts_however_its_connection_ends() {
            $crate::suites::http::a_complete_answer_counts_however_its_connection_ends::<$client>().await;
        }

        #[tokio::test]
        async fn unreadable_header_values_are_left_out() {
            $crate::suites::http::unreadable_header_values_are_left_out::<$client>().await;
        }

        #[tokio::test]
        async fn a_redirect_is_an_answer_like_any_other() {
            $crate::suites::http::a_redirect_is_an_answer_like_any_other::<$client>().await;
        }

        #[tokio::test]
        async fn an_endless_body_is_read_to_the_limit_only() {
            $crate::suites::http::an_endless_body_is_read_to_the_limit_only::<$client>().await;
        }

        #[tokio::test]
        async fn endless_headers_are_refused() {
            $crate::suites::http::endless_headers_are_refused::<$client>().await;
        }

        #[tokio::test]
        async fn floods_around_an_answer_do_no_harm() {
            $crate::suites::http::floods_around_an_answer_do_no_harm::<$client>().await;
        }

        #[tokio::test]
        async fn garbage_and_cut_off_answers_are_errors() {
            $crate::suites::http::garbage_and_cut_off_answers_are_errors::<$client>().await;
        }

        #[tokio::test]
        async fn a_reset_is_a_lost_connection() {
            $crate::suites::http::a_reset_is_a_lost_connection::<$client>().await;
        }

        #[tokio::test]
        async fn a_closed_port_is_a_failed_connect() {
            $crate::suites::http::a_closed_port_is_a_failed_connect::<$client>().await;
        }

        #[tokio::test]
        async fn an_unknown_host_is_a_failed_connect() {
            $crate::suites::http::an_unknown_host_is_a_failed_connect::<$client>().await;
        }

        #[tokio::test]
        async fn silence_and_trickle_end_at_the_time_limit() {
            $crate::suites::http::silence_and_trickle_end_at_the_time_limit::<$client>().await;
        }

        #[tokio::test]
        async fn a_handshake_that_hangs_ends_at_the_time_to_connect() {
            $crate::suites::http::a_handshake_that_hangs_ends_at_the_time_to_connect::<$client>().await;
        }

        #[tokio::test]
        async fn a_private_authority_is_trusted_only_when_told_so() {
            $crate::suites::http::a_private_authority_is_trusted_only_when_told_so::<$client>().await;
        }

        #[tokio::test]
        async fn a_certificate_for_another_name_is_refused() {
            $crate::suites::http::a_certificate_for_another_name_is_refused::<$client>().await;
        }

        #[tokio::test]
        async fn a_platform_that_asks_for_a_certificate_gets_the_identity() {
            $crate::suites::http::a_platform_that_asks_for_a_certificate_gets_the_identity::<$client>().await;
        }

        #[test]
        fn unusable_options_are_named_together_without_their_secrets() {
            $crate::suites::http::unusable_options_are_named_together_without_their_secrets::<$client>();
        }

        #[tokio::test]
        async fn an_explicit_proxy_gets_the_request() {
            $crate::suites::http::an_explicit_proxy_gets_the_request::<$client>().await;
        }

        #[tokio::test]
        async fn a_proxy_that_refuses_the_tunnel_is_a_failed_connect() {
            $crate::suites::http::a_proxy_that_refuses_the_tunnel_is_a_failed_connect::<$client>().await;
        }

        #[tokio::test]
        async fn the_proxy_of_the_environment_gets_the_request() {
            $crate::suites::http::the_proxy_of_the_environment_gets_the_request::<$client>().await;
        }

        #[tokio::test]
        async fn a_proxy_over_tls_opens_a_tunnel_to_a_platform_over_tls() {
            $crate::suites::http::a_proxy_over_tls_opens_a_tunnel_to_a_platform_over_tls::<$client>().await;
        }

        #[tokio::test]
        async fn every_spelling_of_no_proxy_means_the_same() {
            $crate::suites::http::every_spelling_of_no_proxy_means_the_same::<$client>().await;
        }

        #[tokio::test]
        #[ignore = "the child process of every_spelling_of_no_proxy_means_the_same"]
        async fn sends_to_the_endpoint_of_the_environment() {
            $crate::suites::http::sends_to_the_endpoint_of_the_environment::<$client>().await;
        }

        #[tokio::test]
        async fn a_message_says_whom_it_is_about() {
            $crate::suites::http::a_message_says_whom_it_is_about::<$client>().await;
        }

        #[tokio::test]
        async fn a_port_for_something_else_is_named_as_such() {
            $crate::suites::http::a_port_for_something_else_is_named_as_such::<$client>().await;
        }

        #[tokio::test]
        #[ignore = "the child process of the_proxy_of_the_environment_gets_the_request"]
        async fn sends_through_the_environment() {
            $crate::suites::http::sends_through_the_environment::<$client>().await;
        }

        #[tokio::test]
        async fn a_redis_server_is_named_as_such() {
            $crate::suites::http::a_redis_server_is_named_as_such::<$client>().await;
        }

        #[tokio::test]
        async fn a_system_without_authorities_still_speaks_plain_http() {
            $crate::suites::http::a_system_without_authorities_still_speaks_plain_http::<$client>().await;
        }

        #[test]
        #[ignore = "the child process of a_system_without_authorities_still_speaks_plain_http"]
        fn has_no_authorities() {
            $crate::suites::http::has_no_authorities::<$client>();
        }
    };
}

const KEY: &str = "a-key-that-stays-secret";
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const TAKEN: &[u8] = br#"{"success":true}"#;
/// Far beyond what any test needs: only a hang gets there.
const HANG: Duration = Duration::from_secs(20);

pub async fn a_post_carries_exactly_the_headers_of_the_contract<C: HttpClient>() {
    let (server, mut requests) = recorder(OK).await;
    let transport = transport::<C>(&server.url());

    let answer = send(&transport).await.unwrap();

    let peer = Some(server.url().into());
    assert_eq!(answer, Response { body: b"{}".to_vec(), peer, ..Response::accepted() });
    let request = requests.recv().await.unwrap();
    assert_eq!(request.line, "POST /api/v1/status HTTP/1.1");
    let length = request.body.len().to_string();
    let headers = request.headers.iter();
    let headers: Vec<_> = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
            ("content-length", length.as_str()),
            ("content-type", "application/json"),
            ("host", server.addr.to_string().as_str()),
            ("user-agent", concat!("guard-agent-rust/", env!("CARGO_PKG_VERSION"))),
            ("x-agent-install-id", "install-1"),
            ("x-api-key", KEY),
        ]
    );
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["status"], "healthy");
    assert_eq!(transport.bytes_sent(), request.body.len() as u64);
}

pub async fn a_get_is_conditional_and_has_no_body<C: HttpClient>() {
    let (server, mut requests) =
        recorder(b"HTTP/1.1 304 Not Modified\r\netag: \"v2\"\r\nretry-after: 7\r\n\r\n").await;
    let transport = transport::<C>(&server.url());

    let answer = within(transport.fetch_rules(Some("\"v1\"".into()))).await.unwrap();

    assert_eq!((answer.status, answer.etag.as_deref()), (304, Some("\"v2\"")));
    assert_eq!(answer.retry_after.as_deref(), Some("7"));
    let request = requests.recv().await.unwrap();
    assert_eq!(request.line, "GET /api/v1/rules HTTP/1.1");
    assert_eq!(request.header("if-none-match"), Some("\"v1\""));
    assert_eq!(request.header("content-length"), None);
    assert_eq!(transport.bytes_sent(), 0);
}

pub async fn a_large_body_is_gzip_and_counted_as_sent<C: HttpClient>() {
    let (server, mut requests) = recorder(OK).await;
    let transport = transport::<C>(&server.url());
    let status = AgentStatus { errors: vec!["reason".repeat(1_000)], ..status() };

    within(transport.send_status(Arc::new(status.clone()))).await.unwrap();
    within(transport.send_status(Arc::new(status))).await.unwrap();

    let request = requests.recv().await.unwrap();
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert!(plain(&request).contains(&"reason".repeat(1_000)));
    assert_eq!(transport.bytes_sent(), 2 * request.body.len() as u64);
}

pub async fn a_batch_goes_to_the_endpoint_of_its_kind_whatever_its_size<C: HttpClient>() {
    let (server, mut requests) = recorder(OK).await;
    let transport = transport::<C>(&server.url());
    for count in [1, 1_000] {
        for kind in Kind::ALL {
            within(transport.send(Payload::Batch(batch(kind, count)))).await.unwrap();
            let request = requests.recv().await.unwrap();
            let body: serde_json::Value = serde_json::from_str(&plain(&request)).unwrap();
            let [(path, full), (_, empty)] = match kind {
                Kind::Event => [("events", &body["events"]), ("metrics", &body["metrics"])],
                Kind::Metric => [("metrics", &body["metrics"]), ("events", &body["events"])],
            };
            assert_eq!(request.line, format!("POST /api/v1/{path} HTTP/1.1"));
            assert_eq!((full.as_array().unwrap().len(), empty.as_array().unwrap().len()), (count, 0));
            assert_eq!(full[count - 1]["n"], count - 1);
        }
    }
}

pub async fn connections_of_five_requests<C: HttpClient>() -> usize {
    let (server, mut requests) = recorder(OK).await;
    let transport = transport::<C>(&server.url());
    for _ in 0..5 {
        send(&transport).await.unwrap();
        requests.recv().await.unwrap();
    }
    server.connections()
}

pub async fn credentials_change_from_one_request_to_the_next<C: HttpClient>() {
    let (server, mut requests) = recorder(OK).await;
    let transport = transport::<C>(&server.url());

    send(&transport).await.unwrap();
    let rotated = Credentials::new(Secret::new("another-secret-key")).with_signing_secret(Secret::new("s"));
    transport.set_credentials(rotated).unwrap();
    send(&transport).await.unwrap();
    let refused = transport.set_credentials(Credentials::new(Secret::new("short"))).unwrap_err();
    send(&transport).await.unwrap();

    let keys: Vec<_> = [requests.recv().await, requests.recv().await, requests.recv().await]
        .into_iter()
        .map(|request| {
            let request = request.unwrap();
            (request.header("x-api-key").unwrap().to_owned(), request.header("x-payload-signature").is_some())
        })
        .collect();
    let new = ("another-secret-key".to_owned(), true);
    assert_eq!(keys, [(KEY.to_owned(), false), new.clone(), new]);
    assert_eq!(refused.problems[0].field, "api_key");
    assert!(!refused.to_string().contains("short"));
}

pub async fn an_answer_is_handed_on_as_it_is<C: HttpClient>() {
    let cases: [(&str, u16, Option<&str>); 6] = [
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
            200,
            Some("<html>"),
        ),
        ("HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n", 429, Some("")),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, Some("")),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, Some("")),
        ("HTTP/1.1 599 Odd\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 599, Some("abc")),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 3\r\n\r\nabc", 200, Some("abc")),
    ];
    for (bytes, status, body) in cases {
        let (server, _requests) = recorder(bytes.as_bytes()).await;
        let answer = send(&transport::<C>(&server.url())).await.unwrap();
        assert_eq!(answer.status, status, "{bytes}");
        assert_eq!(body.map(str::as_bytes), Some(&answer.body[..]), "{bytes}");
    }
}

/// Answers that are none of the tidiest. A batch whose acknowledgement cannot be read is sent again for ever.
pub async fn what_an_ordinary_client_reads_is_read<C: HttpClient>() {
    let many = "x-filler: 1\r\n".repeat(500);
    let long = format!("x-filler: {}\r\n", "x".repeat(8_000));
    let sixteen = "content-length: 16\r\n";
    let heads = [
        ("plain", format!("HTTP/1.1 200 OK\r\n{sixteen}\r\n")),
        ("line feeds alone", "HTTP/1.1 200 OK\ncontent-length: 16\n\n".into()),
        ("no reason phrase", format!("HTTP/1.1 200\r\n{sixteen}\r\n")),
        ("an empty reason phrase", format!("HTTP/1.1 200 \r\n{sixteen}\r\n")),
        ("a reason phrase in Latin-1", "HTTP/1.1 200 d\u{e9}j\u{e0}\r\ncontent-length: 16\r\n\r\n".into()),
        ("an empty line first", format!("\r\nHTTP/1.1 200 OK\r\n{sixteen}\r\n")),
        ("HTTP/1.0", format!("HTTP/1.0 200 OK\r\n{sixteen}\r\n")),
        ("HTTP/1.0 until the end", "HTTP/1.0 200 OK\r\n\r\n".into()),
        ("HTTP/1.1 until the end", "HTTP/1.1 200 OK\r\n\r\n".into()),
        ("connection: close", format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{sixteen}\r\n")),
        ("names in capitals", "HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 16\r\n\r\n".into()),
        ("no space after the colon", "HTTP/1.1 200 OK\r\ncontent-length:16\r\n\r\n".into()),
        ("spaces around a value", "HTTP/1.1 200 OK\r\ncontent-length: \t 16 \t\r\n\r\n".into()),
        ("a length twice", format!("HTTP/1.1 200 OK\r\n{sixteen}{sixteen}\r\n")),
        ("a folded header", format!("HTTP/1.1 200 OK\r\nx-folded: a\r\n\tb\r\n  c\r\n{sixteen}\r\n")),
        ("an empty value", format!("HTTP/1.1 200 OK\r\nx-empty:\r\n{sixteen}\r\n")),
        ("many headers", format!("HTTP/1.1 200 OK\r\n{many}{sixteen}\r\n")),
        ("a long header", format!("HTTP/1.1 200 OK\r\n{long}{sixteen}\r\n")),
        (
            "another type",
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=latin1\r\n{sixteen}\r\n"),
        ),
        ("no coding", format!("HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\n{sixteen}\r\n")),
        ("an empty coding", format!("HTTP/1.1 200 OK\r\ncontent-encoding:\r\n{sixteen}\r\n")),
        ("a coding taken off", format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n{sixteen}\r\n")),
        ("100 before", format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n{sixteen}\r\n")),
        (
            "100 with headers",
            format!("HTTP/1.1 100 Continue\r\ndate: x\r\n\r\nHTTP/1.1 200 OK\r\n{sixteen}\r\n"),
        ),
        (
            "102 and 103 before",
            format!(
                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n{sixteen}\r\n"
            ),
        ),
        ("cookies", format!("HTTP/1.1 200 OK\r\nset-cookie: a=\"\u{e9}\"; path=/\r\n{sixteen}\r\n")),
    ];
    let mut answers: Vec<(&str, Vec<u8>)> =
        heads.into_iter().map(|(name, head)| (name, [head.as_bytes(), TAKEN].concat())).collect();
    let chunked =
        |coded: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{coded}").into_bytes();
    answers.extend([
        ("chunks", chunked("8\r\n{\"succes\r\n8\r\ns\":true}\r\n0\r\n\r\n")),
        ("sizes of chunks in capitals", chunked("00010 \r\n{\"success\":true}\r\n0\r\n\r\n")),
        ("extensions of chunks", chunked("10;a=b;c=\"d\"\r\n{\"success\":true}\r\n0;e\r\n\r\n")),
        ("trailers", chunked("10\r\n{\"success\":true}\r\n0\r\nx-checksum: 1\r\nx-more: 2\r\n\r\n")),
        (
            "a length beside chunks",
            [
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n".as_slice(),
                b"10\r\n{\"success\":true}\r\n0\r\n\r\n",
            ]
            .concat(),
        ),
        ("no body", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
    ]);
    let raw = |level| {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
        encoder.write_all(TAKEN).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = |level| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(TAKEN).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = gzipped(TAKEN);
    let cut = gzip[..gzip.len() - 8].to_vec();
    let level = flate2::Compression::fast();
    for (coding, body) in [
        ("gzip", gzip.clone()),
        ("x-gzip", gzip.clone()),
        ("GZip", gzip.clone()),
        ("gzip, identity", gzip.clone()),
        ("identity\r\ncontent-encoding: gzip", gzip.clone()),
        ("gzip, gzip", gzipped(&gzip)),
        ("gzip", cut),
        ("deflate", zlib(level)),
        ("deflate", raw(level)),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        answers.push((coding, [head.as_bytes(), &body].concat()));
    }
    let mut unread = Vec::new();
    for (name, bytes) in answers {
        let server = answering_once(bytes).await;
        match send(&transport::<C>(&server.url())).await {
            Ok(answer) if answer.status == 200 && (answer.body == TAKEN || name == "no body") => {}
            other => unread.push(format!("{name}: {other:?}")),
        }
        assert_eq!(server.connections(), 1, "one call is one attempt");
    }
    assert!(unread.is_empty(), "{unread:#?}");
}

/// Load balancers close the connection as soon as they have written, and leave out what TLS says at the end. Framing
/// tells whether an answer is complete.
pub async fn a_complete_answer_counts_however_its_connection_ends<C: HttpClient>() {
    let heads = [
        "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 16\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n",
        // The end of the connection is that of the body; JSON tells whether it is whole.
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
    ];
    let ca = authority();
    for head in heads {
        for polite in [true, false] {
            let tail = if head.contains("chunked") { "\r\n0\r\n\r\n" } else { "" };
            let answer = [head.as_bytes(), TAKEN, tail.as_bytes()].concat();
            let server = tls_server_that_ends(&ca, answer, polite).await;
            let options = options().root_certificates(ca.pem());
            let transport = HttpTransport::<C>::new(&https(&server), "install-1", &options).unwrap();
            for _ in 0..3 {
                let answer = send(&transport).await.map(|answer| (answer.status, answer.body));
                assert_eq!(answer, Ok((200, TAKEN.to_vec())), "{head:?}, polite: {polite}");
            }
        }
    }
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n".as_slice();
    let server = tls_server_that_ends(&ca, [head, TAKEN].concat(), false).await;
    let options = options().root_certificates(ca.pem());
    let transport = HttpTransport::<C>::new(&https(&server), "install-1", &options).unwrap();
    assert!(is_broken(&send(&transport).await.unwrap_err()), "what is cut off is no answer");
}

pub async fn unreadable_header_values_are_left_out<C: HttpClient>() {
    let long = "x".repeat(2_000);
    for value in ["\u{e9}", long.as_str()] {
        let answer =
            format!("HTTP/1.1 503 No\r\nretry-after: {value}\r\netag: {value}\r\ncontent-length: 0\r\n\r\n");
        let (server, _requests) = recorder(answer.as_bytes()).await;
        let answer = send(&transport::<C>(&server.url())).await.unwrap();
        assert_eq!(answer, Response { status: 503, peer: Some(server.url().into()), ..Response::default() });
    }
}

pub async fn a_redirect_is_an_answer_like_any_other<C: HttpClient>() {
    let (elsewhere, _requests) = recorder(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} Go\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
        let (server, _requests) = recorder(answer.as_bytes()).await;
        assert_eq!(send(&transport::<C>(&server.url())).await.unwrap().status, status);
    }
    assert_eq!(elsewhere.connections(), 0);
}

pub async fn an_endless_body_is_read_to_the_limit_only<C: HttpClient>() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n"] {
        let (server, written) = endless(head, &[b'x'; 4096]).await;
        let answer = send(&transport::<C>(&server.url())).await.unwrap();
        assert_eq!(answer.body.len(), Response::MAX_BODY);
        let stopped_at = hung_up(written).await;
        assert!(stopped_at < 32 << 20, "{stopped_at} bytes were taken");
    }
}

pub async fn endless_headers_are_refused<C: HttpClient>() {
    for line in [format!("x-filler: {}\r\n", "x".repeat(1_000)), "x".repeat(1_000), "a: b\r\n".into()] {
        let (server, written) = endless("HTTP/1.1 200 OK\r\n", line.as_bytes()).await;
        let error = send(&transport::<C>(&server.url())).await.unwrap_err();
        assert!(is_broken(&error), "{error}");
        let stopped_at = hung_up(written).await;
        assert!(stopped_at < 32 << 20, "{stopped_at} bytes were taken");
    }
}

/// Answers of a hostile platform that are large in every place that HTTP has.
pub fn floods() -> Vec<(&'static str, Vec<u8>)> {
    const MANY: usize = 5 << 20;
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    let body = r#"{"success":true}"#;
    let with_length = |body: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    };
    let headers = format!("x-filler: {}\r\n", "x".repeat(1_000)).repeat(MANY / 1_000);
    let short = "a: b\r\n".repeat(MANY / 6);
    let rules: Vec<_> = (0..300_000).map(|n| format!("{}.{}.{}.1", n >> 16, n >> 8 & 255, n & 255)).collect();
    let rules = serde_json::json!({"rule_id": "flood", "ip_blacklist": rules}).to_string();
    let text = |text: String| text.into_bytes();
    vec![
        ("50 MB of body", with_length(&b"x".repeat(50 << 20))),
        ("1 MB of brackets", with_length(&b"[".repeat(1 << 20))),
        ("1 MB of objects", with_length(&b"{\"a\":".repeat((1 << 20) / 5))),
        ("300,000 rules", with_length(rules.as_bytes())),
        ("5 MB of headers", text(format!("HTTP/1.1 200 OK\r\n{headers}content-length: 16\r\n\r\n{body}"))),
        ("800,000 headers", text(format!("HTTP/1.1 200 OK\r\n{short}content-length: 16\r\n\r\n{body}"))),
        (
            "5 MB of reason",
            text(format!("HTTP/1.1 200 {}\r\ncontent-length: 16\r\n\r\n{body}", "x".repeat(MANY))),
        ),
        (
            "200,000 interim answers",
            text(format!(
                "{}HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{body}",
                "HTTP/1.1 102 Processing\r\n\r\n".repeat(200_000)
            )),
        ),
        (
            "5 MB of a chunk's extension",
            text(format!("{CHUNKED}\r\n10;a={}\r\n{body}\r\n0\r\n\r\n", "x".repeat(MANY))),
        ),
        (
            "300,000 extensions",
            text(format!("{CHUNKED}\r\n{}0\r\n\r\n", "1;aaaaaaaaaaaa\r\n \r\n".repeat(300_000))),
        ),
        ("5 MB of trailers", text(format!("{CHUNKED}\r\n10\r\n{body}\r\n0\r\n{headers}\r\n"))),
        (
            "5 MB of a chunk's length",
            text(format!("{CHUNKED}\r\n{}10\r\n{body}\r\n0\r\n\r\n", "0".repeat(MANY))),
        ),
    ]
}

pub async fn floods_around_an_answer_do_no_harm<C: HttpClient>() {
    for (flood, bytes) in floods() {
        let bytes: Arc<[u8]> = bytes.into();
        let server = Server::start(move |mut stream: TcpStream| {
            let bytes = Arc::clone(&bytes);
            async move {
                if let Ok(Some(_)) = read_request(&mut stream).await {
                    // Whoever hangs up had enough.
                    let _ = stream.write_all(&bytes).await;
                }
            }
        })
        .await;
        match send(&transport::<C>(&server.url())).await {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{flood}");
                assert!(answer.body.len() <= Response::MAX_BODY, "{flood}");
            }
            Err(error) => {
                assert!(is_broken(&error), "{flood}: {error}");
                assert!(error.message.len() < 1_000, "{flood}");
            }
        }
    }
}

/// Counts requests: a connection may be a look at who is there.
#[derive(Clone, Default)]
struct Posts(Arc<AtomicUsize>);

impl Posts {
    fn count(&self, request: Option<Request>) {
        if request.is_some_and(|request| request.line.starts_with("POST ")) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn so_far(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A server that counts them, and answers each by `answer` alone.
    async fn server<F>(&self, answer: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static) -> Server
    where
        F: Future<Output = ()> + Send,
    {
        let posts = self.clone();
        Server::start(move |mut stream| {
            let (posts, answer) = (posts.clone(), answer.clone());
            async move {
                posts.count(read_request(&mut stream).await.unwrap());
                answer(stream).await;
            }
        })
        .await
    }
}

pub async fn garbage_and_cut_off_answers_are_errors<C: HttpClient>() {
    let cases = [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a length\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 O",
        "",
    ];
    for bytes in cases {
        let posts = Posts::default();
        let answer = move |mut stream: TcpStream| async move {
            stream.write_all(bytes.as_bytes()).await.unwrap();
        };
        let server = posts.server(answer).await;
        let error = send(&transport::<C>(&server.url())).await.unwrap_err();
        assert!(is_broken(&error), "{bytes:?}: {error}");
        assert_eq!(posts.so_far(), 1, "one call is one attempt");
    }
}

pub async fn a_reset_is_a_lost_connection<C: HttpClient>() {
    let posts = Posts::default();
    let server = posts.server(|stream| async move { stream.set_zero_linger().unwrap() }).await;
    let transport = transport::<C>(&server.url());
    for attempts in 1..=3 {
        let error = send(&transport).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Connection, "{error}");
        assert_eq!(posts.so_far(), attempts, "one call is one attempt");
    }
    // The first time it was looked who is there.
    assert_eq!(server.connections(), 4);
}

pub async fn a_closed_port_is_a_failed_connect<C: HttpClient>() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = send(&transport::<C>(&format!("http://{port}"))).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::Connect, "{error}");
}

pub async fn an_unknown_host_is_a_failed_connect<C: HttpClient>() {
    let error = send(&transport::<C>("http://nowhere.invalid")).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::Connect, "{error}");
}

pub async fn silence_and_trickle_end_at_the_time_limit<C: HttpClient>() {
    let silent = Server::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let trickling = Server::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for server in [silent, trickling] {
        let mut config = config(&server.url());
        config.timeout = Duration::from_millis(300);
        let transport =
            HttpTransport::<C>::new(&config, "install-1", &HttpOptions::new().no_proxy()).unwrap();
        let error = send(&transport).await.unwrap_err();
        let message = format!("no complete answer within 300ms ({})", server.url());
        assert_eq!(error, TransportError::new(TransportErrorKind::Timeout, message));
    }
}

pub async fn a_handshake_that_hangs_ends_at_the_time_to_connect<C: HttpClient>() {
    let silent = Server::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut config = https(&silent);
    config.connect_timeout = Duration::from_millis(200);
    let transport = HttpTransport::<C>::new(&config, "install-1", &HttpOptions::new().no_proxy()).unwrap();

    let error = send(&transport).await.unwrap_err();

    let message = format!("no connection within 200ms (https://{})", silent.addr);
    assert_eq!(error, TransportError::new(TransportErrorKind::Connect, message));
}

pub async fn a_private_authority_is_trusted_only_when_told_so<C: HttpClient>() {
    let ca = authority();
    let server = tls_server(&ca, "127.0.0.1", None).await;
    let cases = [
        (options().root_certificates(ca.pem()), true),
        (options().root_certificates(ca.pem()).only_these_roots(), true),
        (options().root_certificates(authority().pem()).root_certificates(ca.pem()), true),
        (options(), false),
        (options().root_certificates(authority().pem()).only_these_roots(), false),
    ];
    for (options, trusted) in cases {
        let transport = HttpTransport::<C>::new(&https(&server), "install-1", &options).unwrap();
        match send(&transport).await {
            Ok(answer) => assert!(trusted && answer.status == 200),
            Err(error) => {
                assert!(!trusted, "{error}");
                assert_eq!(error.kind, TransportErrorKind::Tls, "{error}");
            }
        }
    }
}

pub async fn a_certificate_for_another_name_is_refused<C: HttpClient>() {
    let ca = authority();
    let server = tls_server(&ca, "other.example", None).await;
    let options = options().root_certificates(ca.pem());
    let transport = HttpTransport::<C>::new(&https(&server), "install-1", &options).unwrap();
    let error = send(&transport).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::Tls, "{error}");
}

pub async fn a_platform_that_asks_for_a_certificate_gets_the_identity<C: HttpClient>() {
    let ca = authority();
    let server = tls_server(&ca, "127.0.0.1", Some(&ca)).await;
    let (certificate, key) = issue(&ca, "agent.example");
    let trusting = options().root_certificates(ca.pem());

    let identified = trusting.clone().client_identity(certificate.pem(), key.serialize_pem());
    let transport = HttpTransport::<C>::new(&https(&server), "install-1", &identified).unwrap();
    assert_eq!(send(&transport).await.unwrap().status, 200);

    let transport = HttpTransport::<C>::new(&https(&server), "install-1", &trusting).unwrap();
    let error = send(&transport).await.unwrap_err();
    assert!(error.kind == TransportErrorKind::Tls || is_broken(&error), "{error}");
}

pub fn unusable_options_are_named_together_without_their_secrets<C: HttpClient>() {
    let ca = authority();
    let (certificate, key) = issue(&ca, "agent.example");
    let other_key = issue(&ca, "agent.example").1.serialize_pem();
    let key = key.serialize_pem();
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        (options().root_certificates("nothing"), "root_certificates"),
        (options().root_certificates(not_der), "root_certificates"),
        (options().only_these_roots(), "root_certificates"),
        (options().client_identity(certificate.pem(), other_key), "client_identity"),
        (options().client_identity(certificate.pem(), "no key"), "client_identity"),
        (options().client_identity(not_der, key.clone()), "client_identity"),
        (options().client_identity("", key.clone()), "client_identity"),
        (options().proxy("socks5://user:hunter2@127.0.0.1"), "proxy"),
        (options().proxy("hunter2"), "proxy"),
    ];
    for (options, field) in &cases {
        let error = HttpTransport::<C>::new(&config("http://localhost"), "install-1", options).unwrap_err();
        let HttpError::Config(config) = &error else { panic!("{error}") };
        assert_eq!(config.problems.iter().map(|problem| problem.field).collect::<Vec<_>>(), [*field]);
        let shown = format!("{error} {error:?} {options:?}");
        let secret = key.lines().nth(1).unwrap();
        assert!(!shown.contains("hunter2") && !shown.contains(secret) && !shown.contains("AAAA"), "{shown}");
    }

    let all = options().root_certificates("").client_identity("", "").proxy("");
    let error = HttpTransport::<C>::new(&config("http://localhost"), "install-1", &all).unwrap_err();
    let HttpError::Config(error) = error else { panic!("{error}") };
    assert_eq!(error.problems.len(), 3, "{error}");
}

pub async fn an_explicit_proxy_gets_the_request<C: HttpClient>() {
    let (proxy, mut requests) = recorder(OK).await;
    let options = HttpOptions::new().proxy(proxy.url().replace("http://", "http://user:hunter2@"));
    let transport =
        HttpTransport::<C>::new(&config("http://platform.invalid"), "install-1", &options).unwrap();

    let answer = send(&transport).await;

    let request = requests.recv().await.unwrap();
    assert_proxied(&request, answer);
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpodW50ZXIy"));
}

pub async fn a_proxy_that_refuses_the_tunnel_is_a_failed_connect<C: HttpClient>() {
    let (proxy, mut requests) =
        recorder(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
    let options = HttpOptions::new().proxy(proxy.url());
    let transport =
        HttpTransport::<C>::new(&config("https://platform.invalid"), "install-1", &options).unwrap();

    let error = send(&transport).await.unwrap_err();

    assert_eq!(error.kind, TransportErrorKind::Connect, "{error}");
    assert_eq!(requests.recv().await.unwrap().line, "CONNECT platform.invalid:443 HTTP/1.1");
}

pub async fn the_proxy_of_the_environment_gets_the_request<C: HttpClient>() {
    let (proxy, mut requests) = recorder(OK).await;
    in_a_child("sends_through_the_environment", [("HTTP_PROXY", proxy.url().as_str())]).await;
    let line = requests.recv().await.unwrap().line;
    assert!(line.contains("platform.invalid"), "{line}");
}

pub async fn sends_through_the_environment<C: HttpClient>() {
    let config = config("http://platform.invalid");
    let transport = HttpTransport::<C>::new(&config, "install-1", &HttpOptions::new()).unwrap();
    // What comes of it, the proxy decides.
    let _ = send(&transport).await;

    let direct = HttpTransport::<C>::new(&config, "install-1", &HttpOptions::new().no_proxy()).unwrap();
    send(&direct).await.unwrap_err();
}

/// TLS within TLS: the proxy is reached by it, and passes on what it is given.
pub async fn a_proxy_over_tls_opens_a_tunnel_to_a_platform_over_tls<C: HttpClient>() {
    let ca = authority();
    let platform = tls_server(&ca, "platform.invalid", None).await;
    let (acceptor, target) = (acceptor(&ca, "127.0.0.1", None), platform.addr);
    let proxy = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let request = read_request(&mut stream).await.unwrap().unwrap();
            assert_eq!(request.line, "CONNECT platform.invalid:443 HTTP/1.1");
            assert_eq!(request.header("proxy-authorization"), Some("Basic dXNAZXI6aHVudGVyMg=="));
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let mut platform = TcpStream::connect(target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut platform).await;
        }
    })
    .await;
    let options = HttpOptions::new()
        .proxy(format!("https://us%40er:hunter2@{}", proxy.addr))
        .root_certificates(ca.pem());
    let transport =
        HttpTransport::<C>::new(&config("https://platform.invalid"), "install-1", &options).unwrap();
    assert_eq!(send(&transport).await.unwrap().status, 200);
    assert_eq!((proxy.connections(), platform.connections()), (1, 1));
}

/// The table of all spellings is that of the decision; this shows that every client keeps to it.
pub async fn every_spelling_of_no_proxy_means_the_same<C: HttpClient>() {
    let (platform, _requests) = recorder(OK).await;
    let (proxy, _requests) = recorder(OK).await;
    let port = platform.addr.port();
    for (host, variable, exceptions, bypassed) in [
        ("127.0.0.1", "NO_PROXY", "*", true),
        ("127.0.0.1", "NO_PROXY", "127.0.0.1", true),
        ("127.0.0.1", "no_proxy", "127.0.0.0/8", true),
        ("127.0.0.1", "NO_PROXY", "10.0.0.0/8, 127.0.0.0/8 192.168.0.0/16", true),
        ("127.0.0.1", "NO_PROXY", &format!("127.0.0.1:{port}"), true),
        ("127.0.0.1", "NO_PROXY", "127.0.0.1:1", false),
        ("127.0.0.1", "NO_PROXY", "10.0.0.0/8", false),
        ("127.0.0.1", "NO_PROXY", "", false),
        ("localhost", "NO_PROXY", "LocalHost", true),
        ("localhost", "NO_PROXY", ".localhost", true),
        ("localhost", "NO_PROXY", "*.localhost", true),
        ("localhost", "NO_PROXY", &format!("example.com localhost:{port}"), true),
        ("localhost", "NO_PROXY", "127.0.0.1,host", false),
    ] {
        let before = (platform.connections(), proxy.connections());
        let endpoint = format!("http://{host}:{port}");
        let variables = [
            ("GUARD_TEST_ENDPOINT", endpoint.as_str()),
            ("HTTP_PROXY", &proxy.url()),
            (variable, exceptions),
        ];
        in_a_child("sends_to_the_endpoint_of_the_environment", variables).await;
        let direct = platform.connections() > before.0;
        let proxied = proxy.connections() > before.1;
        assert_eq!((direct, proxied), (bypassed, !bypassed), "{endpoint} with {variable}={exceptions:?}");
    }
}

pub async fn sends_to_the_endpoint_of_the_environment<C: HttpClient>() {
    let endpoint = std::env::var("GUARD_TEST_ENDPOINT").unwrap();
    let transport = HttpTransport::<C>::new(&config(&endpoint), "install-1", &HttpOptions::new()).unwrap();
    // Who is asked counts, not what comes of it: not every client uses a tunnel here.
    let _ = send(&transport).await;
}

pub async fn a_message_says_whom_it_is_about<C: HttpClient>() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = options().proxy(format!("http://user:hunter2@{port}"));
    for (endpoint, options, peer) in [
        (format!("http://{port}"), options(), format!("(http://{port})")),
        (format!("https://{port}/base"), options(), format!("(https://{port})")),
        ("https://nowhere.invalid".into(), options(), "(https://nowhere.invalid:443)".into()),
        ("http://nowhere.invalid".into(), proxy, format!("(http://nowhere.invalid:80 via http://{port})")),
    ] {
        let transport = HttpTransport::<C>::new(&config(&endpoint), "install-1", &options).unwrap();
        let error = send(&transport).await.unwrap_err();
        assert!(error.message.ends_with(&peer), "{error}");
        assert!(!error.message.contains("hunter2"), "{error}");
    }
}

pub async fn a_port_for_something_else_is_named_as_such<C: HttpClient>() {
    let plain = Server::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let mut rest = [0; 1_024];
        while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
    })
    .await;
    let error = send(&transport::<C>(&format!("https://{}", plain.addr))).await.unwrap_err();
    let message = format!("the answer is not TLS: is this a port for http? (https://{})", plain.addr);
    assert_eq!(error, TransportError::new(TransportErrorKind::Tls, message));

    // The alert of a server that expects TLS: decode_error.
    let alert = Server::start(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"\x15\x03\x03\x00\x02\x02\x32").await.unwrap();
        let mut rest = [0; 1_024];
        while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
    })
    .await;
    let error = send(&transport::<C>(&alert.url())).await.unwrap_err();
    let message = format!("the answer is not HTTP: is this a port for https? ({})", alert.url());
    assert_eq!(error, TransportError::new(TransportErrorKind::Protocol, message));
}

pub async fn a_redis_server_is_named_as_such<C: HttpClient>() {
    let redis = RedisServer::start(&["requirepass s3cret"]);
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://127.0.0.1:{}", redis.port());
        let config =
            AgentConfig::builder("key-of-the-project").endpoint(&url).connect_timeout(Duration::from_secs(1));
        let transport =
            HttpTransport::<C>::new(&config.build().unwrap(), "install-1", &HttpOptions::new()).unwrap();
        let error = send(&transport).await.unwrap_err();
        let message = format!(
            "a Redis server answers there, not HTTP: the endpoint needs another host or port ({url})"
        );
        assert_eq!(error.message, message, "{error}");
    }
}

pub async fn a_system_without_authorities_still_speaks_plain_http<C: HttpClient>() {
    in_a_child("has_no_authorities", [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "")]).await;
}

pub fn has_no_authorities<C: HttpClient>() {
    let build = |endpoint, options| HttpTransport::<C>::new(&config(endpoint), "install-1", &options);
    build("http://platform.invalid", options()).unwrap();
    build("https://platform.invalid", options().root_certificates(authority().pem())).unwrap();
    for error in [
        build("https://platform.invalid", options()).unwrap_err(),
        build("http://platform.invalid", options().proxy("https://proxy.invalid")).unwrap_err(),
    ] {
        assert!(matches!(error, HttpError::Tls(_)), "{error}");
    }
}

const PROXY_VARIABLES: [&str; 8] = [
    "NO_PROXY",
    "no_proxy",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// Runs an ignored test with these variables set: the environment belongs to a whole process.
async fn in_a_child<const N: usize>(test: &str, variables: [(&str, &str); N]) {
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .envs(PROXY_VARIABLES.map(|name| (name, "")))
        .envs(variables)
        .output();
    let output = within(output).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn options() -> HttpOptions {
    HttpOptions::new().no_proxy()
}

fn config(endpoint: &str) -> AgentConfig {
    let mut config = AgentConfig::builder(KEY).build().unwrap();
    config.endpoint = endpoint.to_owned();
    config
}

/// To that endpoint, by no proxy.
pub fn transport<C: HttpClient>(endpoint: &str) -> HttpTransport<C> {
    HttpTransport::<C>::new(&config(endpoint), "install-1", &options()).unwrap()
}

/// The proxy gets the request itself, or, from a client that always does that, a wish for a tunnel, which it refuses.
fn assert_proxied(request: &Request, answer: Attempt) {
    match request.line.as_str() {
        "POST http://platform.invalid/api/v1/status HTTP/1.1" => assert_eq!(answer.unwrap().status, 200),
        "CONNECT platform.invalid:80 HTTP/1.1" => {}
        line => panic!("{line}"),
    }
}

/// Clients differ in what they call it.
const fn is_broken(error: &TransportError) -> bool {
    matches!(
        error.kind,
        TransportErrorKind::Protocol | TransportErrorKind::Connection | TransportErrorKind::Other
    )
}

fn status() -> AgentStatus {
    AgentStatus {
        timestamp: Timestamp::default(),
        status: StatusLevel::Healthy,
        uptime: 1.5,
        events_sent: 0,
        events_failed: 0,
        buffer_size: 0,
        last_flush: None,
        errors: Vec::new(),
    }
}

/// A sealed batch, as the core makes it.
pub fn batch(kind: Kind, count: usize) -> Arc<Batch> {
    let mut now = Now { instant: guard_agent_proto::Instant::ZERO, wall: Timestamp::default() };
    let mut agent = Agent::new(&config("http://localhost"), false, [7; 32], now).unwrap();
    let record =
        |n| Record::new(kind, false, format!(r#"{{"n":{n},"filler":"{:0100}"}}"#, 0).into_bytes().into());
    agent.handle_input(now, Input::Records((0..count).map(record).collect()));
    agent.handle_input(
        now,
        Input::Flush { id: FlushId::from_u64(1), deadline: guard_agent_proto::Instant::FAR_FUTURE },
    );
    for _ in 0..100 {
        let output = agent.poll_output();
        if let Output::Send(request) = &output
            && let Payload::Batch(batch) = &request.payload
        {
            return Arc::clone(batch);
        }
        if let Output::Idle { deadline, .. } = output {
            now.instant = deadline;
            agent.handle_input(now, Input::Timeout);
        }
    }
    panic!("no batch")
}

/// The body of a request, uncompressed.
fn plain(request: &Request) -> String {
    let mut text = String::new();
    if request.header("content-encoding").is_some() {
        flate2::read::GzDecoder::new(&request.body[..]).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(request.body.clone()).unwrap();
    }
    text
}

/// One request of any kind; no error may show the key.
async fn send<C: HttpClient>(transport: &HttpTransport<C>) -> Attempt {
    let attempt = within(transport.send_status(Arc::new(status()))).await;
    if let Err(error) = &attempt {
        let shown = format!("{error} {error:?} {transport:?}");
        assert!(!shown.contains(KEY) && !shown.contains('\n'), "{shown}");
        assert!(!error.message.is_empty(), "{error:?}");
    }
    attempt
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("it hangs")
}

/// Answers every request with these bytes and hands on what was asked.
/// Answers every request like that, and tells of it.
pub async fn recorder(answer: &[u8]) -> (Server, mpsc::UnboundedReceiver<Request>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let answer: Arc<[u8]> = answer.into();
    let server = Server::start(move |mut stream| {
        let (sender, answer) = (sender.clone(), Arc::clone(&answer));
        async move {
            while let Ok(Some(request)) = read_request(&mut stream).await {
                sender.send(request).unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    })
    .await;
    (server, requests)
}

/// Answers the first request of a connection with these bytes, and closes it.
async fn answering_once(answer: Vec<u8>) -> Server {
    let answer: Arc<[u8]> = answer.into();
    Server::start(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            if let Ok(Some(_)) = read_request(&mut stream).await {
                stream.write_all(&answer).await.unwrap();
            }
        }
    })
    .await
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Answers with `head` and then `filler` for ever; tells how many bytes went out, and when it was stopped.
async fn endless(head: &'static str, filler: &[u8]) -> (Server, mpsc::UnboundedReceiver<u64>) {
    let (sender, written) = mpsc::unbounded_channel();
    let filler: Arc<[u8]> = filler.repeat(16).into();
    let server = Server::start(move |mut stream: TcpStream| {
        let (sender, filler) = (sender.clone(), Arc::clone(&filler));
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut total = 0;
            while stream.write_all(&filler).await.is_ok() {
                total += filler.len() as u64;
            }
            sender.send(total).unwrap();
        }
    })
    .await;
    (server, written)
}

async fn hung_up(mut written: mpsc::UnboundedReceiver<u64>) -> u64 {
    within(written.recv()).await.unwrap()
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(ca: &Authority, name: &str) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    (certificate, key)
}

/// A platform over TLS that answers one request per connection and then closes it, with or without saying so in TLS.
async fn tls_server_that_ends(ca: &Authority, answer: Vec<u8>, polite: bool) -> Server {
    let acceptor = acceptor(ca, "127.0.0.1", None);
    let answer: Arc<[u8]> = answer.into();
    Server::start(move |stream| {
        let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            if let Ok(Some(_)) = read_request(&mut stream).await {
                stream.write_all(&answer).await.unwrap();
                stream.flush().await.unwrap();
                if polite {
                    stream.shutdown().await.unwrap();
                } else {
                    stream.into_inner().0.shutdown().await.unwrap();
                }
            }
        }
    })
    .await
}

/// A platform over TLS whose certificate is for `name`.
async fn tls_server(ca: &Authority, name: &str, clients: Option<&Authority>) -> Server {
    let acceptor = acceptor(ca, name, clients);
    Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while let Ok(Some(_)) = read_request(&mut stream).await {
                stream.write_all(OK).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
    .await
}

fn acceptor(ca: &Authority, name: &str, clients: Option<&Authority>) -> TlsAcceptor {
    let (certificate, key) = issue(ca, name);
    let chain = vec![CertificateDer::from(certificate)];
    let key = PrivateKeyDer::from(key);
    // Where several are linked nothing else is certain.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.der().clone()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap(),
            )
        }
    };
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

fn https(server: &Server) -> AgentConfig {
    config(&format!("https://{}", server.addr))
}
