//! Which authors a reader pulls: `pulls`. A row says that the author is, or was about to become, one whose posts are not
//! pushed; it stays when the follow ends, and counts only while it stands.

use kith_fold::{Effect, Found, State};
use kith_tables::{Column, Key, MAX_SLICE_ROWS, Order, RowRange, Section, StoreError, Table, row};

pub static PULLS: Table = Table {
    name: "pulls",
    partition: &[Column::text("reader_id")],
    clustering: &[Column::text("author_id")],
    order: Order::Ascending,
    sections: &[Section::of::<PullRow>("pull")],
    summary: &[],
};

row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PullRow in 0 { pub pulled: bool }
}

/// Has the reader pull the author. The row is the reader's: `follow_position` is the offset of a `Followed` of theirs.
pub(super) fn put(reader: &str, author: &str, follow_position: u64) -> Effect {
    Effect::put(&PULLS, Key::text(reader), [author.into()], PullRow { pulled: true }, follow_position)
}

/// The authors that the reader pulls, at most `limit` of them, in the order of their ids.
pub async fn authors(state: &State, reader: &str, limit: usize) -> Result<Vec<String>, StoreError> {
    let key = Key::text(reader);
    let mut authors: Vec<String> = Vec::new();
    while authors.len() < limit {
        let after = authors.last().map(|last| vec![last.as_str().into()]);
        let range = RowRange { after, ..RowRange::all::<PullRow>() };
        let asked = (limit - authors.len()).min(MAX_SLICE_ROWS);
        let page: Vec<Found<PullRow>> = state.slice(&PULLS, &key, range, asked).await?;
        authors.extend(page.iter().map(|found| found.text(0).to_owned()));
        if page.len() < asked {
            break;
        }
    }
    Ok(authors)
}
