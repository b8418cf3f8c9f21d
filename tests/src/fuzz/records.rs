use guard_agent_proto::{AgentConfig, Encoder, SecurityEvent, SecurityMetric, read_json};

/// Reads records from any bytes, and an event that has them in every place where an attacker's text stands: that one
/// is always read, and becomes JSON.
pub fn records(data: &[u8]) {
    let _ = SecurityMetric::from_json(data);
    if let (Ok(value), Ok(strict)) = (read_json(data), serde_json::from_slice::<serde_json::Value>(data)) {
        assert_eq!(value, strict);
    }
    let mut encoder =
        Encoder::new(&AgentConfig::builder("fuzzing-api-key").build().unwrap(), [7; 32]).unwrap();
    let any = SecurityEvent::from_json(data).ok();
    for event in any.into_iter().chain([SecurityEvent::from_json(&attacked(data)).unwrap()]) {
        if let Ok(record) = encoder.event(&event) {
            assert!(serde_json::from_slice::<serde_json::Value>(record.json()).unwrap().is_object());
        }
    }
}

/// An event with those bytes inside of its strings. A program that writes JSON escapes quotes, and ends no string with
/// half an escape.
fn attacked(data: &[u8]) -> Vec<u8> {
    let mut inside: Vec<u8> = data.iter().map(|byte| if *byte == b'"' { b'\'' } else { *byte }).collect();
    if inside.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1 {
        inside.push(b'\\');
    }
    let mut line = br#"{"event_type":"a","timestamp":0"#.to_vec();
    for member in [r#","reason":""#, r#"","ip_address":""#, r#"","metadata":{"a":""#, r#"","n":1e999,""#] {
        line.extend_from_slice(member.as_bytes());
        line.extend_from_slice(&inside);
    }
    line.extend_from_slice(br#"":[NaN]}}"#);
    line
}

#[cfg(test)]
mod tests {
    use super::super::pseudo_random_inputs;

    #[test]
    fn any_bytes_are_read_and_reported() {
        pseudo_random_inputs().for_each(|data| super::records(&data));
        for data in [r#"\ud800\"#, r#"\\\"#, "\u{feff}\\u", r#"{"event_type":"a","timestamp":1e400}"#] {
            super::records(data.as_bytes());
        }
    }
}
