//! Ages as kubectl shows them, and how long something took.

use jiff::{SignedDuration, Timestamp};

/// How long ago `then` was: `5s`, `4m12s`, `3h`, `2d`.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// How long something took: `12ms`, `1.250s`, `4m12s`, `3h5m`, `2d4h`.
pub fn span(took: SignedDuration) -> String {
    let millis = took.as_millis().max(0);
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}.{:03}s", millis % 1000),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_get_coarser() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (252, "4m12s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (400 * 86400, "400d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(now - SignedDuration::from_secs(seconds), now), expected);
        }
        assert_eq!(age(now + SignedDuration::from_secs(5), now), "0s", "clocks differ");
    }

    #[test]
    fn spans_are_as_exact_as_they_are_short() {
        let cases = [
            (0, "0ms"),
            (12, "12ms"),
            (1250, "1.250s"),
            (59_999, "59.999s"),
            (252_000, "4m12s"),
            (11_100_000, "3h5m"),
            (187_200_000, "2d4h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(span(SignedDuration::from_millis(millis)), expected);
        }
    }
}
