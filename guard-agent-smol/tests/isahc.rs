//! What the HTTP client of isahc does as that of the crate: see `guard_agent_tests::suites::http`.
#![cfg(feature = "isahc")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use guard_agent_smol::{Agent, AgentConfig, HttpOptions, IsahcClient, IsahcTransport, SecurityEvent};
use guard_agent_tests::collector::Collector;
use guard_agent_tests::suites::http;

#[test]
fn an_agent_delivers_by_it() {
    let collector = Collector::start();
    let config = AgentConfig::builder("0123456789").endpoint(collector.url()).install_id("test");
    let config = config.build().unwrap();
    let transport = IsahcTransport::new(&config, "test", &HttpOptions::new()).unwrap();
    smol::block_on(async {
        let agent = Agent::builder(config).transport(Arc::new(transport)).start().unwrap();
        agent.send_event(SecurityEvent::now("an event"));
        assert!(agent.shutdown(Duration::from_secs(20)).await.is_complete());
    });
    assert_eq!(collector.read(|received| received.event_count), 1);
}

/// The scenario of the suite.
macro_rules! plays {
    ($($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            http::$name::<IsahcClient>().await;
        }
    )*};
}

plays! {
    a_post_carries_exactly_the_headers_of_the_contract
    a_get_is_conditional_and_has_no_body
    an_answer_is_handed_on_as_it_is
    a_private_authority_is_trusted_only_when_told_so
    a_proxy_over_tls_opens_a_tunnel_to_a_platform_over_tls
    a_message_says_whom_it_is_about
    garbage_and_cut_off_answers_are_errors
}
