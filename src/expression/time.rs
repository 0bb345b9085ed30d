//! Timestamps and durations: how they are written, computed with and taken apart. No clock; zones are in
//! [`super::zone`].

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

use super::error::{Code, EvaluationError};
use super::value::{Outcome, Value};
use super::zone;

/// 0001-01-01T00:00:00Z
const FIRST_SECOND: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z
const LAST_SECOND: i64 = 253_402_300_799;
/// About 10,000 years: the distance of two timestamps is a duration.
const LONGEST_SECONDS: i64 = 315_576_000_000;
const NANOS: i128 = 1_000_000_000;

/// A point in time in the years 1 to 9999, as the time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant(SignedDuration);

impl Instant {
    pub(super) fn new(since_epoch: SignedDuration) -> Result<Self, EvaluationError> {
        let nanos = since_epoch.as_nanos();
        if nanos < i128::from(FIRST_SECOND) * NANOS || nanos >= (i128::from(LAST_SECOND) + 1) * NANOS {
            return Err(EvaluationError::new(
                Code::Overflow,
                "the timestamp is not in the years 1 to 9999",
            ));
        }
        Ok(Instant(since_epoch))
    }

    /// Reads RFC 3339, such as `2026-03-01T12:00:00.5+01:00`.
    pub(super) fn parse(text: &str) -> Result<Self, EvaluationError> {
        let invalid = || EvaluationError::new(Code::Invalid, "a timestamp is written like 2026-03-01T12:00:00Z");
        let since_epoch = parse_timestamp(text).ok_or_else(invalid)?;
        Instant::new(since_epoch)
    }

    /// Whole seconds since 1970, rounded down.
    pub(super) fn seconds(self) -> i64 {
        let nanos = self.0.as_nanos();
        i64::try_from(nanos.div_euclid(NANOS)).expect("the range of an instant is small")
    }

    pub(super) fn plus(self, duration: SignedDuration) -> Result<Self, EvaluationError> {
        let sum = self.0.checked_add(duration);
        Instant::new(sum.ok_or_else(|| EvaluationError::new(Code::Overflow, "the timestamp is out of range"))?)
    }

    pub(super) fn since(self, other: Instant) -> Option<SignedDuration> {
        self.0.checked_sub(other.0)
    }

    /// Date and time of day at an offset from UTC in seconds.
    pub(super) fn at_offset(self, offset: i64) -> Result<DateTime, EvaluationError> {
        let local = self.0.checked_add(SignedDuration::from_secs(offset));
        let local = local.and_then(|local| epoch().checked_add(local).ok());
        local.ok_or_else(|| EvaluationError::new(Code::Overflow, "the timestamp is out of range at this offset"))
    }
}

/// RFC 3339 in UTC, with as many digits of the second as there are.
impl std::fmt::Display for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let utc = self.at_offset(0).map_err(|_| std::fmt::Error)?;
        write!(f, "{:04}-{:02}-{:02}T", utc.year(), utc.month(), utc.day())?;
        write!(f, "{:02}:{:02}:{:02}", utc.hour(), utc.minute(), utc.second())?;
        if utc.subsec_nanosecond() != 0 {
            let digits = format!("{:09}", utc.subsec_nanosecond());
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// A computed duration, if it is in range.
pub(super) fn duration<'a>(duration: Option<SignedDuration>) -> Outcome<'a> {
    match duration {
        Some(duration) if duration.as_nanos().abs() <= i128::from(LONGEST_SECONDS) * NANOS => {
            Ok(Value::Duration(duration))
        }
        _ => Err(EvaluationError::new(
            Code::Overflow,
            "the duration is longer than 10000 years",
        )),
    }
}

/// Seconds with as many digits as there are: `90s`, `-3.5s`.
pub(super) fn format_duration(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, fraction) = (nanos.abs() / NANOS, nanos.abs() % NANOS);
    if fraction == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

/// Reads a duration such as `1h30m`, `-1.5s`, `300ms`, `2d`.
pub(super) fn parse_duration<'a>(text: &str) -> Outcome<'a> {
    let invalid = || EvaluationError::new(Code::Invalid, "a duration is written like 1h30m, 1.5s, 300ms or 2d");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Value::Duration(SignedDuration::ZERO));
    }
    let mut nanos = 0i128;
    let mut parts = 0;
    while !rest.is_empty() {
        let whole = take_digits(&mut rest);
        let fraction = match rest.strip_prefix('.') {
            Some(after) => {
                rest = after;
                take_digits(&mut rest)
            }
            None => "",
        };
        let unit = unit(&mut rest).ok_or_else(invalid)?;
        parts += 1;
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 20 || fraction.len() > 18 || parts > 16 {
            return Err(invalid());
        }
        let number = |digits: &str| digits.parse::<i128>().unwrap_or(0);
        let scale = 10i128.pow(u32::try_from(fraction.len()).expect("at most 18 digits"));
        nanos += number(whole) * unit + number(fraction) * unit / scale;
    }
    if parts == 0 {
        return Err(invalid());
    }
    let nanos = if negative { -nanos } else { nanos };
    let longest = i128::from(LONGEST_SECONDS) * NANOS;
    duration((nanos.abs() <= longest).then(|| SignedDuration::from_nanos_i128(nanos)))
}

fn epoch() -> DateTime {
    date(1970, 1, 1).at(0, 0, 0, 0)
}

fn parse_timestamp(text: &str) -> Option<SignedDuration> {
    // The form is checked byte by byte first: it makes slicing by bytes safe and lets no other form through.
    let form = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    if bytes.len() < form.len() || bytes.len() > 40 {
        return None;
    }
    let fits = form.iter().zip(bytes).all(|(form, byte)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => byte.eq_ignore_ascii_case(&b'T'),
        _ => byte == form,
    });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i16>().ok();
    let byte = |from: usize| text[from..from + 2].parse::<i8>().ok();
    let second = byte(17)?;
    let mut rest = &text[form.len()..];
    let mut nanos = 0;
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        let digits = take_digits(&mut rest);
        if digits.is_empty() || digits.len() > 9 {
            return None;
        }
        nanos = format!("{digits:0<9}").parse().ok()?;
    }
    let local = DateTime::new(number(0, 4)?, byte(5)?, byte(8)?, byte(11)?, byte(14)?, second, nanos).ok()?;
    let offset = if rest.eq_ignore_ascii_case("z") {
        0
    } else {
        zone::parse_offset(rest)?
    };
    local
        .duration_since(epoch())
        .checked_sub(SignedDuration::from_secs(offset))
}

fn take_digits<'t>(rest: &mut &'t str) -> &'t str {
    let end = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(end);
    *rest = after;
    digits
}

/// The unit at the start of the rest, in nanoseconds.
fn unit(rest: &mut &str) -> Option<i128> {
    const UNITS: [(&str, i128); 9] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", NANOS),
        ("m", 60 * NANOS),
        ("h", 3600 * NANOS),
        ("d", 86_400 * NANOS),
    ];
    let (name, nanos) = UNITS.iter().find(|(name, _)| rest.starts_with(name))?;
    *rest = &rest[name.len()..];
    Some(*nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_and_written() {
        for (text, written) in [
            ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
            ("2026-03-01T12:00:00.5+01:00", "2026-03-01T11:00:00.5Z"),
            ("1969-12-31t23:59:59.999999999z", "1969-12-31T23:59:59.999999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(
                Instant::parse(text).map(|t| t.to_string()),
                Ok(written.into()),
                "{text}"
            );
        }
        for text in [
            "",
            "2026-03-01",
            "2026-03-01 12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00:00+0100",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00é",
        ] {
            assert_eq!(Instant::parse(text).map_err(|e| e.code), Err(Code::Invalid), "{text}");
        }
        assert_eq!(
            Instant::parse("0000-01-01T00:00:00Z").map_err(|e| e.code),
            Err(Code::Overflow)
        );
    }

    #[test]
    fn durations_are_read_and_written() {
        let written = |text: &str| match parse_duration(text) {
            Ok(Value::Duration(duration)) => Ok(format_duration(duration)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code),
        };
        for (text, expected) in [
            ("1h30m", "5400s"),
            ("-1.5s", "-1.5s"),
            ("300ms", "0.3s"),
            ("2d", "172800s"),
            ("1us1ns", "0.000001001s"),
            ("0", "0s"),
            (".5h", "1800s"),
            ("315576000000s", "315576000000s"),
        ] {
            assert_eq!(written(text), Ok(expected.into()), "{text}");
        }
        for text in [
            "",
            "-",
            "1",
            "s",
            "1x",
            "1 s",
            ".s",
            "1h-1m",
            "99999999999999999999999s",
        ] {
            assert_eq!(written(text), Err(Code::Invalid), "{text}");
        }
        assert_eq!(written("315576000001s"), Err(Code::Overflow));
    }
}
