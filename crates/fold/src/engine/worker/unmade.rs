//! The search for appends that were not made.

use kith_log::Offset;

use super::Worker;
use crate::FoldError;
use crate::positions::RestartRow;

impl Worker {
    /// Makes the appends that a dead process, or a generation that served before, did not make.
    pub(super) async fn make_up(&mut self) -> Result<(), FoldError> {
        let before = self.context.role.appended_before(self.partition).await?;
        self.live = true;
        self.append_next = self.append_next.max(before);
        let (from, until) = (self.first_unmade(before).await?, self.next);
        let group = &self.context.group;
        let may_append = group.owns(self.partition.topic) || group.folds.iter().any(|fold| fold.appends());
        if may_append && from < until {
            tracing::debug!(partition = %self.partition, from, until, "looking for appends not made");
            return self.replay(from, until).await;
        }
        // Appends that others made count as made here too.
        self.context.state.watermarks.store_appended(self.partition, until).await?;
        self.append_next = self.append_next.max(until);
        Ok(())
    }

    /// The first offset whose appends may be missing. Only complete tables show whether a fold wants an append. If no fold
    /// appends, the only appends are dead letters, and the worker has seen those of the records that it folded itself: such a
    /// partition need not be folded a second time before new records.
    async fn first_unmade(&self, before: Offset) -> Result<Offset, FoldError> {
        let folds_append = self.context.group.folds.iter().any(|fold| fold.appends());
        if folds_append && self.may_lose() {
            return self.judged_on_what_may_be_lost(before).await;
        }
        if folds_append || self.append_next < self.began {
            return Ok(self.append_next);
        }
        Ok(self.poison_from.unwrap_or(self.next).max(self.append_next))
    }

    /// As [`Self::first_unmade`], where the server may have lost rows that a recent judgement rested on: those records are judged
    /// again. `before`: up to where a generation that served before has appended.
    async fn judged_on_what_may_be_lost(&self, before: Offset) -> Result<Offset, FoldError> {
        let restart = self.context.state.watermarks.stored::<RestartRow>(self.partition).await?;
        let since = match restart {
            Some(restart) => restart.position,
            // The tables are younger than the margin. What another generation appended long ago rested on its own.
            None if before > 0 => self.append_next,
            None => self.began,
        };
        Ok(self.append_next.min(since))
    }
}
