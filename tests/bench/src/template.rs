//! What a command makes, learnt from the folds themselves: the record it appends and the rows that follow from it. A bare
//! server appends and writes the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kith_log::{EventLog, LogPartition, topics};
use kith_proto::Event;
use serde::{Deserialize, Serialize};

use crate::desk::{self, Desk};
use crate::raw::Cell;
use crate::recorder::Noted;
use crate::world::{self, ACCOUNTS, Fact, PARTITIONS, Thing, World};

/// The kinds of commands that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    React,
    CreatePost,
    SendMessage,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::React, Self::CreatePost, Self::SendMessage];

    pub fn name(self) -> &'static str {
        match self {
            Self::React => "React",
            Self::CreatePost => "CreatePost",
            Self::SendMessage => "SendMessage",
        }
    }
}

/// What one command of a kind makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Template {
    pub topic: String,
    pub headers: Vec<(String, String)>,
    pub value: Vec<u8>,
    pub writes: Vec<Rows>,
}

/// Rows of one table partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rows {
    /// Which table.
    place: String,
    one_for_each: Owner,
    cells: Vec<CellOf>,
}

/// Whose the table partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Owner {
    Subject,
    /// Of the account whose number is the one behind the subject's: who is written to.
    Peer,
    Actor,
    /// Of who follows the actor, counted from them.
    Follower(u64),
    Command,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct CellOf {
    /// Whether all commands write the same row of the partition: a count, a mark.
    shared: bool,
    key_bytes: usize,
    value_bytes: usize,
}

impl Rows {
    /// The partition, and its rows, of command `n` of `actor` about `subject`.
    pub fn of(&self, n: u64, actor: u64, subject: u64) -> (Vec<u8>, Vec<Cell>) {
        let mut partition = self.place.clone().into_bytes();
        let number = match self.one_for_each {
            Owner::Subject => subject,
            Owner::Peer => (subject + 1) % ACCOUNTS,
            Owner::Actor => actor,
            Owner::Follower(step) => (actor + step) % ACCOUNTS,
            Owner::Command => n,
        };
        partition.extend(world::text_id(Thing::Record, number).into_bytes());
        let cell = |(index, of): (usize, &CellOf)| {
            let mut key = vec![index as u8];
            if !of.shared {
                key.extend(n.to_be_bytes());
            }
            key.resize(of.key_bytes.max(key.len()), b'k');
            (key, Bytes::from(vec![(n % 251) as u8; of.value_bytes]))
        };
        (partition, self.cells.iter().enumerate().map(cell).collect())
    }
}

/// Actor, subject and number of the commands that templates are learnt from.
const ACTOR: u64 = 3;
const SUBJECT: u64 = 5;
/// Everybody is followed by those who come next, as in the world that the commands are measured in.
const FOLLOWERS: u64 = 20;

/// What commands of each kind make, by letting the suite's own folds take two of each.
pub async fn learn() -> Result<BTreeMap<Kind, Template>> {
    let desk = Desk::new(None, PARTITIONS, true).await?;
    let groups = desk::all_groups(PARTITIONS)?;
    let world = World { accounts: 30, follows: FOLLOWERS, posts: 10, conversations: 10, reactions: 0, messages: 0 };
    world::append(&desk.ports.log, &desk.ports.runtime, world.facts(desk.ports.runtime.now_ms())).await?;
    let running = desk.start(&groups).await?;
    desk.settle(&groups, &running).await?;
    let mut templates = BTreeMap::new();
    for kind in Kind::ALL {
        let mut noted = Vec::new();
        for n in [1_000, 1_001] {
            let recorder = desk.recorder.as_ref().context("the desk has a recorder")?;
            recorder.start();
            world::append(&desk.ports.log, &desk.ports.runtime, std::iter::once(fact(kind, n))).await?;
            desk.settle(&groups, &running).await?;
            noted.push(writes(recorder.take()));
        }
        let (topic, headers, value) = last_record(&desk.ports.log, &fact(kind, 1_001).1).await?;
        templates.insert(kind, Template { topic, headers, value, writes: rows(kind, &noted[0], &noted[1])? });
    }
    desk::end(running).await;
    Ok(templates)
}

fn fact(kind: Kind, n: u64) -> Fact {
    match kind {
        Kind::React => world::reaction(n, ACTOR + n % 2, SUBJECT),
        Kind::CreatePost => world::post(n, ACTOR, 4_000),
        Kind::SendMessage => world::message(n, SUBJECT),
    }
}

type Writes = BTreeMap<Vec<u8>, Vec<Cell>>;

/// What was written, without what the engine notes of how far it is.
fn writes(noted: Vec<Noted>) -> Writes {
    let mut all = Writes::new();
    for one in noted {
        if let Noted::Write { partition, cells } = one
            && !contains(&partition, " watermarks")
        {
            all.entry(partition).or_default().extend(cells);
        }
    }
    all
}

/// Rows that both wrote under the same key are shared.
fn rows(kind: Kind, first: &Writes, second: &Writes) -> Result<Vec<Rows>> {
    ensure!(!second.is_empty(), "no fold wrote anything");
    let actors = [ACTOR, ACTOR + 1].map(|actor| world::text_id(Thing::Account, actor));
    let peer = [world::text_id(Thing::Account, SUBJECT + 1)];
    let subjects = [world::text_id(Thing::Post, SUBJECT), world::text_id(Thing::Conversation, SUBJECT)];
    let own = [world::text_id(Thing::Account, SUBJECT)];
    let steps = (1..=FOLLOWERS).filter(|_| kind == Kind::CreatePost);
    let followers: Vec<_> = steps.map(|step| (step, world::text_id(Thing::Account, ACTOR + step))).collect();
    let mut all = Vec::new();
    for (index, (partition, cells)) in second.iter().enumerate() {
        let earlier = first.get(partition);
        let shared = |key: &Vec<u8>| earlier.is_some_and(|cells| cells.iter().any(|(other, _)| other == key));
        let cell = |(key, value): &Cell| CellOf { shared: shared(key), key_bytes: key.len(), value_bytes: value.len() };
        let names = |ids: &[String]| ids.iter().any(|id| contains(partition, id));
        let follower = followers.iter().find(|(_, id)| contains(partition, id));
        let one_for_each = match follower {
            Some(&(step, _)) => Owner::Follower(step),
            None if names(&subjects) || names(&own) => Owner::Subject,
            None if names(&peer) => Owner::Peer,
            None if names(&actors) => Owner::Actor,
            None => Owner::Command,
        };
        let place = String::from_utf8_lossy(partition).into_owned();
        let table = place.split(' ').take(2).map(|word| word.chars().take(16).collect::<String>());
        // Different tables may be named alike in their first letters; the feed of every follower is in the same.
        let nth = if follower.is_some() { 0 } else { 1 + index };
        let place = format!("{nth} {}", table.collect::<Vec<_>>().join(" "));
        all.push(Rows { place, one_for_each, cells: cells.iter().map(cell).collect() });
    }
    Ok(all)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The record that `event` became.
async fn last_record(log: &Arc<dyn EventLog>, event: &Event) -> Result<(String, Vec<(String, String)>, Vec<u8>)> {
    let topic = topics::by_name(event.topic_name()).context("an event without a topic")?;
    let partition = LogPartition::of_key(topic, event.subject(), PARTITIONS);
    let head = log.heads(topic).await?[usize::from(partition.index)];
    let mut reader = log.read(partition, head.saturating_sub(1)).await?;
    let record = reader.next().await.context("the log ended")??.pop().context("no record")?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = record.headers.iter().map(|header| (header.name.to_string(), text(&header.value))).collect();
    Ok((topic.name.to_owned(), headers, record.value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn learns_what_the_folds_of_every_kind_write() {
        let templates = learn().await.unwrap();
        let rows = |kind: Kind| templates[&kind].writes.iter().map(|rows| rows.cells.len()).sum::<usize>();
        // Engagement's reaction and counts, the card's actor and counts.
        assert_eq!(rows(Kind::React), 4, "{:#?}", templates[&Kind::React].writes);
        assert!(rows(Kind::SendMessage) >= 5);
        // Posts' row, engagement's subject, the card, the author's feed; and the feed of each follower.
        let whose: Vec<Owner> = templates[&Kind::CreatePost].writes.iter().map(|rows| rows.one_for_each).collect();
        let followers = whose.iter().filter(|owner| matches!(owner, Owner::Follower(_))).count();
        assert_eq!((followers, whose.len()), (20, 24), "{:#?}", templates[&Kind::CreatePost].writes);
        let feed_of = |step: u64, actor: u64| {
            let of_step = |rows: &&Rows| rows.one_for_each == Owner::Follower(step);
            templates[&Kind::CreatePost].writes.iter().find(of_step).unwrap().of(1, actor, 0).0
        };
        assert_eq!(feed_of(2, 7), feed_of(1, 8), "one feed for each reader");
        let peers = templates[&Kind::SendMessage].writes.iter().filter(|rows| rows.one_for_each == Owner::Peer);
        assert_eq!(peers.count(), 1, "the inbox of who is written to");
        let (one, other) = (&templates[&Kind::React].writes[0], &templates[&Kind::React].writes[0]);
        assert_eq!(one.of(1, 2, 3).0, other.of(2, 9, 3).0, "one partition for each subject");
        assert_ne!(one.of(1, 2, 3).0, other.of(1, 2, 4).0);
    }
}
