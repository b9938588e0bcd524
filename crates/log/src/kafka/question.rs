//! One request shared by concurrent callers.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

/// Each caller gets an answer that was started after its call. One is in flight at a time, also if callers go away, and
/// the next one is for all who have asked by then: each waits for at most two, however many callers there are.
pub(super) struct Question<A: Clone> {
    /// The number of started answers, and the last of them.
    last: Mutex<(u64, Option<Answer<A>>)>,
}

type Answer<A> = Shared<BoxFuture<'static, A>>;

impl<A: Clone> Default for Question<A> {
    fn default() -> Self {
        Self { last: Mutex::new((0, None)) }
    }
}

impl<A: Clone + Send + Sync + 'static> Question<A> {
    pub async fn ask<F>(&self, answer: impl Fn() -> F) -> A
    where
        F: Future<Output = A> + Send + 'static,
    {
        let asked_after = self.last.lock().unwrap_or_else(PoisonError::into_inner).0;
        loop {
            let (begun, on_its_way) = self.next(asked_after, &answer);
            let known = on_its_way.await;
            if begun > asked_after {
                return known;
            }
        }
    }

    /// The answer in flight that was started after `asked_after` others; otherwise a new one.
    fn next<F>(&self, asked_after: u64, answer: impl Fn() -> F) -> (u64, Answer<A>)
    where
        F: Future<Output = A> + Send + 'static,
    {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, known) = &mut *last;
        match known {
            Some(known) if *begun > asked_after || known.peek().is_none() => (*begun, known.clone()),
            _ => {
                *begun += 1;
                (*begun, known.insert(answer().boxed().shared()).clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;

    /// A question whose answers take 10 ms, and are numbered.
    #[derive(Default)]
    struct Desk {
        question: Question<u64>,
        begun: Arc<AtomicU64>,
    }

    impl Desk {
        /// `None`: it was not there within so many ms.
        async fn ask(&self, after_ms: u64, within_ms: u64) -> Option<u64> {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let answer = || {
                let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
                async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    number
                }
            };
            tokio::time::timeout(Duration::from_millis(within_ms), self.question.ask(answer)).await.ok()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_meanwhile_get_one_answer_begun_afterwards() {
        let desk = Desk::default();
        let answers = join_all([0, 1, 2, 9, 15, 25].map(|after_ms| desk.ask(after_ms, 60))).await;
        assert_eq!(answers, [1, 2, 2, 2, 3, 4].map(Some));
        assert_eq!(desk.ask(0, 60).await, Some(5), "nobody gets an answer from before");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_comes_though_all_who_wait_are_in_a_hurry() {
        let desk = Desk::default();
        let answers = join_all((0..100).map(|after_ms| desk.ask(after_ms, 15))).await;
        let answered = answers.iter().flatten().count();
        assert!(answered >= 40, "{answered} of 100 had 15 ms for an answer of 10");
        assert!(desk.begun.load(Ordering::Relaxed) <= 11, "one on its way at a time");
    }
}
