//! The journal in a real Redis over TLS.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use guard_agent_tests::redis_server::RedisServer;
use guard_agent_tokio::store::StoreErrorKind;
use guard_agent_tokio::{AgentConfig, RedisOptions, RedisStore};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use self::support::*;

#[path = "support/redis.rs"]
mod support;

/// A private authority's certificate, and a server with a certificate of that authority.
fn server(name: &str) -> (String, RedisServer) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let server = RedisServer::start_tls(&["requirepass s3cret"], &certificate.pem(), &key.serialize_pem());
    (authority.pem(), server)
}

fn options(server: &RedisServer) -> RedisOptions {
    let config = AgentConfig::builder("key-of-the-project").redis_url(server.tls_url()).build().unwrap();
    RedisOptions::new(&config)
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named() {
    let (authority, server) = server("127.0.0.1");
    let agent = Agent::with(&options(&server).root_certificates(&authority), 1);
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
async fn nobody_else_is_trusted() {
    let (authority, server) = server("127.0.0.1");
    let (another, elsewhere) = self::server("elsewhere.example");
    for options in [
        options(&server),
        options(&server).root_certificates(&another),
        options(&elsewhere).root_certificates(&another),
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
