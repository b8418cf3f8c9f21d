use alloc::string::{String, ToString as _};
use core::fmt::{self, Display, Write};

/// Most bytes of a message, the mark where it is cut included.
const LONGEST: usize = 1_024;
/// Ends a message that was cut.
const CUT: char = '…';

/// A message as it may be logged or shown: one line of at most 1,024 bytes, cut with `…` where it is longer, without
/// characters that control a terminal, reorder the text around them or do not show.
///
/// Whatever the agent says passes here at the last moment before it leaves: log, error hook, status and dead letters. Much
/// of it quotes a platform, a store or a network, and what those say may be an attacker's. Line breaks and tabs become
/// spaces, all else that is not to be seen is left out. A message that passed once passes again as it is.
///
/// ```
/// # use guard_agent_proto::printable;
///
/// assert_eq!(printable("\u{1b}[2Jan\u{202e}swer\r\n"), "[2Janswer");
/// assert_eq!(printable("x".repeat(2_000)).len(), 1_024);
/// ```
#[must_use]
pub fn printable(message: impl Display) -> String {
    printable_within(LONGEST, message)
}

/// The same within a bound of its own.
pub(crate) fn printable_within(longest: usize, message: impl Display) -> String {
    let mut line = Line { text: String::new(), longest, is_cut: false };
    // It fails where the line is full, and by itself where the message is none.
    let _ = write!(line, "{message}");
    line.finish()
}

struct Line {
    text: String,
    longest: usize,
    is_cut: bool,
}

impl Line {
    fn finish(mut self) -> String {
        if self.is_cut {
            let room = self.longest.saturating_sub(CUT.len_utf8());
            let end = (0..=room).rev().find(|end| self.text.is_char_boundary(*end)).unwrap_or(0);
            self.text.truncate(end);
            self.text.push(CUT);
        }
        let end = self.text.trim_end().len();
        self.text.truncate(end);
        self.text
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars().filter_map(shown) {
            if c == ' ' && self.text.is_empty() {
                continue;
            }
            if self.is_cut || self.text.len() + c.len_utf8() > self.longest {
                self.is_cut = true;
                return Err(fmt::Error);
            }
            self.text.push(c);
        }
        Ok(())
    }
}

/// What is shown in place of a character, if anything is.
pub(crate) fn shown(c: char) -> Option<char> {
    match c {
        '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        _ if c.is_control() || is_invisible(c) => None,
        _ => Some(c),
    }
}

/// Whether a character only changes how others are read: marks of direction, characters without width, tags.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// What a reader of JSON says, without the value that it dislikes, which may be a secret or an attacker's.
///
/// `serde` quotes values in one form, and names behind the last `, expected ` what its reader wants, which is ours.
pub(crate) fn without_value(error: impl Display) -> String {
    const OPENINGS: [&str; 4] = ["invalid type: ", "invalid value: ", "unknown variant ", "unknown field "];
    // Values may be long: whatever is behind them has to be found.
    let text = error.to_string();
    let opening = OPENINGS.iter().filter_map(|opening| Some(text.find(opening)? + opening.len())).min();
    let (Some(start), Some(end)) = (opening, text.rfind(", expected ")) else {
        return text;
    };
    match text.get(start..end) {
        Some(found) => {
            let kind = found.find(['"', '`']).and_then(|quote| found.get(..quote)).unwrap_or(found);
            let before = text.get(..start + kind.len()).unwrap_or_default();
            [before.trim_end(), text.get(end..).unwrap_or_default()].concat()
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[test]
    fn what_is_not_to_be_seen_is_left_out() {
        for (given, shown) in [
            ("plain", "plain"),
            ("two\nlines\r\n", "two lines"),
            ("a\tb\u{2028}c\u{2029}d\u{85}e", "a b c d e"),
            ("\u{1b}[31mred\u{1b}[0m\u{7}", "[31mred[0m"),
            ("\u{9b}31m", "31m"),
            ("a\u{202e}b\u{202a}\u{202b}\u{202c}\u{202d}c", "abc"),
            ("\u{2066}a\u{2067}b\u{2068}\u{2069}", "ab"),
            ("\u{200e}a\u{200f}b\u{61c}", "ab"),
            ("z\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}w", "zw"),
            ("\u{e0041}\u{e007f}tag", "tag"),
            ("Ünïcödé 漢字 🦀", "Ünïcödé 漢字 🦀"),
            ("\n\n", ""),
        ] {
            assert_eq!(printable(given), shown, "{given:?}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(printable("x".repeat(LONGEST)), "x".repeat(LONGEST));
        let cut = printable("x".repeat(LONGEST + 1));
        assert_eq!((cut.len(), cut.ends_with(CUT)), (LONGEST, true));
        let cut = printable("é".repeat(900_000));
        assert_eq!((cut.len(), cut.ends_with("é…")), (LONGEST - 1, true));
        assert_eq!(printable_within(2, "abc"), "…");
    }

    #[test]
    fn an_endless_message_is_not_written_to_its_end() {
        struct Endless;

        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("and so on ")?;
                }
            }
        }

        assert!(printable(Endless).len() <= LONGEST);
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read, not looked at")]
    struct Model {
        number: Option<u64>,
        texts: Option<Vec<String>>,
        flag: Option<bool>,
        pair: Option<(u8, u8)>,
        word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    enum Word {
        #[serde(rename = "known")]
        Known,
    }

    #[test]
    fn errors_of_a_reader_keep_all_but_the_value() {
        for (json, message) in [
            (r#"{"number":"hunter2"}"#, "invalid type: string, expected u64 at line 1 column 19"),
            (r#"{"number":"a, expected \"b\""}"#, "invalid type: string, expected u64 at line 1 column 29"),
            (r#"{"number":-72}"#, "invalid value: integer, expected u64 at line 1 column 13"),
            (r#"{"number":7.25}"#, "invalid type: floating point, expected u64 at line 1 column 14"),
            (r#"{"word":"hun, expected ter"}"#, "unknown variant, expected `known` at line 1 column 27"),
            (r#"{"flag":{}}"#, "invalid type: map, expected a boolean at line 1 column 8"),
            (r#"{"texts":[1]}"#, "invalid type: integer, expected a string at line 1 column 11"),
            (r#"{"pair":[1]}"#, "invalid length 1, expected a tuple of size 2 at line 1 column 11"),
            (r#"{"number":1"#, "EOF while parsing an object at line 1 column 11"),
        ] {
            let error = serde_json::from_str::<Model>(json).unwrap_err();
            assert_eq!(without_value(&error), message, "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_clean_line(
            text in "(\\PC|\\p{C}|[\u{1b}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{200b}-\u{200f}\u{2028}\u{feff}\n é]){0,1500}"
        ) {
            let line = printable(&text);
            prop_assert!(line.len() <= LONGEST);
            prop_assert!(!line.contains(|c: char| c.is_control() || shown(c) != Some(c)), "{line:?}");
            prop_assert_eq!(printable(&line), line);
        }

        #[test]
        fn no_value_is_repeated(value in "planted[\\PC\"`,: ]{0,40}", expected in "(, expected |invalid type: )?") {
            let value = serde_json::Value::from(format!("{value}{expected}"));
            for member in ["number", "texts", "flag", "pair", "word"] {
                let error = Model::deserialize(serde_json::json!({ member: value })).unwrap_err();
                let shown = without_value(&error);
                prop_assert!(!shown.contains("planted") && shown.contains(", expected "), "{shown}");
            }
        }
    }
}
