//! The whole of an inbox, for sums over it.

use kith_fold::{Found, State};
use kith_tables::{Key, MAX_SLICE_ROWS, RowRange, StoreError};

use super::{INBOX, InboxRow};

/// Conversations of one account whose unread messages are counted; more than these are left out, and the answer says so.
pub const CONVERSATIONS_PER_INBOX: usize = 10_000;
/// Rows that are read for that: of a group that its member left a row stays, which is none of these.
const ROWS_READ: usize = 2 * CONVERSATIONS_PER_INBOX;

/// What an account's inbox holds.
#[derive(Default)]
pub struct Inbox {
    /// In no order that means anything.
    pub conversations: Vec<Found<InboxRow>>,
    /// Whether some are missing, as there are too many.
    pub incomplete: bool,
    /// How many rows there were so far.
    read: usize,
}

impl Inbox {
    /// The next rows by id, of which there are more if so many were asked for; gives whether to go on.
    fn take(&mut self, page: Vec<Found<InboxRow>>) -> bool {
        let more = page.len() >= MAX_SLICE_ROWS;
        self.read += page.len();
        let room = CONVERSATIONS_PER_INBOX.saturating_sub(self.conversations.len());
        let mut there = page.into_iter().filter(|found| !found.row.places.standing().is_empty());
        self.conversations.extend(there.by_ref().take(room));
        self.incomplete = there.next().is_some() || more && self.read >= ROWS_READ;
        more && !self.incomplete
    }
}

/// The whole inbox of an account, at most [`CONVERSATIONS_PER_INBOX`]: a sum over all needs them all.
pub async fn whole(state: &State, account_id: &str) -> Result<Inbox, StoreError> {
    let (key, mut inbox, mut after) = (Key::text(account_id), Inbox::default(), None);
    loop {
        let range = RowRange { after, ..RowRange::all::<InboxRow>() };
        let page = state.slice::<InboxRow>(&INBOX, &key, range, MAX_SLICE_ROWS).await?;
        after = page.last().map(|last| last.clustering.clone());
        if !inbox.take(page) {
            return Ok(inbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_tables::Timestamp;

    use super::*;
    use crate::places::Places;

    fn rows(count: usize, is_there: bool) -> Vec<Found<InboxRow>> {
        let mut places = Places::default();
        if is_there {
            places.be_active(3, Timestamp(9), 7);
        }
        let row = InboxRow { places, ..InboxRow::default() };
        let found = || Found { clustering: Vec::new(), position: 0, row: row.clone() };
        std::iter::repeat_with(found).take(count).collect()
    }

    #[test]
    fn groups_that_somebody_left_take_the_place_of_no_conversation() {
        let mut inbox = Inbox::default();
        for _ in 0..CONVERSATIONS_PER_INBOX / MAX_SLICE_ROWS + 1 {
            assert!(inbox.take(rows(MAX_SLICE_ROWS, false)));
        }
        assert!(!inbox.take(rows(5, true)));
        assert_eq!((inbox.conversations.len(), inbox.incomplete), (5, false));
    }

    #[test]
    fn what_is_read_is_bounded_and_that_some_are_missing_is_said() {
        let mut left = Inbox::default();
        let pages = (0..1_000).take_while(|_| left.take(rows(MAX_SLICE_ROWS, false))).count();
        assert_eq!((pages + 1, left.incomplete), (ROWS_READ.div_ceil(MAX_SLICE_ROWS), true));
        let mut full = Inbox::default();
        while full.take(rows(MAX_SLICE_ROWS, true)) {}
        assert_eq!((full.conversations.len(), full.incomplete), (CONVERSATIONS_PER_INBOX, true));
    }
}
