//! Defects of the contest for handles: of who gets one.

use kith_fold::{Fold, Record, Rows};
use kith_identity::arbiter::OwnerSummary;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;

use super::Planted;

/// Judges a claim as the defect does.
pub(super) fn judge(defect: Planted, (rows, record, event): (&mut Rows, &Record, &Private), fold: &dyn Fold) {
    let forgets_owner = match event {
        Private::AccountRequested(_) => defect == Planted::LastClaimWins,
        Private::HandleClaimRequested(_) => defect == Planted::TakenHandleGiven,
        _ => false,
    };
    if forgets_owner {
        let owner = OwnerSummary { account_id: String::new(), ..rows.summary::<OwnerSummary>() };
        rows.set_summary(owner);
    }
    fold.apply(rows, record);
    if defect == Planted::HeldHandleGiven {
        let owner = OwnerSummary { held_for: String::new(), ..rows.summary::<OwnerSummary>() };
        rows.set_summary(owner);
    }
}
