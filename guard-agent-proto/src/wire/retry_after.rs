use core::time::Duration;

use crate::Timestamp;

/// A platform may not ask for a longer wait than this.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// Characters of the value that are looked at.
const MAX_CHARS: usize = 64;
const FIFTY_YEARS: i64 = 50 * 31_557_600;

/// Reads a `Retry-After` value: seconds or an HTTP date, capped at 300 s; `None` when unreadable, not
/// finite, negative or in the past.
pub(crate) fn parse_retry_after(value: &str, wall: Timestamp) -> Option<Duration> {
    let end = value.char_indices().nth(MAX_CHARS).map_or(value.len(), |(end, _)| end);
    let value = value[..end].trim();
    match value.parse::<f64>() {
        Ok(seconds) => seconds_to_wait(seconds),
        Err(_) => until(value, wall),
    }
}

fn seconds_to_wait(seconds: f64) -> Option<Duration> {
    if !seconds.is_finite() {
        return None;
    }
    Duration::try_from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64())).ok()
}

fn until(date: &str, wall: Timestamp) -> Option<Duration> {
    let now = wall.as_unix_micros();
    let micros = parse_http_date(date, now / 1_000_000)?.checked_mul(1_000_000)?;
    let wait = u64::try_from(micros.checked_sub(now)?).ok()?;
    Some(Duration::from_micros(wait).min(MAX_WAIT))
}

/// Seconds since the epoch of any of the three forms of an HTTP date:
/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`.
fn parse_http_date(date: &str, now: i64) -> Option<i64> {
    let mut words = date.split([' ', ',', '-', ':']).filter(|word| !word.is_empty());
    let mut next = || words.next();
    let (weekday, second, third) = (next()?, next()?, next()?);
    if !weekday.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let (day, month, year, time) = match month(second) {
        Some(month) => {
            let time = [number(next()?)?, number(next()?)?, number(next()?)?];
            (number(third)?, month, next()?, time)
        }
        None => {
            let year = next()?;
            let time = [number(next()?)?, number(next()?)?, number(next()?)?];
            if next()? != "GMT" {
                return None;
            }
            (number(second)?, month(third)?, year, time)
        }
    };
    if next().is_some() {
        return None;
    }
    match (year.len(), number(year)?) {
        (4, year) => unix_seconds(year, month, day, time),
        // Two digits mean the past when they would otherwise be more than 50 years ahead.
        (2, year) => unix_seconds(2000 + year, month, day, time)
            .filter(|at| *at <= now.saturating_add(FIFTY_YEARS))
            .or_else(|| unix_seconds(1900 + year, month, day, time)),
        _ => None,
    }
}

fn month(name: &str) -> Option<i64> {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..).zip(NAMES).find_map(|(month, known)| (known == name).then_some(month))
}

fn number(digits: &str) -> Option<i64> {
    (digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn unix_seconds(year: i64, month: i64, day: i64, [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let in_range = (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    in_range.then(|| ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, for years from 0 on: years that begin in
/// March put the leap day last.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
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
            ("Fri, 31 Dec 9999 23:59:60 GMT", Some(300.0)),
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
    fn dates_follow_the_calendar() {
        for (year, month, day, expected) in [
            (1970, 1, 1, 0),
            (1969, 12, 31, -1),
            (2000, 2, 29, 11_016),
            (2000, 3, 1, 11_017),
            (2100, 3, 1, 47_541),
            (1, 1, 1, -719_162),
        ] {
            assert_eq!(days_since_epoch(year, month, day), expected, "{year}-{month}-{day}");
        }
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
