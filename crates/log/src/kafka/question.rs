//! One question that many ask at once.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Who asks gets an answer that was begun afterwards. There is one on its way at a time, and the next is for all who have
/// asked by then: each waits for two at most, however many they are.
pub(super) struct Question<A> {
    /// Goes on with each who asks, and with each answer begun.
    clock: AtomicU64,
    /// When it was begun.
    last: Mutex<Option<(u64, A)>>,
}

impl<A> Default for Question<A> {
    fn default() -> Self {
        Self { clock: AtomicU64::new(0), last: Mutex::new(None) }
    }
}

impl<A: Clone> Question<A> {
    pub async fn ask<F: Future<Output = A>>(&self, answer: impl FnOnce() -> F) -> A {
        let asked = self.clock.fetch_add(1, Ordering::AcqRel);
        let mut last = self.last.lock().await;
        if let Some((_, known)) = last.as_ref().filter(|(begun, _)| *begun > asked) {
            return known.clone();
        }
        let begun = self.clock.fetch_add(1, Ordering::AcqRel);
        let known = answer().await;
        *last = Some((begun, known.clone()));
        known
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_meanwhile_get_one_answer_begun_afterwards() {
        let (question, begun) = (Question::default(), Cell::new(0));
        let ask = |after_ms| {
            let (question, begun) = (&question, &begun);
            async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                let answer = || async {
                    begun.set(begun.get() + 1);
                    let number = begun.get();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    number
                };
                question.ask(answer).await
            }
        };
        assert_eq!(join_all([0, 1, 2, 9, 15, 25].map(ask)).await, [1, 2, 2, 2, 3, 4]);
        assert_eq!(ask(0).await, 5, "nobody gets an answer from before");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_keeps_nobody_waiting() {
        let question = Question::default();
        let gone = tokio::time::timeout(Duration::from_millis(1), question.ask(std::future::pending::<u32>));
        assert!(gone.await.is_err());
        assert_eq!(question.ask(|| async { 7 }).await, 7);
    }
}
