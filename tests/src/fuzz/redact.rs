use std::time::{Duration, Instant};

use guard_agent_proto::{AgentConfig, Encoder, SecurityEvent, Timestamp};
use serde_json::Value;

/// Encodes an event made of any JSON, in a time that its length bounds: what comes out is JSON that a second pass
/// does not change, except the order of members whose names it redacted.
pub fn redact(data: &[u8]) {
    let config = AgentConfig::builder("fuzzing-api-key").max_payload_size(1 << 17).build().unwrap();
    let mut encoder = Encoder::new(&config, [7; 32]).unwrap();
    let event = event(data);
    let start = Instant::now();
    let first = encode(&mut encoder, &event);
    // A quadratic search takes longer for 64 KiB; the rest is room for instrumented code on a busy machine.
    let bound = Duration::from_secs(1) + Duration::from_micros(20) * u32::try_from(data.len()).unwrap();
    assert!(start.elapsed() < bound, "{} bytes took {:?}", data.len(), start.elapsed());
    let Some(first) = first else { return };
    let again: SecurityEvent = serde_json::from_value(first.clone()).unwrap();
    let second = encode(&mut encoder, &again).unwrap();
    assert_eq!(first, second, "the second pass changed something");
}

fn encode(encoder: &mut Encoder, event: &SecurityEvent) -> Option<Value> {
    let record = encoder.event(event).ok()?;
    let json: Value = serde_json::from_slice(record.json()).unwrap();
    assert!(json.is_object());
    Some(json)
}

/// The event that the data spells, else one that carries the data wherever text can be.
fn event(data: &[u8]) -> SecurityEvent {
    if let Ok(event) = serde_json::from_slice(data) {
        return event;
    }
    let text = String::from_utf8_lossy(data);
    let event = SecurityEvent::new("penetration_attempt", Timestamp::from_unix_micros(0))
        .ip_address(&*text)
        .endpoint(&text)
        .reason(&text)
        .user_agent(&text)
        .metadata("text", text.as_ref())
        .metadata(text.to_string(), "value");
    match serde_json::from_slice::<Value>(data) {
        Ok(value) => event.metadata("value", value.clone()).extra("extra", value),
        Err(_) => event,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pseudo_random_inputs;

    #[test]
    fn any_bytes_are_redacted_once_and_for_all() {
        pseudo_random_inputs().for_each(|data| super::redact(&data));
    }

    #[test]
    fn json_is_redacted_once_and_for_all() {
        let inputs = [
            r#"{"Authorization":"Bearer t","path":"/a?token=b&c=d"}"#,
            r#"[["cookie","v"],{"set-cookie":"v"},"{\"x_api_key\":1E400}"]"#,
            r#"{"event_type":"a","timestamp":"2026-01-02T03:04:05Z","endpoint":"/?password=x","headers":{"cookie":1}}"#,
            r#""\ud83d\ude00{\"cookie\":\"\\u0000\"}""#,
            "cookie=a; token=b\r\nauthorization: Basic x",
            "/path?a=1&api_key=%00%ff&&=&token",
        ];
        inputs.iter().for_each(|data| super::redact(data.as_bytes()));
        // As long as a value may be, and longer, in characters of several bytes.
        for length in 330..350 {
            super::redact(format!("\"{}cookie\"", "é€😀".repeat(length / 3)).as_bytes());
        }
        let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
        super::redact(nested.as_bytes());
    }
}
