//! Vectors that the reference agent wrote: `tests/oracle/run --vectors`.

use aes_gcm::aead::Aead;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::{Response, SecurityEvent, SecurityMetric};

macro_rules! vectors {
    ($name:literal) => {
        cases(include_str!(concat!("../../../../tests/oracle/vectors/", $name, ".json")))
    };
}

fn cases(text: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert!(!cases.is_empty());
    cases
}

fn str_of<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap()
}

#[test]
fn the_references_documents_encrypt_to_its_ciphertexts() {
    for case in vectors!("encrypted") {
        let (document, payload) = (str_of(&case, "document"), str_of(&case, "payload"));
        let project_encryption_key = Some(Secret::new(str_of(&case, "key")));
        let key = ProjectKey::from_config(&AgentConfig { project_encryption_key, ..config() });
        let nonce = &URL_SAFE.decode(payload).unwrap()[..12];
        let mut sealed = [nonce, document.as_bytes()].concat();
        key.unwrap().unwrap().wire().seal(b"", &mut sealed, 0);
        assert_eq!(URL_SAFE.encode(&sealed), payload);
    }
}

#[test]
fn what_we_encrypt_decrypts_to_a_document_of_the_references_shape() {
    for case in vectors!("encrypted") {
        let document: Value = serde_json::from_str(str_of(&case, "document")).unwrap();
        let (kind, records) = match (list(&document, "events"), list(&document, "metrics")) {
            ([], metrics) => (Kind::Metric, metrics),
            (events, _) => (Kind::Event, events),
        };
        let batch = batch_of(kind, records.iter().map(|record| record.to_string().into_bytes()));
        let config = AgentConfig { compression_enabled: false, ..encrypted() };
        let request = wire(&config).encode(&Payload::Batch(Arc::new(batch)), no_gzip);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(decrypt(str_of(&body, "encrypted_payload")), document);
    }
}

fn list<'a>(document: &'a Value, name: &str) -> &'a [Value] {
    document[name].as_array().unwrap()
}

fn decrypt(payload: &str) -> Value {
    let sealed = URL_SAFE.decode(payload).unwrap();
    let (nonce, text) = sealed.split_first_chunk::<12>().unwrap();
    let cipher = Aes256Gcm::new_from_slice(&URL_SAFE.decode(KEY).unwrap()).unwrap();
    serde_json::from_slice(&cipher.decrypt(&Nonce::from(*nonce), text).unwrap()).unwrap()
}

#[test]
fn signatures_are_those_of_the_reference() {
    for case in vectors!("signatures") {
        let signer = Signer::new(Some(&Secret::new(str_of(&case, "secret")))).unwrap();
        assert_eq!(signer.sign(str_of(&case, "body").as_bytes()).expose(), str_of(&case, "signature"));
    }
}

#[test]
fn models_are_read_in_both_spellings_and_written_back() {
    for case in vectors!("events") {
        assert_round_trip::<SecurityEvent>(&case);
    }
    for case in vectors!("metrics") {
        assert_round_trip::<SecurityMetric>(&case);
    }
    for case in vectors!("statuses") {
        assert_round_trip::<AgentStatus>(&case);
    }
}

fn assert_round_trip<T: DeserializeOwned + Serialize>(case: &Value) {
    for spelling in ["plain", "canonical"] {
        let theirs = str_of(case, spelling);
        let ours = serde_json::to_string(&serde_json::from_str::<T>(theirs).unwrap()).unwrap();
        let read = |text| with_normal_dates(serde_json::from_str(text).unwrap());
        assert_eq!(read(&ours), read(theirs), "{spelling}");
    }
}

/// The same with dates spelled as we spell them, at every level.
fn with_normal_dates(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let is_date =
                    ["timestamp", "last_flush", "created_at", "expires_at"].contains(&name.as_str());
                *member = match member.as_str() {
                    Some(date) if is_date => date.parse::<Timestamp>().unwrap().to_string().into(),
                    _ => with_normal_dates(member.take()),
                };
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = with_normal_dates(item.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

#[test]
fn batches_have_the_members_of_the_reference() {
    for case in vectors!("batches") {
        for (kind, name) in [(Kind::Event, "events"), (Kind::Metric, "metrics")] {
            let mut theirs = with_normal_dates(serde_json::from_str(str_of(&case, name)).unwrap());
            theirs["agent_version"] = env!("CARGO_PKG_VERSION").into();
            let batch =
                batch_of(kind, list(&theirs, name).iter().map(|record| record.to_string().into_bytes()));
            let config = AgentConfig {
                guard_version: Some(str_of(&theirs, "guard_version").to_owned()),
                compression_enabled: false,
                ..config()
            };
            let request = wire(&config).encode(&Payload::Batch(Arc::new(batch)), no_gzip);
            assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), theirs);
        }
    }
}

#[test]
fn rules_are_accepted_and_refused_as_by_the_reference() {
    for case in vectors!("rules") {
        let document = str_of(&case, "document");
        let response = Response { body: document.into(), ..Response::accepted() };
        let refused = case.get("refused").map(|members| members.as_array().unwrap());
        match (parse_rules(&response, Timestamp::default()), refused) {
            (RulesAnswer::Rules { rules, .. }, None) => {
                let mut ours = serde_json::to_value(&rules).unwrap();
                let theirs = with_normal_dates(case["read"].clone());
                if theirs.get("timestamp").is_none() {
                    ours.as_object_mut().unwrap().remove("timestamp");
                }
                assert_eq!(ours, theirs, "{document}");
                assert_eq!(case["stricter"], false, "{document}");
            }
            (RulesAnswer::Invalid { .. }, None) => assert_eq!(case["stricter"], true, "{document}"),
            (RulesAnswer::Invalid { message }, Some(members)) => {
                let member = members[0].as_str().unwrap();
                assert!(message.contains(&format!("`{member}`")), "{message}: {document}");
            }
            (answer, _) => panic!("{answer:?}: {document}"),
        }
    }
}
