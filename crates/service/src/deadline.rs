//! Deadlines: every RPC has one. The caller's `grpc-timeout`, else the default, never more than the cap.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::Failure;
use crate::limits::{DEADLINE_MARGIN_MS, DEADLINE_MIN_MS, DEADLINE_WAIT_MARGIN_MS, DEADLINE_WAIT_MARGIN_PERCENT};

const TIMEOUT_HEADER: &str = "grpc-timeout";
const TIMEOUT_DIGITS_MAX: usize = 8;
/// The margin of waits is at most this fraction of a short deadline.
const WAIT_MARGIN_SHARE: u32 = 10;

/// The two ends of a call, both before the caller gives up, so that the reason still arrives. A handler's waits (for a
/// token, a verdict, the log) end at [`Self::at`]; its remaining work is cut a little later.
///
/// The first end is earlier because grpcio and similar clients round a deadline up when they send it, by up to 1 %, but
/// give up at the exact time: an answer in that gap is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    answer_by: Instant,
    /// Of a call that sets none.
    default: Duration,
}

impl Deadline {
    pub fn after(duration: Duration) -> Self {
        let at = Instant::now() + duration;
        Self { at, answer_by: at, default: duration }
    }

    /// That of a call that begins now and sets none: for each thing that a long-lived answer does after its beginning.
    pub fn renewed(&self) -> Self {
        Self::after(self.default)
    }

    /// When a handler's waits end.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// When the call is answered, whatever the state of its handler.
    pub(crate) fn answer_by(&self) -> Instant {
        self.answer_by
    }

    /// The time left for waits and outgoing calls; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// The deadline of the RPC that `request` belongs to. Without the layers (a unit test) it is the default, 5 s.
pub fn deadline<T>(request: &tonic::Request<T>) -> Deadline {
    let set = request.extensions().get::<Deadline>().copied();
    set.unwrap_or_else(|| Deadline::after(DeadlineRules::default().default))
}

/// The default deadline, and the maximum.
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
        let (now, given) = (Instant::now(), asked.min(self.max));
        let margin = Duration::from_millis(DEADLINE_MARGIN_MS);
        let (at, answer_by) = (now + (given - margin.max(wait_margin(given))), now + (given - margin));
        Ok(Deadline { at, answer_by, default: self.default })
    }
}

/// How much earlier than the caller a wait ends.
fn wait_margin(given: Duration) -> Duration {
    let least = Duration::from_millis(DEADLINE_WAIT_MARGIN_MS).min(given / WAIT_MARGIN_SHARE);
    least.max(given * DEADLINE_WAIT_MARGIN_PERCENT / 100)
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

    /// How long the answer may take, and how much earlier the waits end.
    fn ends(timeout: Option<&str>) -> Result<(Duration, Duration), String> {
        let mut headers = HeaderMap::new();
        if let Some(timeout) = timeout {
            headers.insert(TIMEOUT_HEADER, timeout.parse().unwrap());
        }
        let deadline = DeadlineRules::default().admit(&headers).map_err(|failure| format!("{:?}", failure.code()))?;
        assert!(deadline.at() >= Instant::now());
        Ok((deadline.answer_by() - Instant::now(), deadline.answer_by() - deadline.at()))
    }

    fn admit(timeout: Option<&str>) -> Result<Duration, String> {
        ends(timeout).map(|(answer, _)| answer)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_end_before_a_caller_that_rounded_its_deadline_up_gives_up() {
        for (asked, earlier_than_caller_us) in [
            ("5m", 2_000),
            ("50m", 5_000),
            ("500m", 20_000),
            ("1S", 20_000),
            ("2S", 40_000),
            ("10S", 200_000),
            ("30S", 600_000),
        ] {
            let (_, earlier) = ends(Some(asked)).unwrap();
            assert_eq!(earlier.as_micros() + 1_000 * u128::from(DEADLINE_MARGIN_MS), earlier_than_caller_us, "{asked}");
        }
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
    async fn what_comes_after_the_beginning_has_the_configured_time() {
        let rules = DeadlineRules { default: Duration::from_secs(9), max: Duration::from_secs(30) };
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT_HEADER, "1S".parse().unwrap());
        let deadline = rules.admit(&headers).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(deadline.renewed().remaining(), Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn what_remains_runs_out_and_stays_at_zero() {
        let deadline = Deadline::after(Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(deadline.remaining(), Duration::ZERO);
    }
}
