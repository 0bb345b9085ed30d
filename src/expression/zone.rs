//! Time zones of accessors: `UTC`, an offset such as `+02:00`, or a name such as `Europe/Berlin`.
//!
//! The data about names is compiled in, never the machine's: workers of one release agree, whatever image they run in.

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

use super::error::{Code, EvaluationError};
use super::time::Instant;

/// Longer than any name of a zone.
const NAME_BYTES: usize = 64;

/// How far local time in a zone is ahead of UTC at an instant, in seconds.
pub(super) fn offset_at(instant: Instant, zone: &str) -> Result<i64, EvaluationError> {
    fixed(zone).or_else(|| named(instant, zone)).ok_or_else(|| {
        let message = "a time zone is UTC, an offset such as +02:00, or a name such as Europe/Berlin";
        EvaluationError::new(Code::Invalid, message)
    })
}

/// `+02:00` in seconds.
pub(super) fn parse_offset(text: &str) -> Option<i64> {
    let [sign @ (b'+' | b'-'), hours @ .., b':', tens, ones] = text.as_bytes() else {
        return None;
    };
    if !(hours.len() == 2 && hours.iter().chain([tens, ones]).all(u8::is_ascii_digit)) {
        return None;
    }
    let (hours, minutes) = (text[1..3].parse::<i64>().ok()?, text[4..6].parse::<i64>().ok()?);
    let seconds = hours * 3600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -seconds } else { seconds })
}

/// A zone whose offset is the same for ever. CEL lets the plus sign be left out.
fn fixed(zone: &str) -> Option<i64> {
    match zone {
        "UTC" | "Z" => Some(0),
        _ if zone.len() == "02:00".len() => parse_offset(&format!("+{zone}")),
        _ => parse_offset(zone),
    }
}

fn named(instant: Instant, zone: &str) -> Option<i64> {
    if zone.len() > NAME_BYTES {
        return None;
    }
    let zone = TimeZoneDatabase::bundled().get(zone).ok()?;
    if zone.is_unknown() {
        return None;
    }
    // The last day of the year 9999 is beyond jiff's range, and no rule changes an offset on that day.
    let seconds = instant.seconds().min(Timestamp::MAX.as_second());
    let at = Timestamp::from_second(seconds).ok()?;
    Some(i64::from(zone.to_offset(at).seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn offset(instant: &str, zone: &str) -> Option<i64> {
        offset_at(Instant::parse(instant).unwrap(), zone)
            .map_err(|error| assert_eq!(error.code, Code::Invalid))
            .ok()
    }

    #[test]
    fn offsets_are_the_same_at_any_time() {
        for (zone, seconds) in [
            ("UTC", 0),
            ("Z", 0),
            ("+02:00", 7200),
            ("02:00", 7200),
            ("-08:30", -30600),
            ("+23:59", 86340),
        ] {
            for instant in ["0001-01-01T00:00:00Z", "2026-07-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
                assert_eq!(offset(instant, zone), Some(seconds), "{zone}");
            }
        }
    }

    #[test]
    fn offset_of_a_name_is_that_of_the_instant() {
        for (instant, zone, seconds) in [
            ("2026-03-29T00:59:59.999999999Z", "Europe/Berlin", 3600),
            ("2026-03-29T01:00:00Z", "Europe/Berlin", 7200),
            ("2026-10-25T00:59:59Z", "Europe/Berlin", 7200),
            ("2026-10-25T01:00:00Z", "Europe/Berlin", 3600),
            ("1890-01-01T00:00:00Z", "Europe/Berlin", 3208),
            ("2500-07-01T00:00:00Z", "Europe/Berlin", 7200),
            ("2026-07-01T00:00:00Z", "Asia/Kathmandu", 20700),
            ("2026-07-01T00:00:00Z", "America/St_Johns", -9000),
            ("0001-01-01T00:00:00Z", "Etc/UTC", 0),
            ("9999-12-31T23:59:59Z", "Pacific/Kiritimati", 50400),
        ] {
            assert_eq!(offset(instant, zone), Some(seconds), "{zone} at {instant}");
        }
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        let long = "Europe/".repeat(20);
        for zone in [
            "",
            "Europe/Berln",
            "Etc/Unknown",
            "+2:00",
            "+24:00",
            "+02:60",
            "+02:00:00",
            "+0200",
            "é2:00",
            "+é:00",
            "../../etc/passwd",
            "/etc/localtime",
            "Europe/Berlin\0",
            &long,
        ] {
            assert_eq!(offset("2026-07-01T00:00:00Z", zone), None, "{zone}");
        }
    }
}
