//! What others write, in what the agent says.

use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::store::{StoreError, StoreErrorKind};

/// Whatever an application may log, show or send of what the agent says.
fn all_that_is_said(bench: &mut Bench) -> Vec<String> {
    let mut said: Vec<String> = core::mem::take(&mut bench.events)
        .into_iter()
        .flat_map(|event| match event {
            AgentEvent::Error { message, .. } | AgentEvent::Notice(message) => vec![message],
            AgentEvent::Health(health) => health.reasons.iter().map(ToString::to_string).collect(),
            AgentEvent::Rules(_) | AgentEvent::Receipt { .. } | AgentEvent::Flushed { .. } => vec![],
        })
        .collect();
    said.extend(bench.agent.status().errors);
    said.extend(bench.agent.health().reasons.iter().map(ToString::to_string));
    said.extend(bench.agent.take_dead_letters().into_iter().map(|letter| letter.message));
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_the_other_sides_say_leaves_as_one_clean_line(
        text in "(\\PC|\\p{C}|[\u{1b}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{200b}-\u{200f}\u{2028}\u{feff}\r\n]){0,40}",
        times in prop_oneof![Just(1_usize), Just(2_000)],
        status in prop_oneof![Just(200_u16), Just(403), Just(422), Just(500), Just(302)],
    ) {
        let hostile = text.repeat(times);
        let mut bench = Bench::journaled(|config| {
            config.project_id = Some(String::from("p"));
            config.status_interval = 60 * SECOND;
        });
        bench.agent.name_store(hostile.clone());
        bench.events(2);
        let value = serde_json::Value::from(hostile.clone());
        let bodies = [
            serde_json::json!({"rule_id": value, "version": value}).to_string(),
            serde_json::json!({"success": false, "errors": [value]}).to_string(),
            hostile.clone(),
        ];
        let mut said = Vec::new();
        for round in 0..16 {
            for request in core::mem::take(&mut bench.requests) {
                match round % 4 {
                    3 => {
                        let error = TransportError::new(TransportErrorKind::Connection, hostile.clone());
                        bench.input(Input::Response { id: request.id, result: Err(error) });
                    }
                    way => bench.answer_with(&request, Response {
                        status,
                        peer: Some(hostile.as_str().into()),
                        body: bodies[way].clone().into_bytes(),
                        ..Response::default()
                    }),
                }
            }
            for request in core::mem::take(&mut bench.stores) {
                let result = Err(StoreError::new(StoreErrorKind::Other, hostile.clone()));
                bench.input(Input::StoreReply { id: request.id, result });
            }
            bench.pass(10 * SECOND);
            said.extend(all_that_is_said(&mut bench));
        }
        prop_assert!(said.len() > 5, "{said:?}");
        for line in said {
            prop_assert!(line.len() <= 1_024, "{}", line.len());
            prop_assert_eq!(crate::printable(&line), line);
        }
    }
}
