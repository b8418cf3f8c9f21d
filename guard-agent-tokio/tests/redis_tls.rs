//! The journal in a real Redis over TLS.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use guard_agent_tests::redis_server::{RedisServer, TlsFiles, eventually};
use guard_agent_tokio::store::StoreErrorKind;
use guard_agent_tokio::{AgentConfig, RedisOptions, RedisStore};

use self::support::*;

#[path = "support/redis.rs"]
mod support;

/// A private authority's certificate, and a server with a certificate of that authority.
fn server(name: &str) -> (String, RedisServer) {
    let files = TlsFiles::issue(name);
    let server = RedisServer::start_tls(&["requirepass s3cret"], &files);
    (files.authority, server)
}

fn options(url: &str) -> RedisOptions {
    let config = AgentConfig::builder("key-of-the-project").redis_url(url).build().unwrap();
    RedisOptions::new(&config)
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named() {
    let (authority, server) = server("127.0.0.1");
    let agent = Agent::with(&options(&server.tls_url()).root_certificates(&authority), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    assert_eq!(agent.events().await, [1]);

    let file = server.dir().join("ca.pem");
    std::fs::write(&file, &authority).unwrap();
    let config = AgentConfig::builder("key-of-the-project")
        .redis_url(server.tls_url())
        .redis_ca_file(file.display().to_string())
        .build()
        .unwrap();
    assert_eq!(Agent::with(&RedisOptions::new(&config), 1).append(1, &[2]).await, DONE);
}

#[tokio::test]
async fn a_cluster_is_reached_by_tls() {
    let files = TlsFiles::issue("127.0.0.1");
    let node = RedisServer::start_tls(&["cluster-enabled yes"], &files);
    node.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    eventually("the cluster is complete", || {
        node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
    });
    let url = node.tls_url().replace("rediss", "rediss+cluster");
    let agent = Agent::with(&options(&url).root_certificates(&files.authority), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    assert_eq!(agent.events().await, [1]);

    let stranger = Agent::with(&options(&url).root_certificates(TlsFiles::issue("127.0.0.1").authority), 1);
    assert_failed(&stranger.append(1, &[2]).await, StoreErrorKind::Unreachable);
}

#[tokio::test]
async fn sentinels_and_their_master_are_reached_by_tls() {
    let files = TlsFiles::issue("127.0.0.1");
    let master = RedisServer::start_tls(&["requirepass s3cret"], &files);
    let monitor = format!("sentinel monitor journal 127.0.0.1 {} 1", master.tls_port());
    let sentinel = RedisServer::start_tls_sentinel(&[&monitor, "sentinel auth-pass journal s3cret"], &files);
    let url = format!("rediss+sentinel://:s3cret@127.0.0.1:{}/journal", sentinel.tls_port());
    let agent = Agent::with(&options(&url).root_certificates(&files.authority), 1);
    assert_eq!(agent.append(0, &[1]).await, DONE);
    assert_eq!(agent.events().await, [1]);
    assert_eq!(master.cli(&["EXISTS", &key("e")]), "1");
}

#[tokio::test]
async fn nobody_else_is_trusted() {
    let (authority, server) = server("127.0.0.1");
    let (another, elsewhere) = self::server("elsewhere.example");
    for options in [
        options(&server.tls_url()),
        options(&server.tls_url()).root_certificates(&another),
        options(&elsewhere.tls_url()).root_certificates(&another),
    ] {
        let answer = Agent::with(&options, 1).append(0, &[1]).await;
        assert_failed(&answer, StoreErrorKind::Unreachable);
        assert!(answer.unwrap_err().message.contains("certificate"));
    }
    assert_eq!(server.cli(&["DBSIZE"]), "0");

    // Certificates for a connection without TLS are a mistake that must not go unnoticed.
    let config = AgentConfig::builder("key-of-the-project").redis_url(server.url()).build().unwrap();
    let error = RedisStore::new(&RedisOptions::new(&config).root_certificates(&authority)).unwrap_err();
    assert_eq!(error.problems[0].field, "redis_url");
}
