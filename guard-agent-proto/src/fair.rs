//! Who is one flow in fair queueing: the event types, of which there are only so many.

use crate::event_type;

/// Records that share a queue of their own, so that a flood of others neither delays nor crowds them out: events of
/// one type. Each type that the platform knows is a flow; all others share [`OTHERS`] by a hash of their names, since
/// the application makes those up.
///
/// It is read from the encoded record, which is all that a waiting one, or one from a journal, consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow(u8);

/// Flows for types that the platform does not know.
const OTHERS: u64 = u8::MAX as u64 - event_type::ALL.len() as u64;
/// Bytes of a name that tell it from others.
const TELLING: usize = 64;

impl Flow {
    /// Records without an event type, such as metrics, and all records where their order counts.
    pub(crate) const ONE: Self = Self(0);

    /// That of an encoded record.
    pub(crate) fn of(json: &[u8]) -> Self {
        let Some(name) = type_name(json) else { return Self::ONE };
        let known = event_type::ALL.iter().position(|known| known.as_bytes() == name);
        let place =
            known.map_or_else(|| event_type::ALL.len() as u64 + hash(name) % OTHERS, |known| known as u64);
        Self(u8::try_from(place + 1).unwrap_or(u8::MAX))
    }
}

/// The type of an encoded event, as the encoder writes it: behind the key and the time, whose texts have no quotes.
fn type_name(json: &[u8]) -> Option<&[u8]> {
    let (_, rest) = text(json.strip_prefix(br#"{"idempotency_key":""#)?)?;
    let rest = match rest.strip_prefix(br#","timestamp":""#) {
        Some(time) => text(time)?.1,
        None => rest,
    };
    Some(text(rest.strip_prefix(br#","event_type":""#)?)?.0)
}

/// Up to the next quote, and behind it.
fn text(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = json.iter().position(|byte| *byte == b'"')?;
    Some((&json[..end], &json[end + 1..]))
}

/// FNV-1a: short, and the same in every run.
fn hash(name: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    name.iter().take(TELLING).fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use super::*;
    use crate::{AgentConfig, Encoder, SecurityEvent, SecurityMetric, Timestamp};

    fn encoder() -> Encoder {
        Encoder::new(&AgentConfig::builder("0123456789").build().unwrap(), [1; 32]).unwrap()
    }

    fn flow(name: &str) -> Flow {
        let event = SecurityEvent::new(name, Timestamp::from_unix_micros(1_795_342_404_872_123));
        Flow::of(encoder().event(&event).unwrap().json())
    }

    #[test]
    fn every_known_type_is_a_flow_of_its_own() {
        let flows: BTreeSet<_> = event_type::ALL.iter().map(|name| flow(name)).collect();
        assert_eq!(flows.len(), event_type::ALL.len());
        assert!(!flows.contains(&Flow::ONE));
    }

    #[test]
    fn others_share_a_bounded_number_and_none_with_a_known_one() {
        let known: BTreeSet<_> = event_type::ALL.iter().map(|name| flow(name)).collect();
        let others: BTreeSet<_> = (0..2_000).map(|n| flow(&format!("custom_{n}"))).collect();
        assert!(others.is_disjoint(&known) && !others.contains(&Flow::ONE));
        assert!((200..=216).contains(&others.len()), "{}", others.len());
        for name in ["", "\"", "a\\", "é", "rate_limited ", &"x".repeat(900)] {
            let flow = flow(name);
            assert!(flow != Flow::ONE && !known.contains(&flow), "{name}");
        }
    }

    #[test]
    fn what_has_no_type_is_one_flow() {
        let metric =
            SecurityMetric::new(crate::MetricType::RequestCount, 1.0, Timestamp::from_unix_micros(0));
        assert_eq!(Flow::of(encoder().metric(&metric).unwrap().json()), Flow::ONE);
        for json in [
            "",
            "{}",
            r#"{"idempotency_key":""#,
            r#"{"idempotency_key":"k""#,
            r#"{"idempotency_key":"k","timestamp":"t"#,
            r#"{"idempotency_key":"k","timestamp":"t","event_type":"unfinished"#,
            r#"{"idempotency_key":"k","reason":"","event_type":"late"}"#,
        ] {
            assert_eq!(Flow::of(json.as_bytes()), Flow::ONE, "{json}");
        }
    }
}
