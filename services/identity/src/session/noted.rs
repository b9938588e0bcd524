//! Changes of passwords as security events: noted however the call ends.

use kith_proto::errors::v1::Reason;
use kith_proto::security::v1::SecurityKind;
use kith_service::Failure;
use kith_service::auth::Asker;
use kith_service::security::{Happened, Security};

/// How a password is changed, as it is noted.
#[derive(Debug, Clone, Copy)]
pub struct How {
    pub done: &'static str,
    /// Nobody waited until it was certain.
    pub perhaps: &'static str,
}

/// What its owner does, with the old one.
pub const CHANGED: How = How { done: "changed", perhaps: "changed-perhaps" };
/// What a service does, without.
pub const RESET: How = How { done: "reset", perhaps: "reset-perhaps" };

/// Noted when it goes away, also with a call that is cancelled: else whoever cancels in time would hide what it did.
struct Noting<'a> {
    security: &'a Security,
    happened: Option<Happened>,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        self.happened.take().into_iter().for_each(|happened| self.security.note(happened));
    }
}

/// Awaits a command that changes a password, by or for the account that asks, and notes what came of it.
pub async fn noted<T>(
    security: &Security,
    how: How,
    asker: &Asker,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut noting = Noting { security, happened: Some(changed(how.perhaps, asker)) };
    let answer = command.await;
    match &answer {
        Ok(_) => noting.happened = Some(changed(how.done, asker)),
        Err(failure) if may_have_happened(failure) => {}
        Err(_) => noting.happened = None,
    }
    answer
}

fn changed(how: &'static str, asker: &Asker) -> Happened {
    let changed = Happened::new(SecurityKind::PasswordChanged, how);
    match asker.caller() {
        Ok(caller) => changed.about(caller.account_id).from(asker.source()),
        Err(_) => changed.from(asker.source()),
    }
}

fn may_have_happened(failure: &Failure) -> bool {
    matches!(failure.reason(), Reason::OutcomeUnknown | Reason::DeadlineExceeded | Reason::FoldStopped)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use kith_runtime::Runtime;
    use kith_service::keys::secret::Secret;
    use kith_service::metrics::Metrics;

    use super::*;

    #[test]
    fn a_change_is_noted_also_if_nobody_waits_for_its_answer() {
        let (metrics, asker) = (Metrics::default(), Asker::default());
        let security = Security::open(&Runtime::simulated(1, 0), &Secret::from(&[7; 32]), &metrics).unwrap();
        let count = || {
            let text = metrics.encode().unwrap();
            let line = text.lines().find(|line| line.contains("kind=\"PASSWORD_CHANGED\""));
            line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap())
        };
        let answered = |answer: Result<(), Failure>| {
            let before = count();
            let _ = noted(&security, RESET, &asker, async { answer }).now_or_never().unwrap();
            count() - before
        };
        assert_eq!(answered(Ok(())), 1);
        assert_eq!(answered(Err(Failure::outcome_unknown())), 1);
        assert_eq!(answered(Err(Failure::session_ended())), 0, "it lost");
        let before = count();
        assert!(
            noted(&security, RESET, &asker, std::future::pending::<Result<(), Failure>>()).now_or_never().is_none()
        );
        assert_eq!(count() - before, 1, "it was cancelled");
    }
}
