//! Durations as people write them in manifests: `300ms`, `1h30m`, `7d`.

use std::time::Duration;

use super::limits;

/// Units and their length in nanoseconds; a unit that begins like another one stands before it.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Go's format without sign, and `d` for days of 24 hours: numbers with a unit, each with an optional fraction.
///
/// # Errors
/// What is wrong, for people.
pub fn parse(text: &str) -> Result<Duration, String> {
    let malformed = || {
        format!(
            "`{}` is not a duration; write for example 300ms, 30s, 1h30m or 7d",
            shown(text)
        )
    };
    if text.is_empty() {
        return Err("a duration must not be empty; write for example 30s".to_owned());
    }
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        // Eighteen digits of a unit fit in 128 bits with room to spare.
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.len() > 18 {
            return Err(malformed());
        }
        let (unit, length) = UNITS
            .into_iter()
            .find(|(unit, _)| after.starts_with(unit))
            .ok_or_else(malformed)?;
        nanos += number(whole) * length;
        nanos += number(fraction) * length / 10u128.pow(fraction.len() as u32);
        rest = &after[unit.len()..];
    }
    if nanos > limits::DURATION.as_nanos() {
        return Err(format!("`{}` is too long: at most ten years", shown(text)));
    }
    let duration = Duration::from_nanos_u128(nanos);
    Ok(duration)
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn number(digits: &str) -> u128 {
    digits
        .bytes()
        .fold(0, |number, digit| number * 10 + u128::from(digit - b'0'))
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_and_go_write_them() {
        for (text, millis) in [
            ("300ms", 300),
            ("1s", 1_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("1d1h1m1s1ms", 90_061_001),
            ("0s", 0),
            ("2000us", 2),
            ("2000µs", 2),
            ("3000000ns", 3),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "1",
            "s",
            "1 s",
            "-1s",
            "+1s",
            "1x",
            "1s2",
            ".s",
            "1..2s",
            "1w",
            "1S",
            "9999999999999999999s",
            "٣s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("3660d").is_ok());
        assert!(parse("3661d").unwrap_err().contains("ten years"));
    }
}
