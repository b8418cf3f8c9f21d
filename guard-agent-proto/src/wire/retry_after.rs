use alloc::format;
use core::time::Duration;

use crate::{Response, Timestamp};

/// A platform may not ask for a longer wait than this.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// Characters of the value that are looked at.
const MAX_CHARS: usize = 64;
const FIFTY_YEARS: i64 = 50 * 31_557_600 * 1_000_000;

/// Reads a `Retry-After` value: seconds or an HTTP date, capped at 300 s; `None` when unreadable, not
/// finite, negative or in the past. `wall` is the time by the clock of the side that sent it.
pub(crate) fn parse_retry_after(value: &str, wall: Timestamp) -> Option<Duration> {
    let value = beginning(value);
    match value.parse::<f64>() {
        Ok(seconds) => seconds_to_wait(seconds),
        Err(_) => until(value, wall),
    }
}

/// The time of an answer by the clock of the side that sent it, or by ours if it carries no readable date. A time that
/// the answer names is to be compared with this one, since the clocks of client and platform may be hours apart.
pub(crate) fn sent_at(response: &Response, wall: Timestamp) -> Timestamp {
    response.date.as_deref().and_then(|date| parse_http_date(beginning(date), wall)).unwrap_or(wall)
}

fn beginning(value: &str) -> &str {
    let end = value.char_indices().nth(MAX_CHARS).map_or(value.len(), |(end, _)| end);
    value[..end].trim()
}

fn seconds_to_wait(seconds: f64) -> Option<Duration> {
    if !seconds.is_finite() {
        return None;
    }
    Duration::try_from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64())).ok()
}

fn until(date: &str, wall: Timestamp) -> Option<Duration> {
    let at = parse_http_date(date, wall)?.as_unix_micros();
    let wait = u64::try_from(at.checked_sub(wall.as_unix_micros())?).ok()?;
    Some(Duration::from_micros(wait).min(MAX_WAIT))
}

/// Any of the three forms of an HTTP date:
/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`.
fn parse_http_date(date: &str, wall: Timestamp) -> Option<Timestamp> {
    let mut words = date.split([' ', ',', '-']).filter(|word| !word.is_empty());
    let mut next = || words.next();
    let (weekday, second, third) = (next()?, next()?, next()?);
    if !weekday.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let (day, month, year, time) = match month(second) {
        Some(month) => {
            let time = next()?;
            (third, month, next()?, time)
        }
        None => {
            let (year, time) = (next()?, next()?);
            if next()? != "GMT" {
                return None;
            }
            (second, month(third)?, year, time)
        }
    };
    if next().is_some() {
        return None;
    }
    let in_century =
        |century: &str| format!("{century}{year}-{month:02}-{day:0>2}T{time}Z").parse::<Timestamp>().ok();
    match year.len() {
        4 => in_century(""),
        // Two digits mean the past when they would otherwise be more than 50 years ahead.
        2 => in_century("20")
            .filter(|at| at.as_unix_micros().saturating_sub(wall.as_unix_micros()) <= FIFTY_YEARS)
            .or_else(|| in_century("19")),
        _ => None,
    }
}

fn month(name: &str) -> Option<u8> {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..).zip(NAMES).find_map(|(month, known)| (known == name).then_some(month))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    /// 1994-11-06T08:49:07Z, half a minute before the dates of the table.
    const WALL: Timestamp = Timestamp::from_unix_micros(784_111_747_000_000);

    #[test]
    fn values() {
        for (value, expected) in [
            ("5", Some(5.0)),
            (" 5 ", Some(5.0)),
            ("+3", Some(3.0)),
            ("0.5", Some(0.5)),
            ("1e3", Some(300.0)),
            ("0", Some(0.0)),
            ("9999", Some(300.0)),
            ("1e300", Some(300.0)),
            ("1e999", None),
            ("nan", None),
            ("inf", None),
            ("-inf", None),
            ("-5", None),
            ("", None),
            ("abc", None),
            ("0x10", None),
            ("5,6", None),
            ("1_0", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30.0)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30.0)),
            ("Sun Nov  6 08:49:37 1994", Some(30.0)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0.0)),
            ("Sun, 06 Nov 1994 08:49:06 GMT", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(300.0)),
            ("Sun, 31 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 2094 08:49:37 GMT", Some(300.0)),
            ("Sunday, 06-Nov-95 08:49:37 GMT", Some(300.0)),
            ("Sunday, 06-Nov-45 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 PST", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT GMT", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nod 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 94994 08:49:37 GMT", None),
            ("1, 06 Nov 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(parse_retry_after(value, WALL), expected.map(Duration::from_secs_f64), "{value:?}");
        }
    }

    #[test]
    fn only_the_first_characters_count() {
        let mut value = String::from("5");
        value.push_str(&" ".repeat(MAX_CHARS - 1));
        value.push_str("garbage");
        assert_eq!(parse_retry_after(&value, WALL), Some(Duration::from_secs(5)));
        assert_eq!(parse_retry_after(&"é".repeat(MAX_CHARS + 1), WALL), None);
    }

    #[test]
    fn an_answer_is_dated_by_its_sender() {
        let dated = |date: &str| {
            let response = Response { date: Some(date.into()), ..Response::default() };
            sent_at(&response, WALL)
        };
        let sent = Timestamp::from_unix_micros(WALL.as_unix_micros() + 30_000_000);
        assert_eq!(dated("Sun, 06 Nov 1994 08:49:37 GMT"), sent);
        assert_eq!(dated(" Sunday, 06-Nov-94 08:49:37 GMT"), sent);
        for unreadable in ["", "now", "784111747", "Sun, 06 Nov 1994 08:49:37 PST"] {
            assert_eq!(dated(unreadable), WALL, "{unreadable:?}");
        }
        assert_eq!(sent_at(&Response::default(), WALL), WALL);
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_within_the_cap(value in ".{0,80}", wall: i64) {
            let wait = parse_retry_after(&value, Timestamp::from_unix_micros(wall));
            prop_assert!(wait.is_none_or(|wait| wait <= MAX_WAIT));
        }

        #[test]
        fn dates_never_panic(
            value in "(Sun|Sunday),? [0-9]{1,4}[ -](Nov|Feb)[ -][0-9]{1,4} [0-9:]{0,9} GMT",
            wall: i64,
        ) {
            let wait = parse_retry_after(&value, Timestamp::from_unix_micros(wall));
            prop_assert!(wait.is_none_or(|wait| wait <= MAX_WAIT));
        }
    }
}
