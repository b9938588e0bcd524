use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Polls until `check` returns something, at most for `within`. `what` completes "not within 5s: …". An `Err` of
/// `check` ends the wait at once.
pub async fn until<T>(what: &str, within: Duration, mut check: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = check().await? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("not within {within:?}: {what}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_until_it_is_so() {
        let mut left = 3;
        let answer = until("three looks", Duration::from_secs(5), async || {
            left -= 1;
            Ok((left == 0).then_some("done"))
        });
        assert_eq!(answer.await.unwrap(), "done");
    }

    #[tokio::test]
    async fn gives_up_at_its_deadline() {
        let error = until::<()>("a miracle", Duration::from_millis(30), async || Ok(None)).await.unwrap_err();
        assert!(error.to_string().contains("a miracle"), "{error}");
    }
}
