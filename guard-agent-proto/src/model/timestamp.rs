use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// `2026-01-02T03:04:05.123456Z`
const LONGEST: usize = 27;

/// A date and time of day in UTC, to the microsecond, in the years 0001 to 9999.
///
/// Written as RFC 3339. Read with `T` or a space in the middle, with `Z`, an offset or neither (which
/// means UTC) at the end, and with any number of fraction digits, of which six count. JSON may also
/// have a number: seconds since 1970, or milliseconds if it is beyond ±20,000,000,000.
///
/// ```
/// # use guard_agent_proto::Timestamp;
///
/// let time: Timestamp = "2026-01-02 05:04:05.5+02:00".parse()?;
/// assert_eq!(time.to_string(), "2026-01-02T03:04:05.500000Z");
/// assert_eq!(time.as_unix_micros(), 1_767_323_045_500_000);
/// # Ok::<(), guard_agent_proto::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z
    pub const MIN: Self = Self(-62_135_596_800 * MICROS_PER_SECOND);
    /// 9999-12-31T23:59:59.999999Z
    pub const MAX: Self = Self(253_402_300_800 * MICROS_PER_SECOND - 1);

    /// That many microseconds after (before, if negative) 1970-01-01T00:00:00Z, or the nearest of
    /// [`Timestamp::MIN`] and [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            return Self::MIN;
        }
        if micros > Self::MAX.0 {
            return Self::MAX;
        }
        Self(micros)
    }

    /// The time on the system's clock.
    #[cfg(feature = "std")]
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "dates the caller's record; decides nothing")]
    pub fn now() -> Self {
        std::time::SystemTime::now().into()
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_unix_micros(self) -> i64 {
        self.0
    }

    /// Appends what [`Display`](fmt::Display) shows.
    pub(crate) fn write_rfc3339(self, out: &mut Vec<u8>) {
        let (text, len) = self.rfc3339();
        out.extend_from_slice(&text[..len]);
    }

    fn rfc3339(self) -> ([u8; LONGEST], usize) {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let micros = self.0.rem_euclid(MICROS_PER_SECOND);
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);

        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], second_of_day / 3600);
        put(&mut text[14..16], second_of_day / 60 % 60);
        put(&mut text[17..19], second_of_day % 60);
        if micros == 0 {
            text[19] = b'Z';
            return (text, 20);
        }
        put(&mut text[20..26], micros);
        (text, LONGEST)
    }

    fn from_unix_number(number: f64) -> Option<Self> {
        // Where the reference tells seconds from milliseconds.
        let micros = number * if number.abs() <= 2e10 { 1e6 } else { 1e3 };
        let rounded = if micros < 0.0 { micros - 0.5 } else { micros + 0.5 };
        in_range(rounded as i64)
    }
}

#[cfg(feature = "std")]
impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        let micros = |duration: core::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => Self::from_unix_micros(micros(after)),
            Err(before) => Self::from_unix_micros(-micros(before.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, len) = self.rfc3339();
        f.write_str(core::str::from_utf8(&text[..len]).unwrap_or_default())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        parse(text.as_bytes()).ok_or(TimestampError)
    }
}

/// A text that is not a date and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampError;

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an RFC 3339 date and time of the years 0001 to 9999")
    }
}

impl core::error::Error for TimestampError {}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimestampVisitor;

        impl Visitor<'_> for TimestampVisitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 date and time of the years 0001 to 9999")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Timestamp, E> {
                let factor = if number.unsigned_abs() <= 20_000_000_000 { 1_000_000 } else { 1_000 };
                number
                    .checked_mul(factor)
                    .and_then(in_range)
                    .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Timestamp, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Timestamp, E> {
                Timestamp::from_unix_number(number)
                    .ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
            }
        }

        deserializer.deserialize_any(TimestampVisitor)
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let (head, rest) = text.split_at_checked(19)?;
    let separators = [head[4], head[7], head[13], head[16]] == *b"--::" && b"Tt ".contains(&head[10]);
    if !separators {
        return None;
    }
    let (year, month, day) = (number(&head[0..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..19])?);
    // 60 is a leap second, which ends in the next minute here.
    if year == 0 || day == 0 || day > days_in_month(year, month)? || hour > 23 || minute > 59 || second > 60 {
        return None;
    }

    let (micros, rest) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let offset = match rest {
        [] | [b'Z' | b'z'] => 0,
        [b'+', offset @ ..] => offset_minutes(offset)?,
        [b'-', offset @ ..] => -offset_minutes(offset)?,
        _ => return None,
    };
    let seconds =
        days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + (minute - offset) * 60 + second;
    in_range(seconds * MICROS_PER_SECOND + micros)
}

/// Microseconds, and what follows the digits.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    let mut micros = number(digits.get(..len.min(6))?)?;
    for _ in len..6 {
        micros *= 10;
    }
    (len > 0).then_some((micros, rest))
}

/// `HH:MM`, `HHMM` or `HH`.
fn offset_minutes(text: &[u8]) -> Option<i64> {
    let (hours, minutes) = match *text {
        [a, b] => ([a, b], *b"00"),
        [a, b, b':', c, d] | [a, b, c, d] => ([a, b], [c, d]),
        _ => return None,
    };
    let (hours, minutes) = (number(&hours)?, number(&minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// At most six digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

fn put(digits: &mut [u8], mut number: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn in_range(micros: i64) -> Option<Timestamp> {
    (Timestamp::MIN.0..=Timestamp::MAX.0).contains(&micros).then_some(Timestamp(micros))
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => Some(29),
        2 => Some(28),
        _ => None,
    }
}

/// Days since 1970-01-01. Years begin in March, so that the leap day is the last of a year.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The inverse: year, month and day.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (text, written) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02t03:04:05z", "2026-01-02T03:04:05Z"),
            ("2026-01-02 03:04:05+00:00", "2026-01-02T03:04:05Z"),
            ("2026-01-02 03:04:05.123456+00:00", "2026-01-02T03:04:05.123456Z"),
            ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.5", "2026-01-02T03:04:05.500000Z"),
            ("2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.1234569999999999999Z", "2026-01-02T03:04:05.123456Z"),
            ("2026-01-02T00:30:00+01:00", "2026-01-01T23:30:00Z"),
            ("2026-01-01T23:30:00-0130", "2026-01-02T01:00:00Z"),
            ("2026-01-01T23:30:00-01", "2026-01-02T00:30:00Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("2000-02-29T23:59:59Z", "2000-02-29T23:59:59Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(
                text.parse::<Timestamp>().map(|time| time.to_string()),
                Ok(written.to_string()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-01-02",
            "2026-01-02T03:04",
            "2026-01-02T03:04Z",
            "2026-01-02_03:04:05Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05,5Z",
            "2026-01-02T03:04:05ZZ",
            "2026-01-02T03:04:05 Z",
            "2026-01-02T03:04:05+1",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05+01:60",
            "2026-01-02T03:04:05+",
            "2026-13-02T03:04:05Z",
            "2026-00-02T03:04:05Z",
            "2026-01-00T03:04:05Z",
            "2026-01-32T03:04:05Z",
            "2026-04-31T03:04:05Z",
            "2026-02-29T03:04:05Z",
            "1900-02-29T03:04:05Z",
            "2026-01-02T24:04:05Z",
            "2026-01-02T03:60:05Z",
            "2026-01-02T03:04:61Z",
            "0000-01-01T00:00:00Z",
            "+026-01-02T03:04:05Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "9999-12-31T23:59:60Z",
            " 2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05\u{e9}",
            "2026-01-02T03:04:0\u{e9}",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn json_may_have_numbers() {
        for (json, written) in [
            ("0", "1970-01-01T00:00:00Z"),
            ("-1", "1969-12-31T23:59:59Z"),
            ("1767323045", "2026-01-02T03:04:05Z"),
            ("1767323045123", "2026-01-02T03:04:05.123000Z"),
            ("1767323045.5", "2026-01-02T03:04:05.500000Z"),
            ("1767323045123.25", "2026-01-02T03:04:05.123250Z"),
            ("-0.5", "1969-12-31T23:59:59.500000Z"),
            ("20000000000", "2603-10-11T11:33:20Z"),
            ("20000000001", "1970-08-20T11:33:20.001000Z"),
        ] {
            let time: Timestamp = serde_json::from_str(json).unwrap();
            assert_eq!(time.to_string(), written, "{json}");
        }
        for json in ["1e300", "-1e300", "9223372036854775807", "18446744073709551615", "true", "null", "\"\""]
        {
            assert!(serde_json::from_str::<Timestamp>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn times_beyond_the_years_are_held_at_the_ends() {
        assert_eq!(Timestamp::from_unix_micros(i64::MIN).to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_unix_micros(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn days_count_on_through_all_years() {
        let mut days = days_from_civil(1, 1, 1);
        for year in 1..=9999 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month).unwrap() {
                    assert_eq!(days_from_civil(year, month, day), days);
                    assert_eq!(civil_from_days(days), (year, month, day));
                    days += 1;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn times_come_back_as_written(micros in any::<i64>()) {
            let time = Timestamp::from_unix_micros(micros);
            let text = time.to_string();
            prop_assert_eq!(text.parse(), Ok(time));
            prop_assert_eq!(text.replace('T', " ").replace('Z', "+00:00").parse(), Ok(time));
            let json = serde_json::to_string(&time).unwrap();
            prop_assert_eq!(&json, &format!("\"{text}\""));
            prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
            let mut written = Vec::new();
            time.write_rfc3339(&mut written);
            prop_assert_eq!(written, text.as_bytes());
        }

        #[test]
        fn reading_never_panics(text in "[0-9TZ:.+ -]{0,40}|\\PC{0,40}", number in any::<f64>()) {
            let _ = text.parse::<Timestamp>();
            let _ = Timestamp::from_unix_number(number);
        }
    }
}
