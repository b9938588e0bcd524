//! The rows of changes of handles: what was asked for, what came of it, and when an account changed its handle.

use bytes::Bytes;
use kith_content::Content;
use kith_service::limits::{HANDLE_CHANGES, HANDLE_CHANGES_SECONDS};
use kith_tables::{Cell, Column, Kind, Order, RowType, Section, Table, Timestamp, Value, row};

pub static CHANGES: Table = Table {
    name: "handle_changes",
    partition: &[Column::text("account_id")],
    clustering: &[Column::text("intent_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ChangeRow>("change")],
    summary: ChangesSummary::COLUMNS,
};

/// The columns `outcome` of a change: its claim is not judged yet.
pub const UNDER_WAY: i64 = 0;
pub const WON: i64 = 1;
/// Another account has the handle, or it is held back for one.
pub const TAKEN: i64 = 2;
/// Another change was under way.
pub const ANOTHER_UNDER_WAY: i64 = 3;
pub const TOO_OFTEN: i64 = 4;

row! {
    /// A change that was asked for. Its row's position is the intent's, and from its end on that of `HandleChangeSettled`.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ChangeRow in 0 {
        pub won: bool,
        pub outcome: i64,
        pub handle_key: String,
        /// The handle that the account has before it.
        pub from_handle_key: String,
        pub content: Content,
        pub payload_digest: Bytes,
        /// One more than the offset of `HandleChangeSettled`; 0: there is none.
        pub settle_next: i64,
    }
}
row! {
    /// What the changes so far come to.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ChangesSummary in 0 {
        /// The change that is under way; empty: none.
        pub under_way: String,
        /// The handle that the last one gave; empty: none did.
        pub handle_key: String,
        pub times: ChangeTimes,
    }
}

impl ChangeRow {
    /// Whether it is still open what comes of it.
    pub fn is_under_way(&self) -> bool {
        self.outcome == UNDER_WAY
    }
}

/// When an account changed its handle, oldest first: as many times as are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeTimes(Vec<i64>);

impl ChangeTimes {
    pub fn add(&mut self, at: Timestamp) {
        if self.0.len() >= HANDLE_CHANGES {
            self.0.remove(0);
        }
        self.0.push(at.0);
    }

    /// How long, from `at` on, the account has to wait for its next change, in microseconds; `None`: not at all.
    pub fn wait_us(&self, at: Timestamp) -> Option<i64> {
        let oldest = self.0.first().filter(|_| self.0.len() >= HANDLE_CHANGES)?;
        let wait = oldest.saturating_add(us(HANDLE_CHANGES_SECONDS)).saturating_sub(at.0);
        (wait > 0).then_some(wait)
    }
}

impl Cell for ChangeTimes {
    const KIND: Kind = Kind::Blob;

    fn into_value(self) -> Value {
        Value::Blob(self.0.iter().flat_map(|at| at.to_be_bytes()).collect())
    }

    fn from_value(value: Value) -> Option<Self> {
        let bytes = Bytes::from_value(value)?;
        let times = bytes.chunks(8).map(|chunk| chunk.try_into().ok().map(i64::from_be_bytes));
        times.collect::<Option<Vec<_>>>().filter(|times| times.len() <= HANDLE_CHANGES).map(Self)
    }
}

/// Seconds as microseconds.
pub fn us(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}
