//! Dates, times and intervals as text: ISO 8601, and PostgreSQL's own form for intervals. Not time zones: a timestamptz
//! is UTC.

use std::fmt::Write;

use jiff::Span;
use jiff::civil::DateTime;

use super::Problem;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Days since 2000-01-01.
pub(super) fn date(days: i32) -> Result<String, Problem> {
    match days {
        i32::MAX => Ok("infinity".to_owned()),
        i32::MIN => Ok("-infinity".to_owned()),
        days => Ok(after_epoch(Span::new().try_days(days).map_err(|_| out_of_range())?)?
            .date()
            .to_string()),
    }
}

/// Microseconds since midnight; 24:00:00 is a time in PostgreSQL.
pub(super) fn time(micros: i64) -> Result<String, Problem> {
    if !(0..=MICROS_PER_DAY).contains(&micros) {
        return Err(out_of_range());
    }
    Ok(clock(micros))
}

/// Microseconds since 2000-01-01, followed by `zone`.
pub(super) fn timestamp(micros: i64, zone: &str) -> Result<String, Problem> {
    match micros {
        i64::MAX => return Ok("infinity".to_owned()),
        i64::MIN => return Ok("-infinity".to_owned()),
        _ => {}
    }
    let days = Span::new()
        .try_days(micros.div_euclid(MICROS_PER_DAY))
        .map_err(|_| out_of_range())?;
    let date = after_epoch(days)?.date();
    Ok(format!("{date}T{}{zone}", clock(micros.rem_euclid(MICROS_PER_DAY))))
}

/// Microseconds, days and months, as PostgreSQL writes them: `1 year 2 mons 3 days 04:05:06.5`.
pub(super) fn interval(raw: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = raw;
    let micros = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let days = i32::from_be_bytes([i, j, k, l]);
    let months = i32::from_be_bytes([m, n, o, p]);
    let mut parts = Vec::new();
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        match count {
            0 => {}
            1 => parts.push(format!("1 {unit}")),
            count => parts.push(format!("{count} {unit}s")),
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = if micros < 0 { "-" } else { "" };
        let size = micros.unsigned_abs();
        let mut text = format!(
            "{sign}{:02}:{:02}:{:02}",
            size / 3_600_000_000,
            size / 60_000_000 % 60,
            size / 1_000_000 % 60
        );
        fraction(&mut text, size % 1_000_000);
        parts.push(text);
    }
    parts.join(" ")
}

fn after_epoch(span: Span) -> Result<DateTime, Problem> {
    const EPOCH: DateTime = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
    let date = EPOCH.checked_add(span).map_err(|_| out_of_range())?;
    // Years before 1 would be written with a sign that PostgreSQL does not read.
    if date.year() < 1 { Err(out_of_range()) } else { Ok(date) }
}

fn clock(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    fraction(&mut text, (micros % MICROS_PER_SECOND).unsigned_abs());
    text
}

fn fraction(text: &mut String, micros: u64) {
    if micros > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ".{micros:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
}

fn out_of_range() -> Problem {
    "a time outside of the years 1 to 9999; cast it to text".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_iso_8601() {
        assert_eq!(date(0).unwrap(), "2000-01-01");
        assert_eq!(date(-1).unwrap(), "1999-12-31");
        assert_eq!(date(i32::MAX).unwrap(), "infinity");
        assert!(date(i32::MAX - 1).is_err());
        assert!(date(-800_000).is_err());
        assert_eq!(time(0).unwrap(), "00:00:00");
        assert_eq!(time(MICROS_PER_DAY).unwrap(), "24:00:00");
        assert_eq!(time(45_296_500_000).unwrap(), "12:34:56.5");
        assert_eq!(timestamp(-1, "Z").unwrap(), "1999-12-31T23:59:59.999999Z");
        assert_eq!(timestamp(1_000, "").unwrap(), "2000-01-01T00:00:00.001");
        assert_eq!(timestamp(i64::MIN, "Z").unwrap(), "-infinity");
    }

    #[test]
    fn intervals_are_written_as_postgresql_writes_them() {
        let raw = |micros: i64, days: i32, months: i32| {
            let mut raw = [0; 16];
            raw[..8].copy_from_slice(&micros.to_be_bytes());
            raw[8..12].copy_from_slice(&days.to_be_bytes());
            raw[12..].copy_from_slice(&months.to_be_bytes());
            interval(raw)
        };
        assert_eq!(raw(14_706_500_000, 3, 14), "1 year 2 mons 3 days 04:05:06.5");
        assert_eq!(raw(0, 0, 0), "00:00:00");
        assert_eq!(raw(-1_000_000, 1, 0), "1 day -00:00:01");
        assert_eq!(raw(0, -2, -1), "-1 mons -2 days");
    }
}
