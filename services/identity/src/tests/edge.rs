use std::collections::BTreeSet;

use kith_fold::{EVENTS, Effect, Fold, Rows};
use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{Blocked, FollowCut, Followed, FollowerRemoved, Unblocked, Unfollowed};
use kith_proto::{Event, time};
use kith_service::command::{Asked, Noun};
use kith_tables::{Key, Row, RowKey, RowType};
use proptest::prelude::*;

use super::*;
use crate::followers::{FOLLOWERS, Followers, FollowersSummary};
use crate::graph::{EDGES, Edges, EdgesSummary};
use crate::pair::Pair;
use crate::relationship::{Before, Command, Relationships, Wish};

const FOLLOWER: RecordId = RecordId([1; 16]);
const BLOCKER: RecordId = RecordId([2; 16]);

fn followed(seen_target_offset: u64, at: i64) -> Identity {
    let (follower_id, target_id) = (FOLLOWER.to_string(), BLOCKER.to_string());
    let create_time = Some(time::of_us(at));
    Identity::Followed(Followed { follower_id, target_id, create_time, seen_target_offset, ..Followed::default() })
}

fn unfollowed() -> Identity {
    let (follower_id, target_id) = (FOLLOWER.to_string(), BLOCKER.to_string());
    Identity::Unfollowed(Unfollowed { follower_id, target_id, create_time: None })
}

fn cut(block_offset: u64) -> Identity {
    let (follower_id, target_id) = (FOLLOWER.to_string(), BLOCKER.to_string());
    Identity::FollowCut(FollowCut { follower_id, target_id, block_offset, create_time: None })
}

fn blocked(at: i64) -> Identity {
    let (actor_id, target_id) = (FOLLOWER.to_string(), BLOCKER.to_string());
    Identity::Blocked(Blocked { actor_id, target_id, create_time: Some(time::of_us(at)) })
}

fn unblocked() -> Identity {
    let (actor_id, target_id) = (FOLLOWER.to_string(), BLOCKER.to_string());
    Identity::Unblocked(Unblocked { actor_id, target_id, create_time: None })
}

fn removed(at: i64) -> Identity {
    let (actor_id, follower_id) = (FOLLOWER.to_string(), BLOCKER.to_string());
    Identity::FollowerRemoved(FollowerRemoved { actor_id, follower_id, create_time: Some(time::of_us(at)) })
}

/// The edge that these events make, recorded at offsets from 0 under ids of their own.
fn given(events: &[Identity]) -> EdgeRow {
    let mut edge = EdgeRow::default();
    for (offset, event) in (0_u64..).zip(events) {
        take(&mut edge, event, id(offset), offset);
    }
    edge
}

/// Records the event there, and has the edge take it.
fn take(edge: &mut EdgeRow, event: &Identity, id: RecordId, offset: u64) {
    let position = Position { partition: LogPartition { topic: topics::IDENTITY, index: 0 }, offset };
    let record = Record::new(position, id, event.clone());
    match Change::of(&record) {
        Some(change) => edge.evolve(&change, &record),
        None => edge.dismiss(&record),
    }
}

fn id(n: u64) -> RecordId {
    RecordId(u128::from(n).to_be_bytes())
}

#[test]
fn who_was_declined_is_so_until_followed_whatever_copies_come() {
    let (account_id, target_id) = (FOLLOWER.to_string(), BLOCKER.to_string());
    let declined = Identity::SuggestionDismissed(SuggestionDismissed { account_id, target_id, create_time: None });
    assert!(given(&[declined.clone(), unfollowed()]).dismissed);
    assert!(!given(&[declined.clone(), followed(5, 1), unfollowed()]).dismissed);
    assert!(given(&[blocked(1), declined.clone(), followed(5, 1)]).dismissed, "that follow is none");
    let mut edge = given(&[declined.clone(), followed(5, 1)]);
    take(&mut edge, &declined, id(0), 9);
    assert!(!edge.dismissed, "a late copy");
    let mut edge = given(&[followed(5, 1), unfollowed(), declined]);
    take(&mut edge, &followed(5, 1), id(0), 9);
    assert!(edge.dismissed && !edge.following, "a late copy of the follow");
}

#[test]
fn a_follow_is_cut_by_a_block_it_had_not_seen_and_by_no_other() {
    assert!(!given(&[followed(5, 1), cut(5)]).following);
    assert!(given(&[followed(5, 1), cut(4)]).following);
    assert!(given(&[followed(5, 1), cut(5), followed(6, 1), cut(5)]).following, "a late copy of the cut");
}

#[test]
fn ones_own_block_ends_the_follow_and_stands_against_a_later_one() {
    let edge = given(&[followed(0, 1), blocked(2), followed(0, 3)]);
    assert!((edge.blocking, edge.following) == (true, false) && edge.block_time == Timestamp(2));
    let edge = given(&[followed(0, 1), blocked(2), unblocked()]);
    assert!(!edge.blocking && !edge.following, "it brings back no follow");
    assert_eq!(edge.last_cut_offset(), Some(1), "though it stands no longer");
}

#[test]
fn a_follow_keeps_its_beginning_until_it_ends() {
    let louder = |at| match followed(3, at) {
        Identity::Followed(event) => Identity::Followed(Followed { notify: true, ..event }),
        other => other,
    };
    let edge = given(&[followed(0, 1), louder(2)]);
    assert_eq!((edge.follow_time, edge.notify, edge.seen_target_offset), (Timestamp(1), true, 3));
    assert_eq!(given(&[followed(0, 1), unfollowed(), louder(2)]).follow_time, Timestamp(2));
    assert_eq!(given(&[blocked(1), blocked(2)]).block_time, Timestamp(1));
}

#[test]
fn who_follows_again_keeps_the_place_in_lists() {
    let edge = given(&[followed(0, 1), unfollowed(), followed(0, 5), blocked(6), unblocked(), followed(9, 8)]);
    assert_eq!((edge.follow_time, edge.first_follow_time), (Timestamp(8), Timestamp(1)));
    assert_eq!(given(&[blocked(1), followed(0, 2)]).first_follow_time, Timestamp(0), "it never followed");
}

#[test]
fn a_late_copy_undoes_nothing() {
    let mut edge = given(&[followed(0, 1), unfollowed()]);
    let before = edge.clone();
    take(&mut edge, &followed(0, 1), id(0), 2);
    assert_eq!(edge, before);
    let mut edge = given(&[blocked(1), unblocked()]);
    let before = edge.clone();
    take(&mut edge, &blocked(1), id(0), 7);
    assert_eq!(edge, before, "nor does it count as a later block");
}

#[test]
fn a_removal_cuts_as_a_block_does_and_says_nothing_of_ones_own_follow() {
    let edge = given(&[followed(0, 1), removed(2)]);
    assert!((edge.following, edge.blocking) == (true, false) && edge.cut_time == Timestamp(2));
    assert_eq!(edge.last_cut_offset(), Some(1));
    let theirs = |seen| EdgeRow { following: true, seen_target_offset: seen, ..EdgeRow::default() };
    assert!(theirs(1).is_cut_by(&edge) && !theirs(2).is_cut_by(&edge));
    assert_eq!(given(&[blocked(1), removed(2)]).cut_time, Timestamp(2), "the later one counts");
}

#[test]
fn the_largest_offsets_compare_too() {
    assert!(!given(&[followed(u64::MAX, 1), cut(u64::MAX)]).following);
}

/// Two accounts, one following and one blocking, each with its own log partition and its own fold, any lag between.
struct World {
    follower: Side,
    blocker: Side,
    commands: u64,
}

struct Side {
    actor: RecordId,
    target: RecordId,
    log: Vec<Record>,
    edges: Rows,
    followers: Rows,
    folded: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Wish {
        by_follower: bool,
        wish: Wish,
        stale: u64,
        /// Whether the other account is private then.
        private: bool,
    },
    Fold {
        follower: bool,
        records: usize,
    },
    /// The fold dies before its watermark moves, and starts again.
    Replay {
        follower: bool,
        records: usize,
    },
    /// The producer's late copy of a record.
    Copy {
        follower: bool,
        back: usize,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let follow =
        any::<bool>().prop_map(|notify| Wish::Follow { shows_shares: false, notify, backfill_window_seconds: 9 });
    let of_follower =
        prop_oneof![4 => follow, 1 => Just(Wish::Unfollow), 1 => Just(Wish::Block), 1 => Just(Wish::Unblock)];
    let answer = any::<bool>().prop_map(|accepts| Wish::Answer { accepts });
    let of_blocker = prop_oneof![
        2 => Just(Wish::Block), 1 => Just(Wish::Unblock), 2 => Just(Wish::RemoveFollower), 3 => answer
    ];
    prop_oneof![
        3 => (of_follower, 0..3_u64, any::<bool>())
            .prop_map(|(wish, stale, private)| Step::Wish { by_follower: true, wish, stale, private }),
        3 => of_blocker.prop_map(|wish| Step::Wish { by_follower: false, wish, stale: 0, private: false }),
        4 => (any::<bool>(), 1..4_usize).prop_map(|(follower, records)| Step::Fold { follower, records }),
        1 => (any::<bool>(), 1..6_usize).prop_map(|(follower, records)| Step::Replay { follower, records }),
        1 => (any::<bool>(), 1..5_usize).prop_map(|(follower, back)| Step::Copy { follower, back }),
    ]
}

impl Side {
    /// A record about others stands at offset 0, so that the rows can be known from it on.
    fn new(actor: RecordId, target: RecordId, index: u16) -> Self {
        let partition = LogPartition { topic: topics::IDENTITY, index };
        let known = |table, clustering: RecordId| {
            let mut rows = Rows::new(table, partition.source());
            rows.apply_at(0, |rows| rows.put(of_other(&clustering.to_string()), EdgeRow::default()));
            rows
        };
        let other = Identity::AccountCreated(kith_proto::identity::v1::AccountCreated::default());
        let first = Record::new(Position { partition, offset: 0 }, RecordId::default(), other);
        let (edges, followers) = (known(&EDGES, target), known(&FOLLOWERS, actor));
        Self { actor, target, log: vec![first], edges, followers, folded: 1 }
    }

    fn append(&mut self, id: RecordId, event: Event) {
        let position = Position { partition: self.log[0].position.partition, offset: self.log.len() as u64 };
        self.log.push(Record::new(position, id, event));
    }

    fn edge(&self) -> EdgeRow {
        self.edges.get::<EdgeRow>(of_other(&self.target.to_string())).unwrap()
    }

    fn row(&self) -> Row {
        let key = RowKey::of::<EdgeRow>(of_other(&self.target.to_string()));
        Row { key, columns: self.edge().into_columns(), position: self.edges.mark().unwrap() }
    }

    fn is_done(&self) -> bool {
        self.folded == self.log.len()
    }
}

impl World {
    fn side(&mut self, follower: bool) -> &mut Side {
        if follower { &mut self.follower } else { &mut self.blocker }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wish { by_follower, wish, stale, private } => self.wish(by_follower, wish, (stale, private)),
            Step::Fold { follower, records } => (0..records).for_each(|_| self.fold_next(follower)),
            Step::Replay { follower, records } => {
                let until = self.side(follower).folded;
                (until.saturating_sub(records).max(1)..until).for_each(|offset| self.fold(follower, offset));
            }
            Step::Copy { follower, back } => {
                let side = self.side(follower);
                let copied = side.log[side.log.len().saturating_sub(back)].clone();
                side.append(copied.id, copied.event);
            }
        }
    }

    fn wish(&mut self, by_follower: bool, wish: Wish, (stale, target_is_private): (u64, bool)) {
        self.commands += 1;
        let id = id(self.commands);
        let (mine, theirs) = match by_follower {
            true => (&self.follower, &self.blocker),
            false => (&self.blocker, &self.follower),
        };
        let command = Command { actor: mine.actor.to_string(), target: mine.target.to_string(), wish };
        let asked =
            Asked { id, actor: command.actor.clone(), digest: [0; 32], at: Timestamp(1_000 + self.commands as i64) };
        let pair = Pair { mine: mine.edge(), theirs: theirs.edge(), ..Pair::default() };
        let seen_target_offset = (theirs.folded as u64).saturating_sub(stale);
        let before = Before {
            pair,
            target_exists: true,
            target_away: false,
            target_is_private,
            events_open: EVENTS,
            seen_target_offset,
        };
        if let Ok(Some(event)) = Relationships::decide(&before, &asked, &command) {
            self.side(by_follower).append(id, event.into());
        }
    }

    fn fold_next(&mut self, follower: bool) {
        let side = self.side(follower);
        if !side.is_done() {
            side.folded += 1;
            let offset = side.folded - 1;
            self.fold(follower, offset);
        }
    }

    fn fold(&mut self, follower: bool, offset: usize) {
        let side = self.side(follower);
        let record = side.log[offset].clone();
        side.edges.apply_at(offset as u64, |rows| Edges.apply(rows, &record));
        side.followers.apply_at(offset as u64, |rows| Followers.apply(rows, &record));
        for effect in Edges.effects(&side.edges, &record) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Read { partition, then, .. } => {
                let read = if partition == Key::text(&FOLLOWER.to_string()) { &self.follower } else { &self.blocker };
                for effect in then(&[Some(read.row())]) {
                    self.carry_out(effect);
                }
            }
            Effect::Append(append) => {
                assert_eq!(append.key, FOLLOWER.to_string());
                self.follower.append(append.id, append.event);
            }
            Effect::Put(_) | Effect::AppendThen(..) | Effect::ForEach(_) | Effect::After(_) => {
                panic!("not one of these")
            }
        }
    }

    fn settle(&mut self) {
        while !(self.follower.is_done() && self.blocker.is_done()) {
            self.fold_next(true);
            self.fold_next(false);
        }
    }
}

proptest! {
    #[test]
    fn a_follow_stands_if_and_only_if_no_unseen_block_is_in_the_other_log(steps in prop::collection::vec(any_step(), 0..28)) {
        let (follower, blocker) = (Side::new(FOLLOWER, BLOCKER, 0), Side::new(BLOCKER, FOLLOWER, 1));
        let mut world = World { follower, blocker, commands: 0 };
        steps.into_iter().for_each(|step| world.take(step));
        world.settle();

        let mut uncut = EdgeRow::default();
        for record in &world.follower.log[1..] {
            let is_cut = matches!(record.event, Event::Identity(Identity::FollowCut(_)));
            if let Some(change) = Change::of(record).filter(|_| !is_cut) {
                uncut.evolve(&change, record);
            }
        }
        let expected = uncut.following && !uncut.is_cut_by(&world.blocker.edge());
        prop_assert_eq!(world.follower.edge().following, expected);
        prop_assert!(!(world.blocker.edge().blocking && expected), "a block that stands lets no follow stand");
        let (asks, asked) = (world.follower.edge(), world.blocker.edge());
        prop_assert!(!(asks.requested && asks.following), "who follows does not ask to");
        prop_assert_eq!(asks.requested, asks.waits(&asked), "a request is neither cut nor answered");

        for side in [&world.follower, &world.blocker] {
            let edge = side.edge();
            let inbound = side.followers.get::<EdgeRow>(of_other(&side.actor.to_string()));
            prop_assert_eq!(Some(&edge), inbound.as_ref());
            let counts: EdgesSummary = side.edges.summary();
            let seen: FollowersSummary = side.followers.summary();
            prop_assert_eq!(counts.following_count, i64::from(edge.following));
            prop_assert_eq!(counts.blocking_count, i64::from(edge.blocking));
            prop_assert_eq!(seen.follower_count, i64::from(edge.following));
            let times = || (0..=world.commands as i64).map(|n| Value::from(Timestamp(1_000 + n)));
            let listed = |rows: &Rows, other: RecordId| {
                let at = |at| rows.get::<FollowedRow>([at, other.to_string().into()]);
                times().filter_map(at).filter(|row| row.following).count()
            };
            let blocked = |at| side.edges.get::<BlockedRow>([at, side.target.to_string().into()]);
            let waiting = |rows: &Rows, other: RecordId| {
                let at = |at| rows.get::<RequestedRow>([at, other.to_string().into()]);
                times().filter_map(at).filter(|row| row.requested).count()
            };
            prop_assert_eq!(waiting(&side.edges, side.target), usize::from(edge.requested));
            prop_assert_eq!(waiting(&side.followers, side.actor), usize::from(edge.requested));
            prop_assert_eq!(listed(&side.edges, side.target), usize::from(edge.following));
            prop_assert_eq!(listed(&side.followers, side.actor), usize::from(edge.following));
            prop_assert_eq!(times().filter_map(blocked).filter(|row| row.blocking).count(), usize::from(edge.blocking));
        }
    }

    #[test]
    fn a_record_again_changes_nothing(kinds in prop::collection::vec((0..6_usize, 0..6_u64), 1..12)) {
        let mut edge = EdgeRow::default();
        let mut ids = BTreeSet::new();
        for (offset, (kind, n)) in (0_u64..).zip(kinds) {
            let events = [followed(n, 1), unfollowed(), cut(n), blocked(2), unblocked(), removed(3)];
            take(&mut edge, &events[kind], id(offset), offset);
            prop_assert!(ids.insert(offset));
            let before = edge.clone();
            take(&mut edge, &events[kind], id(offset), offset + 100);
            prop_assert_eq!(&edge, &before);
        }
    }
}
