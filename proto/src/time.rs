//! Protobuf timestamps as micro- and milliseconds since 1970-01-01T00:00:00Z, and back. Nothing here panics, whatever comes
//! in. What happens in the suite is dated in microseconds; what operators look at, in milliseconds.

use prost_types::Timestamp;

/// 0001-01-01T00:00:00.000Z, the first moment that a `google.protobuf.Timestamp` may name.
pub const MIN_UNIX_MS: i64 = MIN_SECONDS * MS_PER_SECOND;
/// 9999-12-31T23:59:59.999Z, the last one.
pub const MAX_UNIX_MS: i64 = MAX_SECONDS * MS_PER_SECOND + 999;

const MIN_SECONDS: i64 = -62_135_596_800;
const MAX_SECONDS: i64 = 253_402_300_799;
const MS_PER_SECOND: i64 = 1_000;
const NANOS_PER_MS: i32 = 1_000_000;
const US_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_US: i32 = 1_000;
const MIN_UNIX_US: i64 = MIN_SECONDS * US_PER_SECOND;
const MAX_UNIX_US: i64 = MAX_SECONDS * US_PER_SECOND + 999_999;
const MAX_NANOS: i32 = 999_999_999;

/// A timestamp that names no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a moment between the years 1 and 9999")]
pub struct InvalidTimestamp;

/// The timestamp of a moment; one outside the years 1 to 9999 becomes the nearest within.
pub fn timestamp(unix_ms: i64) -> Timestamp {
    let unix_ms = unix_ms.clamp(MIN_UNIX_MS, MAX_UNIX_MS);
    // The remainder is below 1,000, so it fits.
    let ms_of_second = unix_ms.rem_euclid(MS_PER_SECOND) as i32;
    Timestamp { seconds: unix_ms.div_euclid(MS_PER_SECOND), nanos: ms_of_second * NANOS_PER_MS }
}

/// As [`timestamp`], of microseconds.
pub fn of_us(unix_us: i64) -> Timestamp {
    let unix_us = unix_us.clamp(MIN_UNIX_US, MAX_UNIX_US);
    // The remainder is below 1,000,000, so it fits.
    let us_of_second = unix_us.rem_euclid(US_PER_SECOND) as i32;
    Timestamp { seconds: unix_us.div_euclid(US_PER_SECOND), nanos: us_of_second * NANOS_PER_US }
}

/// As [`unix_ms`], whole microseconds.
pub fn unix_us(timestamp: Option<&Timestamp>) -> i64 {
    let Some(timestamp) = timestamp else { return 0 };
    let (seconds, nanos) = within(timestamp);
    seconds * US_PER_SECOND + i64::from(nanos / NANOS_PER_US)
}

/// The moment that a timestamp of a request names, whole milliseconds, rounded towards the past.
/// Fails for one that protobuf does not allow.
pub fn parse_unix_ms(timestamp: &Timestamp) -> Result<i64, InvalidTimestamp> {
    let allowed =
        (MIN_SECONDS..=MAX_SECONDS).contains(&timestamp.seconds) && (0..=MAX_NANOS).contains(&timestamp.nanos);
    if allowed { Ok(unix_ms(Some(timestamp))) } else { Err(InvalidTimestamp) }
}

/// The moment that a timestamp of an event names, whole milliseconds, rounded towards the past. Total, because a fold may
/// not fail: what is out of range becomes the nearest within, and no timestamp at all is 0.
pub fn unix_ms(timestamp: Option<&Timestamp>) -> i64 {
    let Some(timestamp) = timestamp else { return 0 };
    let (seconds, nanos) = within(timestamp);
    seconds * MS_PER_SECOND + i64::from(nanos / NANOS_PER_MS)
}

fn within(timestamp: &Timestamp) -> (i64, i32) {
    (timestamp.seconds.clamp(MIN_SECONDS, MAX_SECONDS), timestamp.nanos.clamp(0, MAX_NANOS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back() {
        for unix_ms_in in [0, 1, 999, 1_000, -1, -999, -1_000, -1_001, 1_700_000_000_123, MIN_UNIX_MS, MAX_UNIX_MS] {
            let written = timestamp(unix_ms_in);
            assert!((0..=MAX_NANOS).contains(&written.nanos), "{written:?}");
            assert_eq!(unix_ms(Some(&written)), unix_ms_in);
            assert_eq!(parse_unix_ms(&written), Ok(unix_ms_in));
        }
        for unix_us_in in [0, 1, 999_999, -1, -1_000_001, 1_700_000_000_123_456, MIN_UNIX_US, MAX_UNIX_US] {
            let written = of_us(unix_us_in);
            assert_eq!(unix_us(Some(&written)), unix_us_in);
            assert_eq!(unix_ms(Some(&written)), unix_us_in.div_euclid(1_000));
        }
    }

    #[test]
    fn the_bounds_are_the_calendars() {
        assert_eq!(timestamp(MIN_UNIX_MS).to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(timestamp(MAX_UNIX_MS).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(timestamp(i64::MIN), timestamp(MIN_UNIX_MS));
        assert_eq!(timestamp(i64::MAX), timestamp(MAX_UNIX_MS));
    }

    #[test]
    fn hostile_timestamps_are_refused_or_bounded() {
        let hostile = [
            (i64::MIN, 0, MIN_UNIX_MS),
            (i64::MAX, i32::MAX, MAX_UNIX_MS),
            (MAX_SECONDS + 1, 0, MAX_SECONDS * MS_PER_SECOND),
            (5, -1, 5_000),
            (5, i32::MIN, 5_000),
            (5, MAX_NANOS + 1, 5_999),
        ];
        for (seconds, nanos, bounded) in hostile {
            let timestamp = Timestamp { seconds, nanos };
            assert_eq!(parse_unix_ms(&timestamp), Err(InvalidTimestamp), "{timestamp:?}");
            assert_eq!(unix_ms(Some(&timestamp)), bounded, "{timestamp:?}");
        }
        assert_eq!((unix_ms(None), unix_us(None)), (0, 0));
        assert_eq!((of_us(i64::MIN), of_us(i64::MAX)), (of_us(MIN_UNIX_US), of_us(MAX_UNIX_US)));
    }
}
