//! Whether what comes from a journal may stand in a body.

use serde::de::IgnoredAny;

/// No batch of any configuration holds more, and no encoder makes a record that is larger.
pub(super) const MOST_BYTES: usize = 262_144;
/// Twice as deep as an encoder makes a record: no parser of the platform's is to meet more.
const MOST_DEPTH: usize = 256;

/// Whether it is one JSON object, with nothing around it: between commas it cannot be anything else, whoever wrote it.
/// The time is linear, and what is nested takes no stack.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    let [b'{', .., b'}'] = bytes else { return false };
    // What is ignored is not checked to be UTF-8 unless it is text.
    bytes.len() <= MOST_BYTES
        && core::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
        && depth(bytes) <= MOST_DEPTH
}

/// How deep what is JSON is nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next()
                    && *byte != b'"'
                {
                    if *byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn nested(depth: usize, open: &str, close: &str) -> String {
        ["{\"a\":", &open.repeat(depth), "1", &close.repeat(depth), "}"].concat()
    }

    #[test]
    fn one_object_is_a_record_and_nothing_else_is() {
        for record in [
            "{}",
            r#"{"a":"}{\"\\","b":[{},[1.5e-7,-0,null,true]]}"#,
            r#"{"a":"\ud83d\ude00é]]]"}"#,
            &nested(255, "[", "]"),
            &nested(127, "{\"\":[", "]}"),
        ] {
            assert!(is_record(record.as_bytes()), "{record}");
        }
        for forged in [
            &b""[..],
            b"{",
            b"}",
            b"{}{}",
            b"{},{}",
            b"{} ",
            b" {}",
            b"\xef\xbb\xbf{}",
            b"{}\0",
            b"[]",
            b"[{}]",
            b"\"x\"",
            b"null",
            br#"{}],"project_id":"x","events":[{}"#,
            br#"{"a":1,}"#,
            br"{'a':1}",
            br#"{"a":01}"#,
            br#"{"a":NaN}"#,
            b"{\"a\":\"\0\"}",
            b"{\"a\":\"\n\"}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\xed\xa0\x80\"}",
            b"{\"\xc3\":1}",
            br#"{"a":"\x"}"#,
            br#"{"a":"}"#,
            br#"{"a":[}"#,
            br#"{"a":[}]}"#,
            b"{\"a\":/**/1}",
            nested(256, "[", "]").as_bytes(),
            nested(128, "{\"\":[", "]}").as_bytes(),
            nested(100_000, "[", "]").as_bytes(),
            nested(200_000, "[", "").as_bytes(),
            [&br#"{"a":""#[..], &[b'x'; MOST_BYTES], br#""}"#].concat().as_slice(),
        ] {
            let shown = String::from_utf8_lossy(&forged[..forged.len().min(80)]);
            assert!(!is_record(forged), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn a_record_is_what_the_strict_reader_takes_for_an_object(
            text in r#"[{}\[\]",:\\01e\-. au\u{0}\u{e9}]{0,12}"#,
            inner in r#"("[a\\"]{0,2}":(1|\{\}|\[1\]|"\}"),?){0,3}"#,
        ) {
            for text in [&text, &alloc::format!("{{{text}}}"), &alloc::format!("{{{inner}}}")] {
                let value = serde_json::from_str::<Value>(text);
                let is_object = value.is_ok_and(|value| value.is_object()) && text.trim() == text;
                prop_assert_eq!(is_record(text.as_bytes()), is_object, "{}", text);
            }
        }

        #[test]
        fn whatever_is_between_records_the_body_has_as_many(
            records in prop::collection::vec(prop::collection::vec(prop::sample::select(&br#"{}[]",:\a1"#[..]), 0..8), 1..4),
        ) {
            let sound: Vec<_> = records.into_iter().filter(|record| is_record(record)).collect();
            let body = [b"[", &*sound.join(&b','), b"]"].concat();
            prop_assert_eq!(serde_json::from_slice::<Vec<Value>>(&body).unwrap().len(), sound.len());
        }
    }
}
