//! Load: closed loops, which wait for each answer, and open ones, which come at a fixed rate whatever the answers do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use kith_fold::Token;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::tokens;

/// Significant digits of a histogram.
const DIGITS: u8 = 3;
/// Calls of an open loop that wait for their answer; more are not sent, and counted so.
const OPEN_CALLS_MAX: usize = 4_096;

/// Makes call number `n`; gives the token of its answer, or nothing where it has none.
pub type Call = Arc<dyn Fn(u64) -> BoxFuture<'static, Result<String, Status>> + Send + Sync>;

/// What came of a load.
pub struct Outcome {
    pub answered: u64,
    /// By code.
    pub failed: BTreeMap<i32, u64>,
    /// One of those that failed, and after how long.
    failure: Option<(Status, Duration)>,
    /// Calls of an open loop that were not made, since too many waited already.
    pub unsent: u64,
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// Of the calls answered OK, from when they were to start, µs.
    pub latency: Histogram<u64>,
    /// Of all answers together.
    pub token: Token,
}

impl Outcome {
    fn new() -> Result<Self> {
        let latency = Histogram::new(DIGITS)?;
        let (failed, elapsed, token) = (BTreeMap::new(), Duration::ZERO, Token::default());
        Ok(Self { answered: 0, failed, failure: None, unsent: 0, elapsed, latency, token })
    }

    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    /// Milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1_000.0
    }

    pub fn refused(&self) -> u64 {
        self.failed.get(&i32::from(Code::ResourceExhausted)).copied().unwrap_or(0)
    }

    /// An error unless every call was answered OK.
    pub fn all_ok(self) -> Result<Self> {
        if let Some((status, took)) = &self.failure {
            anyhow::bail!("calls failed, by gRPC code: {:?}; one after {took:.1?}: {}", self.failed, status.message());
        }
        anyhow::ensure!(self.unsent == 0, "{} calls could not be made in time", self.unsent);
        Ok(self)
    }

    fn note(&mut self, answer: Result<String, Status>, took: Duration) {
        match answer {
            Ok(token) => {
                self.answered += 1;
                // A quarter of an hour at most, which fits.
                let _ = self.latency.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                if let Some(token) = tokens::open(&token) {
                    self.token.merge(&token);
                }
            }
            Err(status) => {
                *self.failed.entry(i32::from(status.code())).or_default() += 1;
                self.failure.get_or_insert((status, took));
            }
        }
    }

    fn add(&mut self, other: Self) -> Result<()> {
        self.answered += other.answered;
        for (code, count) in other.failed {
            *self.failed.entry(code).or_default() += count;
        }
        self.failure = self.failure.take().or(other.failure);
        self.latency.add(other.latency)?;
        self.token.merge(&other.token);
        Ok(())
    }
}

/// `in_flight` callers, each with one call at a time, for so long. `numbers` gives each call its own.
pub async fn closed(call: &Call, in_flight: usize, within: Duration, numbers: &Arc<AtomicU64>) -> Result<Outcome> {
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        let (call, numbers) = (Arc::clone(call), Arc::clone(numbers));
        callers.spawn(async move {
            let mut own = Outcome::new()?;
            while started.elapsed() < within {
                let at = Instant::now();
                let answer = call(numbers.fetch_add(1, Ordering::Relaxed)).await;
                own.note(answer, at.elapsed());
            }
            anyhow::Ok(own)
        });
    }
    let mut all = Outcome::new()?;
    while let Some(own) = callers.join_next().await {
        all.add(own??)?;
    }
    all.elapsed = started.elapsed();
    Ok(all)
}

/// One call after the other, with a rest before each.
pub async fn spaced(call: &Call, rest: Duration, count: u64, numbers: &Arc<AtomicU64>) -> Result<Outcome> {
    let (started, mut all) = (Instant::now(), Outcome::new()?);
    for _ in 0..count {
        tokio::time::sleep(rest).await;
        let at = Instant::now();
        let answer = call(numbers.fetch_add(1, Ordering::Relaxed)).await;
        all.note(answer, at.elapsed());
    }
    all.elapsed = started.elapsed();
    Ok(all)
}

/// So many calls a second, each at its time; its latency counts from then, so that waiting is not hidden.
pub async fn open(call: &Call, rate: f64, within: Duration, numbers: &Arc<AtomicU64>) -> Result<Outcome> {
    let started = Instant::now();
    let total = (rate * within.as_secs_f64()) as u64;
    let mut calls = JoinSet::new();
    let mut all = Outcome::new()?;
    for n in 0..total {
        let due = started + Duration::from_secs_f64(n as f64 / rate);
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        while let Some(answer) = calls.try_join_next() {
            let (answer, took) = answer?;
            all.note(answer, took);
        }
        if calls.len() >= OPEN_CALLS_MAX {
            all.unsent += 1;
            continue;
        }
        let called = call(numbers.fetch_add(1, Ordering::Relaxed));
        calls.spawn(async move { (called.await, due.elapsed()) });
    }
    while let Some(answer) = calls.join_next().await {
        let (answer, took) = answer?;
        all.note(answer, took);
    }
    all.elapsed = started.elapsed();
    Ok(all)
}
