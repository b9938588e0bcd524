//! Deadlines: every RPC has one. The caller's `grpc-timeout`, else the default, never more than the cap.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::Failure;
use crate::limits::{DEADLINE_MARGIN_MS, DEADLINE_MIN_MS};

const TIMEOUT_HEADER: &str = "grpc-timeout";
const TIMEOUT_DIGITS_MAX: usize = 8;

/// When the server answers at the latest: a little before the caller gives up, so that the reason still arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    pub fn after(duration: Duration) -> Self {
        Self { at: Instant::now() + duration }
    }

    pub fn at(&self) -> Instant {
        self.at
    }

    /// What is left for waits and calls onward; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// The deadline of the RPC that `request` belongs to. Without the layers (a unit test) it is the default, 5 s.
pub fn deadline<T>(request: &tonic::Request<T>) -> Deadline {
    let set = request.extensions().get::<Deadline>().copied();
    set.unwrap_or_else(|| Deadline::after(DeadlineRules::default().default))
}

/// What applies when the caller asks for nothing, and the most that a caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadlineRules {
    pub default: Duration,
    pub max: Duration,
}

impl Default for DeadlineRules {
    fn default() -> Self {
        Self { default: Duration::from_secs(5), max: Duration::from_secs(30) }
    }
}

impl DeadlineRules {
    /// The deadline for a request with these headers, from now.
    ///
    /// Fails with INVALID_ARGUMENT when `grpc-timeout` cannot be read, with DEADLINE_EXCEEDED when it leaves less than
    /// 5 ms: nothing has been done then.
    pub fn admit(&self, headers: &HeaderMap) -> Result<Deadline, Failure> {
        let asked = match headers.get(TIMEOUT_HEADER) {
            Some(value) => value.to_str().ok().and_then(parse_timeout).ok_or_else(Failure::timeout_malformed)?,
            None => self.default,
        };
        if asked < Duration::from_millis(DEADLINE_MIN_MS) {
            return Err(Failure::deadline_too_short());
        }
        Ok(Deadline::after(asked.min(self.max) - Duration::from_millis(DEADLINE_MARGIN_MS)))
    }
}

/// gRPC over HTTP/2: up to 8 digits and one of H, M, S, m, u, n.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3_600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(timeout: Option<&str>) -> Result<Duration, String> {
        let mut headers = HeaderMap::new();
        if let Some(timeout) = timeout {
            headers.insert(TIMEOUT_HEADER, timeout.parse().unwrap());
        }
        let deadline = DeadlineRules::default().admit(&headers);
        deadline.map(|deadline| deadline.remaining()).map_err(|failure| format!("{:?}", failure.code()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_deadline_holds_up_to_the_cap() {
        let ms = |ms| Ok(Duration::from_millis(ms));
        assert_eq!(admit(None), ms(4_998));
        assert_eq!(admit(Some("1S")), ms(998));
        assert_eq!(admit(Some("250m")), ms(248));
        assert_eq!(admit(Some("50000u")), ms(48));
        for long in ["31S", "1M", "1H", "99999999H"] {
            assert_eq!(admit(Some(long)), ms(29_998), "{long}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_leaves_no_time_is_refused_at_once() {
        for short in ["0S", "4m", "4999u", "99999n"] {
            assert_eq!(admit(Some(short)), Err("DeadlineExceeded".into()), "{short}");
        }
        assert!(admit(Some("5m")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreadable_deadline_is_an_invalid_argument() {
        for bad in ["5x", "", "S", "5", "-5S", "+5S", "5.0S", "123456789S", "5 S", "5SS", "5s"] {
            assert_eq!(admit(Some(bad)), Err("InvalidArgument".into()), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_remains_runs_out_and_stays_at_zero() {
        let deadline = Deadline::after(Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(deadline.remaining(), Duration::ZERO);
    }
}
