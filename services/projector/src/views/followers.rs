//! Who follows an author: the fold of `followers`, with how many, and whether the author's posts are pulled.
//!
//! # Why no entry is missed
//!
//! A reader must find each entry of an author followed either in `home`, or in the author's feed by way of `pulls`.
//! Three kinds of writers meet, each first making its own row durable and then reading what the others write:
//!
//! * **post**: P1 write the author's feed; P2 read the flag and, beside it, P3 the followers, and write `home` if the flag
//!   is not there;
//! * **follow**: F1 write the follower's row and the highest count; F2 read all highest counts (their sum above the
//!   threshold: *big*) and the flag; F3 if big or flagged, write this reader's `pulls`, and if not flagged, read the
//!   author's feed, write `home`;
//! * **flagging**, by a follow that found the author big and not flagged: G1 read the followers, write `pulls` for each;
//!   G2, when those are durable, write the flag.
//!
//! The flag never goes away, highest counts never fall, and readers merge `pulls` and `home`. Take a reader's follow F,
//! the one that stands, and a post P of the author:
//!
//! 1. *P2 saw no flag, and P3 came past the reader's place after F1*: P3 wrote the row.
//! 2. *P2 saw no flag, and P3 came past before F1*: so P1 was before F1, before F2. If F2 saw no flag, F3 read the
//!    author's feed with P in it. If it saw one, F3 wrote `pulls`.
//! 3. *P2 saw a flag*: some G1 was over before. If it came past the reader's place after F1, it wrote `pulls`. If before,
//!    then F2 is later than that, hence later than the F2 that found the author big, hence finds it big too: F3 wrote
//!    `pulls`. And in the author's feed P is, from P1.
//!
//! A page of a read is one that began after the step before it ended; a row that is there when it begins is not skipped.
//! A crash anywhere has all of a record's effects made again; they are constants at fixed positions, so an old process
//! that still writes writes the same. A follow that ended and stands again is another F.

use std::sync::Arc;

use kith_fold::{Effect, Fold, Record, Rows, Scope, Then};
use kith_log::{LogPartition, PartitionIndex, topics};
use kith_relations::edge::Change;
use kith_tables::{Key, MAX_GET_ROWS, Row, RowKey, RowType, Table};

use super::audience::{FOLLOWERS, FlagRow, FollowersSummary, each_follower, flag_key, is_flagged};
use super::follows::FollowRow;
use super::home::HOME;
use super::pulls::PULLS;
use super::{author_feed, pulls, signed, unsigned};

/// Folds followers by whom they follow, and has what the target wrote before reach them.
pub struct Followers {
    /// An author with more followers than this, ever, is pulled.
    pub push_threshold: u64,
    pub partition_count: PartitionIndex,
}

impl Fold for Followers {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&FOLLOWERS, &HOME, &PULLS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        Some(Scope::new(&FOLLOWERS, Key::text(change.target)).with::<FollowRow>([change.actor.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let before = rows.get::<FollowRow>([change.actor.into()]).unwrap_or_default();
        let mut row = before.clone();
        row.evolve(&change, record);
        if row.following != before.following {
            rows.set_summary(rows.summary::<FollowersSummary>().after(row.following));
        }
        rows.put([change.actor.into()], row);
    }

    /// Of the last `Followed` of a follow that stands, and of no other: an earlier one's, or an ended one's, would reach
    /// nobody, and the last one's are made with it.
    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(change) = Change::of(record) else { return Vec::new() };
        let row = rows.get::<FollowRow>([change.actor.into()]).unwrap_or_default();
        if !row.following || row.follow_position != signed(record.position.offset) {
            return Vec::new();
        }
        let follow = Follow {
            reader: change.actor.to_owned(),
            author: change.target.to_owned(),
            since_us: row.since_us(),
            position: record.position.offset,
        };
        vec![self.reach(follow)]
    }
}

/// A follow that stands.
#[derive(Clone)]
struct Follow {
    reader: String,
    author: String,
    since_us: i64,
    position: u64,
}

impl Followers {
    /// F2 and F3.
    fn reach(&self, follow: Follow) -> Effect {
        let sources = (0..self.partition_count).map(|index| LogPartition { topic: topics::IDENTITY, index }.source());
        let keys = std::iter::once(flag_key()).chain(sources.map(|source| FOLLOWERS.summary_key(source))).collect();
        let threshold = self.push_threshold;
        let author = Key::text(&follow.author);
        let then = move |read: &[Option<Row>]| {
            let flagged = read.iter().take(1).flatten().any(is_flagged);
            let highest: u64 = read.iter().skip(1).flatten().map(highest_count).sum();
            follow.reaches(flagged, highest > threshold)
        };
        read_all(author, keys, Vec::new(), Arc::new(then))
    }
}

impl Follow {
    fn reaches(&self, flagged: bool, big: bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        if flagged || big {
            effects.push(pulls::put(&self.reader, &self.author, self.position));
        }
        if !flagged {
            effects.push(author_feed::backfill(&self.author, &self.reader, self.since_us));
        }
        if big && !flagged {
            effects.extend(flag(&self.author));
        }
        effects
    }
}

/// G1 and G2.
fn flag(author: &str) -> Vec<Effect> {
    let of_author = author.to_owned();
    let pull =
        move |follower: &str, row: &FollowRow| vec![pulls::put(follower, &of_author, unsigned(row.follow_position))];
    let flag = Effect::put(&FOLLOWERS, Key::text(author), flag_key().clustering, FlagRow { pulled: true }, 0);
    vec![each_follower(author, None, pull), Effect::After(vec![flag])]
}

/// Reads any number of rows, as many at once as a store gives. What is asked here only grows, so that it does not
/// matter that they are not read at one moment.
fn read_all(author: Key, mut keys: Vec<RowKey>, read: Vec<Option<Row>>, then: Then<[Option<Row>]>) -> Effect {
    let rest = keys.split_off(keys.len().min(MAX_GET_ROWS));
    let partition = author.clone();
    let go_on = move |rows: &[Option<Row>]| {
        let read = [&read, rows].concat();
        if rest.is_empty() {
            return then(&read);
        }
        vec![read_all(author.clone(), rest.clone(), read, Arc::clone(&then))]
    };
    Effect::Read { table: &FOLLOWERS, partition, rows: keys, then: Arc::new(go_on) }
}

/// Of a summary row, whose first column is the mark.
fn highest_count(row: &Row) -> u64 {
    let own = row.columns.get(1..).unwrap_or_default().to_vec();
    let highest = FollowersSummary::from_columns(own).map_or(0, |summary| summary.highest_count);
    u64::try_from(highest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_of_more_rows_than_a_store_gives_is_made_in_parts() {
        let keys: Vec<RowKey> = (1..=1_300).map(|source| FOLLOWERS.summary_key(source)).collect();
        let count = |read: &[Option<Row>]| {
            assert_eq!(read.len(), 1_300);
            vec![pulls::put("reader", "author", 7)]
        };
        let mut effect = read_all(Key::text("author"), keys, Vec::new(), Arc::new(count));
        let mut parts = Vec::new();
        while let Effect::Read { rows, then, .. } = effect {
            parts.push(rows.len());
            effect = then(&vec![None; rows.len()]).remove(0);
        }
        assert_eq!(parts, [512, 512, 276]);
        assert!(matches!(effect, Effect::Put(put) if put.write.position == 7));
    }

    #[test]
    fn a_follow_reaches_by_push_by_pull_or_by_both_while_that_changes() {
        let follow = Follow { reader: "r".into(), author: "a".into(), since_us: 0, position: 3 };
        let kinds = |flagged, big| -> Vec<&str> {
            let kind = |effect: &Effect| match effect {
                Effect::Put(put) => put.table.name,
                Effect::ForEach(walk) => walk.table.name,
                Effect::After(_) => "after",
                Effect::Read { .. } | Effect::Append(_) | Effect::AppendThen(..) => "other",
            };
            follow.reaches(flagged, big).iter().map(kind).collect()
        };
        assert_eq!(kinds(false, false), ["author_feed"]);
        assert_eq!(kinds(false, true), ["pulls", "author_feed", "followers", "after"]);
        assert_eq!(kinds(true, true), ["pulls"]);
        // The threshold was raised after the flag was set: the flag stays.
        assert_eq!(kinds(true, false), ["pulls"]);
    }
}
