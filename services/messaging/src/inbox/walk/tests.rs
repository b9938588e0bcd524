mod shelf;

use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use kith_fold::Effect;
use kith_log::{Offset, Position, RecordId};
use kith_tables::{RowType, Write};
use proptest::prelude::*;

use super::*;
use crate::inbox;
use crate::members::Members;
use crate::summary::Summary;
use shelf::Shelf;

const PARTITIONS: PartitionIndex = 2;
const HOUR_US: i64 = 1_000;

fn id(number: u64) -> String {
    RecordId(std::array::from_fn(|at| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at as u32 * 5) as u8))
        .to_string()
}

fn ada() -> String {
    RecordId([1; 16]).to_string()
}

/// A conversation as its log partition has it, and as a worker has folded and spread it.
#[derive(Clone)]
struct Talk {
    id: String,
    home: Summary,
    mark: Option<Offset>,
    /// What is written there, with the hour: offset, hour.
    log: Vec<(Offset, i64)>,
}

impl Talk {
    fn new(number: u64) -> Self {
        let members = Members::new(&[ada(), RecordId([2; 16]).to_string()]).unwrap();
        let home = Summary { members, ..Summary::default() };
        Self { id: id(number), home, mark: None, log: Vec::new() }
    }

    fn partition(&self) -> LogPartition {
        LogPartition::of_key(topics::MESSAGING, &self.id, PARTITIONS)
    }

    /// As `Conversations::apply` does.
    fn apply(&mut self, offset: Offset, hour: i64) {
        if self.mark.is_none_or(|mark| mark < offset) {
            let time = Timestamp(hour * HOUR_US + offset as i64 % HOUR_US);
            (self.home.last_number, self.home.last_message_time) = (self.home.last_number + 1, time);
            self.home.places.be_active(hour, time, offset);
            self.mark = Some(offset);
        }
    }

    /// What the record at `offset` writes to ADA's inbox, with the rows as they stand.
    fn spread(&self, offset: Offset) -> Vec<Write> {
        let (mark, moved) = (self.mark.unwrap_or_default(), self.home.places.is_move(offset));
        let member = self.home.members.get(&ada()).unwrap();
        let effects = inbox::spread(&self.id, &self.home, member, (mark, moved));
        effects
            .into_iter()
            .map(|effect| match effect {
                Effect::Put(put) => put.write,
                _ => unreachable!("a put"),
            })
            .collect()
    }
}

/// One inbox and the conversations in it, folded by workers that die, and by some that come too late.
#[derive(Default)]
struct World {
    shelf: Shelf,
    talks: Vec<Talk>,
    heads: BTreeMap<LogPartition, Offset>,
    /// Up to here everything is folded and spread.
    known: BTreeMap<LogPartition, Offset>,
    /// Writes that are still on their way.
    late: Vec<Vec<Write>>,
    hour: i64,
}

#[derive(Debug, Clone)]
enum Step {
    /// Someone writes in a conversation, so many hours after or before the hour that it is.
    Write {
        talk: usize,
        hours: i64,
    },
    /// It is later by an hour.
    Hour,
    /// A worker folds the log of a partition; it may die after the home rows of so many records, or after so many writes.
    /// A batch may also come late, or once more.
    Fold {
        partition: u16,
        records: usize,
        writes: usize,
        late: bool,
    },
    /// The store forgets its removals.
    Purge,
    /// Something that was on its way arrives.
    Arrive(prop::sample::Index),
    Page,
}

impl World {
    fn new(talks: u64) -> Self {
        Self { talks: (0..talks).map(Talk::new).collect(), ..Self::default() }
    }

    fn append(&mut self, talk: usize, hour: i64) {
        let at = talk % self.talks.len();
        let talk = &mut self.talks[at];
        let head = self.heads.entry(talk.partition()).or_default();
        talk.log.push((*head, hour));
        *head += 1;
    }

    /// The records of a partition that are not known to be spread, in their order: talk, offset, hour.
    fn unknown(&self, partition: LogPartition) -> Vec<(usize, Offset, i64)> {
        let from = self.known.get(&partition).map_or(0, |last| last + 1);
        let of = self.talks.iter().enumerate().filter(|(_, talk)| talk.partition() == partition);
        let records = of.flat_map(|(at, talk)| talk.log.iter().map(move |&(offset, hour)| (at, offset, hour)));
        let mut records: Vec<_> = records.filter(|(_, offset, _)| *offset >= from).collect();
        records.sort_unstable_by_key(|(_, offset, _)| *offset);
        records
    }

    /// True when everything was done.
    fn fold(&mut self, partition: LogPartition, records: usize, writes: usize, late: bool) -> bool {
        let batch = self.unknown(partition);
        let (mut effects, mut all) = (Vec::new(), true);
        for (n, &(talk, offset, hour)) in batch.iter().enumerate() {
            if n >= records {
                all = false;
                break;
            }
            self.talks[talk].apply(offset, hour);
            effects.extend(self.talks[talk].spread(offset));
        }
        if late {
            self.late.push(effects.clone());
        }
        all &= effects.len() <= writes;
        effects.into_iter().take(writes).for_each(|write| self.shelf.write(write));
        let last = batch.iter().take(records).map(|(_, offset, _)| *offset).next_back();
        if let Some(last) = last.filter(|_| all || writes == usize::MAX) {
            self.known.insert(partition, last);
        }
        all
    }

    fn settle(&mut self) {
        for index in 0..PARTITIONS {
            self.fold(LogPartition { topic: topics::MESSAGING, index }, usize::MAX, usize::MAX, false);
        }
    }

    fn as_of(&self) -> Token {
        self.known.iter().map(|(&partition, &offset)| Position { partition, offset }).collect()
    }

    /// Conversations that a reader of these positions has.
    fn there(&self, as_of: &Token) -> BTreeSet<String> {
        let is_there =
            |talk: &&Talk| talk.log.iter().any(|(offset, _)| Some(*offset) <= as_of.offset(talk.partition()));
        self.talks.iter().filter(is_there).map(|talk| talk.id.clone()).collect()
    }

    fn page(&self, walk: Walk, size: usize) -> (Vec<Listed>, Option<Walk>) {
        self.shelf.reads_since_last();
        let account_id = ada();
        let shows = |_: &InboxRow| true;
        let reader = Reader { tables: &self.shelf, partitions: PARTITIONS, account_id: &account_id, shows: &shows };
        let (page, next) = block_on(reader.page(walk, size)).unwrap();
        assert!(self.shelf.reads_since_last() <= 3 * ROUNDS && page.len() <= size);
        let token = next.clone().map(|next| Walk::from_values(&next.into_values(), PARTITIONS).unwrap());
        assert_eq!(token, next);
        (page, next)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { talk, hours } => self.append(*talk, self.hour + hours),
            Step::Hour => self.hour += 1,
            Step::Purge => self.shelf.purge(),
            Step::Fold { partition, records, writes, late } => {
                let partition = LogPartition { topic: topics::MESSAGING, index: *partition };
                self.fold(partition, *records, *writes, *late);
            }
            Step::Arrive(which) if !self.late.is_empty() => {
                let at = which.index(self.late.len());
                self.late.remove(at).into_iter().for_each(|write| self.shelf.write(write));
            }
            Step::Arrive(_) | Step::Page => {}
        }
    }
}

/// Walks while it all goes on; each walk must show all that was there when it began, once.
fn check(talks: u64, size: usize, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new(talks);
    let mut walk: Option<(Token, Vec<String>, Walk)> = None;
    for step in steps {
        world.step(step);
        if !matches!(step, Step::Page) {
            continue;
        }
        let (start, mut seen, at) = walk.take().unwrap_or_else(|| {
            let as_of = world.as_of();
            let walk = Walk::new(&as_of, PARTITIONS);
            (as_of, Vec::new(), walk)
        });
        let (page, next) = world.page(at, size);
        prop_assert!(page.is_sorted_by(|one, next| one.1.activity_time >= next.1.activity_time));
        seen.extend(page.into_iter().map(|(id, _)| id));
        match next {
            Some(next) => walk = Some((start, seen, next)),
            None => whole(&world, &start, seen)?,
        }
    }
    // The rest of the log, and of what was on its way.
    world.settle();
    std::mem::take(&mut world.late).into_iter().flatten().for_each(|write| world.shelf.write(write));
    if !steps.iter().any(|step| matches!(step, Step::Purge)) {
        no_place_is_left_behind(&world)?;
    }
    world.shelf.purge();
    let as_of = world.as_of();
    let (mut seen, mut next) = (Vec::new(), Some(Walk::new(&as_of, PARTITIONS)));
    while let Some(walk) = next {
        let (page, after) = world.page(walk, size);
        seen.extend(page.into_iter().map(|(id, _)| id));
        next = after;
    }
    whole(&world, &as_of, seen)
}

/// What a walk gave that began at `start`. Only a conversation that has moved more than twice since may be missing.
fn whole(world: &World, start: &Token, seen: Vec<String>) -> Result<(), TestCaseError> {
    let unique: BTreeSet<String> = seen.iter().cloned().collect();
    prop_assert_eq!(unique.len(), seen.len(), "twice");
    let expected = world.there(start);
    prop_assert!(unique.is_subset(&expected), "not there: {:?}, not {:?}", unique, expected);
    let moves = |id: &String| {
        let talk = world.talks.iter().find(|talk| talk.id == *id).unwrap();
        let mut hours = (i64::MIN, 0);
        for &(offset, hour) in &talk.log {
            let is_move = hour > hours.0 && Some(offset) > start.offset(talk.partition());
            hours = (hours.0.max(hour), hours.1 + u32::from(is_move));
        }
        hours.1
    };
    let missing: Vec<&String> = expected.difference(&unique).filter(|id| moves(id) <= 2).collect();
    prop_assert!(missing.is_empty(), "missing: {:?} of {:?}", missing, expected);
    Ok(())
}

/// Rows by place are exactly those that the rows by id tell.
fn no_place_is_left_behind(world: &World) -> Result<(), TestCaseError> {
    let (places, rows): (Vec<Row>, Vec<Row>) =
        world.shelf.rows().into_iter().partition(|row| row.key.section == PlaceRow::SECTION);
    let stands = |row: &Row| {
        let places = row.read::<InboxRow>().unwrap().places;
        let at = |place: &crate::places::Place| vec![place.hour.into(), row.key.clustering[1].clone()];
        places.standing().iter().map(at).collect::<Vec<_>>()
    };
    let expected: BTreeSet<Vec<Value>> = rows.iter().flat_map(stands).collect();
    let found: BTreeSet<Vec<Value>> = places.into_iter().map(|row| row.key.clustering).collect();
    prop_assert_eq!(found, expected);
    Ok(())
}

fn any_step(purges: u32) -> impl Strategy<Value = Step> {
    let few = || prop_oneof![2 => 0..6_usize, 1 => Just(usize::MAX)];
    prop_oneof![
        6 => (0..40_usize, -1..=0_i64).prop_map(|(talk, hours)| Step::Write { talk, hours }),
        1 => Just(Step::Hour),
        4 => (0..PARTITIONS, few(), few(), any::<bool>())
            .prop_map(|(partition, records, writes, late)| Step::Fold { partition, records, writes, late }),
        1 => any::<prop::sample::Index>().prop_map(Step::Arrive),
        purges => Just(Step::Purge),
        4 => Just(Step::Page),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_walk_shows_each_conversation_once_whatever_moves(
        talks in 1..8_u64,
        size in 1..4_usize,
        steps in (0..2_u32).prop_flat_map(|purges| prop::collection::vec(any_step(purges), 1..80)),
    ) {
        check(talks, size, &steps)?;
    }
}

/// All of the inbox, with the most reads of a page.
fn all(world: &World, size: usize) -> Vec<Listed> {
    let (mut listed, mut next) = (Vec::new(), Some(Walk::new(&world.as_of(), PARTITIONS)));
    while let Some(walk) = next {
        let (page, after) = world.page(walk, size);
        listed.extend(page);
        next = after;
    }
    listed
}

#[test]
fn newest_activity_comes_first() {
    for size in [1, 3, 7, 100] {
        let mut world = World::new(200);
        for talk in 0..200 {
            world.append(talk, (talk as i64 * 37) % 20);
        }
        world.settle();
        let listed = all(&world, size);
        assert_eq!(listed.len(), 200);
        assert!(listed.is_sorted_by(|one, next| one.1.activity_time >= next.1.activity_time), "pages of {size}");
    }
}

#[test]
fn an_hour_with_more_than_can_be_put_in_order_is_listed_whole() {
    for (talks, ordered) in [(ORDERED_MAX, true), (ORDERED_MAX + 1, false), (3 * ORDERED_MAX, false)] {
        let mut world = World::new(talks as u64 + 1);
        (0..talks).for_each(|talk| world.append(talk, 5));
        world.append(talks, 4);
        world.settle();
        for size in [7, 100] {
            let listed = all(&world, size);
            let unique: BTreeSet<&String> = listed.iter().map(|(id, _)| id).collect();
            assert_eq!((listed.len(), unique.len()), (talks + 1, talks + 1));
            let is_sorted = listed.is_sorted_by(|one, next| one.1.activity_time >= next.1.activity_time);
            assert!(is_sorted || !ordered, "{talks} by {size}");
            assert_eq!(listed.last().unwrap().0, id(talks as u64));
        }
    }
}

#[test]
fn a_page_among_many_places_left_is_short_and_the_next_ones_go_on() {
    let mut world = World::new(2_000);
    (0..2_000).for_each(|talk| world.append(talk, 1));
    world.settle();
    // All but one move on, and leave their rows by place behind in two hours.
    (1..2_000).for_each(|talk| world.append(talk, 2));
    world.settle();
    (1..2_000).for_each(|talk| world.append(talk, 3));
    world.settle();
    let listed = all(&world, 50);
    assert_eq!(listed.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), 2_000);
    assert_eq!(listed.len(), 2_000);
}

#[test]
fn a_walk_of_another_list_is_none() {
    let values = Walk::new(&Token::default(), PARTITIONS).into_values();
    assert_eq!(Walk::from_values(&values, PARTITIONS), Some(Walk::new(&Token::default(), PARTITIONS)));
    assert_eq!(Walk::from_values(&values, PARTITIONS + 1), None);
    let blob = |bytes: &'static [u8]| Value::Blob(Bytes::from_static(bytes));
    for other in [
        vec![],
        values[..3].to_vec(),
        vec![values[0].clone(), values[1].clone(), values[2].clone(), blob(b"123456789")],
        vec![blob(b"123456789"), values[1].clone(), values[2].clone(), values[3].clone()],
        vec![values[0].clone(), "x".into(), values[2].clone(), values[3].clone()],
    ] {
        assert_eq!(Walk::from_values(&other, PARTITIONS), None, "{other:?}");
    }
}

#[test]
fn the_largest_walk_fits_into_a_page_token() {
    let start = vec![Offset::MAX; usize::from(LogPartition::MAX_COUNT)];
    let shown = vec![[u8::MAX; ID_END_BYTES]; ORDERED_MAX];
    let walk = Walk { start, hour: i64::MAX, behind: id(7), shown };
    let cursor = kith_service::page_token::cursor::encode(&walk.into_values());
    assert!(cursor.len() <= kith_service::limits::PAGE_CURSOR_BYTES);
}
