//! A trusted issuer's keys by URL: fetched in the background, never on the path of a call. The last good ones are used for a day.

mod get;
mod metrics;
mod pace;

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use kith_proto::security::v1::SecurityKind;
use kith_runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::TokenRefused;
use super::issuer::{Issuer, IssuerKeys};
use super::key_url::KeyUrl;
use crate::limits::ISSUER_KEYS_LIVE_SECONDS;
use crate::security::{Happened, Security};

pub use get::FetchError;
pub use metrics::KeyFetches;
use pace::{Pace, SOONEST};

const LIVE: Duration = Duration::from_secs(ISSUER_KEYS_LIVE_SECONDS);

/// What says which keys are fetched: of the same ones a changed callers' file leaves the fetched keys as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    issuer: Arc<str>,
    algorithm: Algorithm,
    url: KeyUrl,
}

/// The keys of one issuer, as they were last fetched.
pub struct FetchedKeys {
    place: Place,
    state: RwLock<State>,
    /// Somebody has a token whose key is not among them.
    wanted: Notify,
    metrics: KeyFetches,
    /// Where it is noted that the keys are other ones.
    security: Security,
}

struct State {
    opened: Instant,
    last: Option<Fetched>,
    /// How often the keys were other ones than before.
    version: u64,
}

struct Fetched {
    keys: Arc<IssuerKeys>,
    json: Vec<u8>,
    at: Instant,
}

impl FetchedKeys {
    /// Fetches them from now on (inside tokio's runtime), while somebody holds them.
    pub fn follow(
        issuer: &Issuer,
        url: &KeyUrl,
        runtime: &Runtime,
        metrics: &KeyFetches,
        security: &Security,
    ) -> Arc<Self> {
        let place = Place { issuer: Arc::clone(&issuer.name), algorithm: issuer.algorithm, url: url.clone() };
        let state = RwLock::new(State { opened: Instant::now(), last: None, version: 0 });
        let (metrics, security) = (metrics.clone(), security.clone());
        let keys = Arc::new(Self { place, state, wanted: Notify::new(), metrics, security });
        keys.metrics.watch(&keys);
        runtime.spawn(follow(Arc::downgrade(&keys), runtime.clone()));
        keys
    }

    /// Whether they are the keys that `issuer` has at `url`.
    pub fn are_of(&self, issuer: &Issuer, url: &KeyUrl) -> bool {
        let Place { issuer: name, algorithm, url: place } = &self.place;
        (name, *algorithm, place) == (&issuer.name, issuer.algorithm, url)
    }

    /// The keys, and their version. Fails if they were never fetched, or not for a day.
    pub fn current(&self) -> Result<(Arc<IssuerKeys>, u64), TokenRefused> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &state.last {
            None => Err(TokenRefused::KeysMissing),
            Some(last) if last.at.elapsed() >= LIVE => Err(TokenRefused::KeysStale),
            Some(last) => Ok((Arc::clone(&last.keys), state.version)),
        }
    }

    /// Asks for a fetch before its time: a token names a key that is not among them. It comes no sooner than 30 s after the last one.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    fn issuer(&self) -> &str {
        &self.place.issuer
    }

    /// Since they were fetched, or else since somebody wanted them.
    fn age(&self) -> Duration {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.last.as_ref().map_or(state.opened, |last| last.at).elapsed()
    }

    async fn fetch(&self, runtime: &Runtime) -> Result<(), FetchError> {
        let at = Instant::now();
        let Place { algorithm, url, .. } = &self.place;
        let (json, keys) = read(url, *algorithm, runtime).await?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State { last, version, .. } = &mut *state;
        match last {
            Some(last) if last.json == json => last.at = at,
            last => {
                tracing::info!(issuer = self.issuer(), keys = keys.count(), "an issuer's other keys were fetched");
                self.security.note(Happened::new(SecurityKind::KeysRead, keys.ids()));
                *last = Some(Fetched { keys: Arc::new(keys), json, at });
                *version += 1;
            }
        }
        Ok(())
    }
}

/// Fetches an issuer's keys once, to tell what is there: how many fit its algorithm.
pub async fn look(issuer: &Issuer, url: &KeyUrl, runtime: &Runtime) -> Result<usize, FetchError> {
    let (_, keys) = read(url, issuer.algorithm, runtime).await?;
    Ok(keys.count())
}

async fn read(url: &KeyUrl, algorithm: Algorithm, runtime: &Runtime) -> Result<(Vec<u8>, IssuerKeys), FetchError> {
    let json = get::get(url, runtime).await?;
    let keys = IssuerKeys::parse(&json, algorithm).ok_or(FetchError::NoKeys(algorithm))?;
    Ok((json, keys))
}

async fn follow(keys: Weak<FetchedKeys>, runtime: Runtime) {
    let mut pace = Pace::default();
    loop {
        let Some(held) = keys.upgrade() else { return };
        match held.fetch(&runtime).await {
            Ok(()) => pace.succeeded(),
            Err(error) => {
                held.metrics.failed(held.issuer());
                let failures = pace.failed();
                tracing::warn!(issuer = held.issuer(), %error, failures, "an issuer's keys were not fetched: the last good ones stay");
            }
        }
        drop(held);
        let mut random = [0; 8];
        // Without randomness there is no jitter.
        let _ = runtime.fill_random(&mut random);
        let next = Instant::now() + SOONEST + pace.rest(u64::from_le_bytes(random));
        runtime.sleep(SOONEST).await;
        wait(&keys, &runtime, next, pace.heeds_wishes()).await;
    }
}

/// Waits until the next fetch is due, or until keys are wanted, or nobody holds them.
async fn wait(keys: &Weak<FetchedKeys>, runtime: &Runtime, until: Instant, heeds_wishes: bool) {
    // In steps, so that what nobody holds any more ends soon.
    while Instant::now() < until {
        let Some(held) = keys.upgrade() else { return };
        let step = SOONEST.min(until - Instant::now());
        tokio::select! {
            () = runtime.sleep(step) => {}
            () = held.wanted.notified(), if heeds_wishes => return,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
