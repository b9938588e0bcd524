//! The views, one file each: its table, its rows, its fold, its queries.
//!
//! Which of them write what:
//!
//! | Table | Evolved by | Spread to by |
//! |---|---|---|
//! | [`cards`] | posts, engagement | |
//! | [`follows`] | identity | |
//! | `followers` ([`audience`], [`followers`]) | identity | identity (the flag) |
//! | [`author_feed`] | posts, engagement | |
//! | [`home`] | | posts and engagement (push), identity (backfill) |
//! | [`pulls`] | | identity |
//! | `tag_feed` (beside `feed`, which shows its posts) | | posts |

pub mod audience;
pub mod author_feed;
pub mod cards;
pub mod followers;
pub mod follows;
pub mod home;
pub mod pulls;

use kith_log::Offset;
use kith_relations::signed;

/// An offset read from a column.
fn unsigned(offset: i64) -> Offset {
    Offset::try_from(offset).unwrap_or(0)
}
