//! Conversations as the naive model has them.

mod asking;

use std::collections::{BTreeMap, BTreeSet};

use kith_log::{Offset, topics};
use kith_proto::messaging::v1::{Consent, NewMember};

use super::follows::{always_parted, ever_parted};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::timeline::Timeline;
use asking::Asking;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub sender: String,
    /// As it is now; empty: it was unsent.
    pub text: String,
    pub at: i64,
    /// What it replies to; empty: nothing.
    pub replies_to: String,
    /// When it was edited last, and how often; when it was unsent. 0: never.
    pub edited: i64,
    pub edits: usize,
    pub unsent: i64,
    /// Who reacted, and how.
    pub reactions: BTreeSet<(String, String)>,
}

/// The caller's own view of a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// Microseconds; 0: it is not muted, [`FOR_EVER`]: until it is unmuted.
    pub muted_until: i64,
    /// The last number when it was put away.
    pub archived_at: Option<u64>,
    pub marks: u64,
    pub cleared: u64,
}

/// Of a mute without an end.
pub const FOR_EVER: i64 = i64::MAX;
/// Edits of one message that count.
const EDITS_MAX: usize = 16;
/// Reactions of one member to one message, and different ones of all.
const OWN_REACTIONS_MAX: usize = 5;
const REACTIONS_MAX: usize = 20;

impl Message {
    pub fn own_reactions(&self, member: &str) -> Vec<String> {
        self.reactions.iter().filter(|(who, _)| who == member).map(|(_, grapheme)| grapheme.clone()).collect()
    }

    pub fn edit(&mut self, by: &str, text: String, at: i64, window_us: i64) {
        if self.sender == by && self.unsent == 0 && at - self.at <= window_us && self.edits < EDITS_MAX {
            self.text = text;
            self.edited = at.max(self.edited).max(self.at);
            self.edits += 1;
        }
    }

    pub fn unsend(&mut self, by: &str, at: i64) {
        if self.sender == by && self.unsent == 0 {
            self.text.clear();
            self.reactions.clear();
            self.unsent = at.max(self.at).max(1);
        }
    }

    pub fn react(&mut self, by: &str, grapheme: &str, adds: bool) {
        let reaction = (by.to_owned(), grapheme.to_owned());
        if !adds {
            self.reactions.remove(&reaction);
            return;
        }
        let different: BTreeSet<&String> = self.reactions.iter().map(|(_, grapheme)| grapheme).collect();
        let fits = different.len() < REACTIONS_MAX || different.contains(&reaction.1);
        if self.unsent == 0 && self.own_reactions(by).len() < OWN_REACTIONS_MAX && fits {
            self.reactions.insert(reaction);
        }
    }
}

impl View {
    /// Whether it may be muted while a call is answered: clocks differ, so of a mute with an end both may be.
    pub fn muted(&self) -> Vec<bool> {
        match self.muted_until {
            0 => vec![false],
            FOR_EVER => vec![true],
            _ => vec![false, true],
        }
    }

    pub fn is_archived(&self, last: u64, muted: bool) -> bool {
        self.archived_at.is_some_and(|at| last <= at || muted)
    }

    pub fn is_marked(&self) -> bool {
        self.marks > self.cleared
    }
}

/// Times in a group that are remembered.
const WINDOWS_MAX: usize = 16;
/// Messages that wait until the others have accepted.
const WAITING_MAX: usize = 3;
/// Places above one's marker that one has written in before the marker moves to the end of the first of them.
const OWN_PLACES_MAX: usize = 64;

/// A conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Talk {
    /// How far each member has read, own messages that follow included.
    pub members: BTreeMap<String, u64>,
    pub created: i64,
    /// Among whose requests it waits.
    pub asked: BTreeSet<String>,
    pub declined: BTreeSet<String>,
    /// In their order.
    pub messages: Vec<Message>,
    pub is_group: bool,
    pub title: String,
    pub revision: u32,
    /// When members were last added.
    pub raised: i64,
    /// Of the members of a group.
    pub roles: BTreeMap<String, i32>,
    /// Since which number each member of a group is in it, since when, and by which intent.
    pub seats: BTreeMap<String, (u64, i64, u64)>,
    /// Who added each.
    pub adders: BTreeMap<String, String>,
    pub asking: Asking,
    /// The messages that each saw before: above the first number, up to the second.
    pub past: BTreeMap<String, Vec<(u64, u64)>>,
    /// How far members say to all that they have read.
    pub public_markers: BTreeMap<String, u64>,
    pub views: BTreeMap<String, View>,
    /// Messages that somebody reacted to, or took a reaction back from.
    pub reacted: BTreeSet<String>,
}

impl Talk {
    /// The number of the last message.
    pub fn last(&self) -> u64 {
        self.messages.len() as u64
    }

    /// When it was last written in; 0: never.
    pub fn written(&self) -> i64 {
        self.messages.last().map_or(0, |message| message.at)
    }

    pub fn active(&self) -> i64 {
        let written = if self.messages.is_empty() { self.created } else { self.written() };
        written.max(self.raised)
    }

    /// Number and time of the last message that a member sees.
    pub fn last_for(&self, member: &str) -> (u64, i64) {
        let from = self.seats.get(member).map_or(0, |(from, ..)| *from);
        if self.last() > from { (self.last(), self.written()) } else { (0, 0) }
    }

    /// Whether somebody sees the message of that number.
    pub fn shows(&self, reader: &str, number: u64) -> bool {
        if !self.is_group {
            return self.members.contains_key(reader);
        }
        let now = self.seats.get(reader).is_some_and(|(from, ..)| number > *from);
        let past = self.past.get(reader).into_iter().flatten();
        now || past.into_iter().any(|(from, to)| (from + 1..=*to).contains(&number))
    }

    /// Messages that somebody sees, by number.
    pub fn shown(&self, reader: &str) -> impl Iterator<Item = &Message> {
        (1..).zip(&self.messages).filter(|(number, _)| self.shows(reader, *number)).map(|(_, message)| message)
    }

    /// Who is in it, with role, and since when.
    pub fn listed_members(&self) -> impl Iterator<Item = (String, i32, i64)> {
        self.members.keys().map(|id| {
            let joined = self.seats.get(id).map_or(self.created, |(_, at, _)| *at);
            (id.clone(), self.roles.get(id).copied().unwrap_or(0), joined)
        })
    }

    /// Puts somebody into a group.
    pub fn seat(&mut self, new: &NewMember, (role, by): (i32, &str), (at, intent): (i64, u64), began: Offset) {
        let id = new.account_id.clone();
        if self.members.contains_key(&id) {
            return;
        }
        self.members.insert(id.clone(), self.last());
        self.roles.insert(id.clone(), role);
        self.seats.insert(id.clone(), (self.last(), at, intent));
        self.adders.insert(id.clone(), by.to_owned());
        // Marks of this time are numbered from its record on.
        self.views.insert(id.clone(), View { marks: began, cleared: began, ..View::default() });
        match self.asking.comes(&id, new.asked, at) {
            Consent::Requested => self.asked.insert(id),
            Consent::Declined => self.declined.insert(id),
            _ => false,
        };
    }

    /// It goes by itself, or is removed.
    pub fn leave(&mut self, id: &str, goes: bool) {
        if self.members.remove(id).is_some() {
            self.asking.goes(id, self.consent(id), goes);
        }
        self.views.remove(id);
        self.public_markers.remove(id);
        self.accept(id);
        if let Some((from, ..)) = self.seats.remove(id) {
            let past = self.past.entry(id.to_owned()).or_default();
            past.push((from, self.messages.len() as u64));
            past.drain(..past.len().saturating_sub(WINDOWS_MAX));
        }
        self.roles.remove(id);
    }

    /// Whether what is said of that membership is said of the present one.
    pub fn is_seat(&self, id: &str, seat: u64) -> bool {
        self.seats.get(id).map_or(0, |(.., intent)| *intent) == seat
    }

    /// What a member has made of it.
    pub fn consent(&self, member: &str) -> Consent {
        match (self.asked.contains(member), self.declined.contains(member)) {
            (true, _) => Consent::Requested,
            (false, true) => Consent::Declined,
            (false, false) => Consent::Accepted,
        }
    }

    /// Whether it is in a member's list.
    pub fn is_listed(&self, member: &str, consent: Consent) -> bool {
        self.members.contains_key(member) && self.consent(member) == consent
    }

    pub fn accept(&mut self, member: &str) {
        self.asked.remove(member);
        self.declined.remove(member);
    }

    pub fn decline(&mut self, member: &str) {
        self.declined.extend(self.asked.take(member));
    }

    /// Whether somebody else than the member has not accepted.
    pub fn awaits_others(&self, member: &str) -> bool {
        let mut others = self.members.keys().filter(|other| *other != member);
        !self.is_group && others.any(|other| self.consent(other) != Consent::Accepted)
    }

    /// Whether no more messages of a member may wait.
    pub fn is_full_for(&self, member: &str) -> bool {
        self.messages.len() >= WAITING_MAX && self.awaits_others(member)
    }

    pub fn view(&self, member: &str) -> View {
        self.views.get(member).copied().unwrap_or_default()
    }

    /// The message of that id and number, if there is one.
    pub fn message_mut(&mut self, id: &str, number: u64) -> Option<&mut Message> {
        let at = (number as usize).checked_sub(1)?;
        self.messages.get_mut(at).filter(|message| message.id == id)
    }

    pub fn message(&self, id: &str) -> Option<&Message> {
        self.messages.iter().find(|message| message.id == id)
    }

    /// A member tells the others how far it has read.
    pub fn show(&mut self, member: &str, up_to: u64) {
        let last = self.last();
        let from = self.seats.get(member).map_or(0, |(from, ..)| *from);
        if self.members.contains_key(member) && up_to > from {
            let shown = self.public_markers.entry(member.to_owned()).or_default();
            *shown = up_to.min(last).max(*shown);
        }
    }

    /// Messages of others that a member has not read and that were not unsent.
    pub fn unread(&self, member: &str) -> u64 {
        let Some(read) = self.members.get(member) else { return 0 };
        let numbers = (1..).zip(&self.messages);
        let unread = numbers.filter(|(number, message)| number > read && message.sender != member);
        unread.filter(|(_, message)| message.unsent == 0).count() as u64
    }

    pub fn send(&mut self, mut message: Message) {
        let sender = message.sender.clone();
        if self.members.contains_key(&sender) && !self.is_full_for(&sender) {
            message.at = message.at.max(self.active() + 1);
            self.messages.push(message);
            self.accept(&sender);
            self.read(&sender, 0);
        }
    }

    /// A member has read so far. One's own messages are never unread: the marker goes on past those that follow.
    pub fn read(&mut self, member: &str, up_to: u64) {
        let last = self.last();
        let Some(read) = self.members.get_mut(member) else { return };
        *read = up_to.min(last).max(*read);
        let own: Vec<bool> = self.messages.iter().map(|message| message.sender == member).collect();
        loop {
            let above = &own[*read as usize..];
            let begins = |&at: &usize| above[at] && (at == 0 || !above[at - 1]);
            let places = (0..above.len()).filter(begins).collect::<Vec<usize>>();
            match places.first() {
                Some(&first) if first == 0 || places.len() > OWN_PLACES_MAX => *read += first as u64 + 1,
                _ => return,
            }
        }
    }
}

/// By id.
#[derive(Default)]
pub struct Talks(pub BTreeMap<String, Timeline<Talk>>);

/// Takes what a record does to a conversation into the model.
pub fn change(model: &mut Model, id: &str, fact: &Fact, change: impl FnOnce(&mut Talk)) {
    if fact.is_new {
        let line = model.state_mut::<Talks>().0.entry(id.to_owned()).or_default();
        let mut now = line.last();
        change(&mut now);
        line.set(fact.position.offset, now);
    }
}

/// A conversation at the end; `None`: there never was one.
pub fn last(model: &Model, id: &str) -> Option<Talk> {
    model.state::<Talks>().0.get(id).map(Timeline::last)
}

/// A conversation as it ever was.
pub fn all(model: &Model, id: &str) -> Vec<Talk> {
    model.state::<Talks>().0.get(id).map(|line| line.within((0, Offset::MAX))).unwrap_or_default()
}

/// Whether a conversation ever was so.
pub fn ever(model: &Model, id: &str, holds: impl Fn(&Talk) -> bool) -> bool {
    model.state::<Talks>().0.get(id).is_some_and(|line| line.ever((0, Offset::MAX), holds))
}

/// It, as it was while a call could see it.
pub fn states(model: &Model, call: &Call, id: &str) -> Vec<Talk> {
    let window = call.window(model.partition(topics::MESSAGING, id));
    model.state::<Talks>().0.get(id).map_or_else(|| vec![Talk::default()], |line| line.within(window))
}

/// All conversations that `member` is ever in, each as it was while a call could see it.
pub fn states_of(model: &Model, call: &Call, member: &str) -> BTreeMap<String, Vec<Talk>> {
    let talks = model
        .state::<Talks>()
        .0
        .iter()
        .filter(|(_, line)| line.ever((0, Offset::MAX), |now| now.members.contains_key(member)));
    talks.map(|(id, _)| (id.clone(), states(model, call, id))).collect()
}

/// The conversation of two, as it was while a call could see it.
pub fn states_between(model: &Model, call: &Call, one: &str, other: &str) -> Vec<Talk> {
    let is_theirs = |talk: &Talk| !talk.is_group && talk.members.contains_key(one) && talk.members.contains_key(other);
    let found = model.state::<Talks>().0.iter().find(|(_, line)| is_theirs(&line.last()));
    found.map_or_else(|| vec![Talk::default()], |(id, _)| states(model, call, id))
}

/// Whether a block stood all the time between a member and another one, and whether it did at some time.
pub fn parted(model: &Model, call: &Call, member: &str, states: &[Talk]) -> (bool, bool) {
    let is_group = states.iter().any(|now| now.is_group);
    let members = states.last().into_iter().flat_map(|now| now.members.keys());
    let others: Vec<&String> = match is_group {
        // Of a group, who put the member there.
        true => states.iter().filter_map(|now| now.adders.get(member)).collect(),
        false => members.filter(|other| *other != member).collect(),
    };
    if is_group {
        // Another one may have done it meanwhile.
        let always = !others.is_empty() && others.iter().all(|other| always_parted(model, call, member, other));
        return (always, others.iter().any(|other| ever_parted(model, call, member, other)));
    }
    let always = others.iter().any(|other| always_parted(model, call, member, other));
    (always, others.iter().any(|other| ever_parted(model, call, member, other)))
}
