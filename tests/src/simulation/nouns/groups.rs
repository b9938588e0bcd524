//! Groups: who is in one, by a naive reading of the intents and of their facts, and the verdicts that the log's order gives.

mod ask;
mod members;

use std::collections::{BTreeMap, BTreeSet};

use kith_log::{Position, RecordId, topics};
use kith_proto::Event;
use kith_proto::messaging::private::v1::GroupChangeRequested;
use kith_proto::messaging::private::v1::group_change_requested::Change;
use kith_proto::messaging::private::v1::messaging_private_event::Event as Private;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{GroupTitle, MemberRole, NewMember};
use kith_tables::{Key, Row, Table};

use super::edits::misjudged;
use super::follows::{another, follows_at, size};
use super::lists::walk;
use super::shown::ListMessages;
use super::talk::{self, Talk, Talks};
use super::{Draw, Noun};
use crate::simulation::board::{Scene, Thing};
use crate::simulation::checks::{CONSENT, EFFECTIVE_ONCE, Finding};
use crate::simulation::model::{Fact, Model, said};
use crate::simulation::operation::{Op, op};
use ask::{Asked, Regroup};
use members::ListMembers;

pub const GROUPS: &str = "groups";
const OWNER: i32 = MemberRole::Owner as i32;
const MODERATOR: i32 = MemberRole::Moderator as i32;
const MEMBER: i32 = MemberRole::Member as i32;

pub struct Groups;

/// A group as the intents make it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Roster {
    limit: usize,
    roles: BTreeMap<String, i32>,
    revision: u32,
}

#[derive(Default)]
struct Verdicts {
    groups: BTreeMap<String, Roster>,
    won: BTreeSet<Position>,
    ids: BTreeSet<RecordId>,
    /// Facts, by what they are and the intent that they name.
    facts: Vec<(Position, Position)>,
    /// Who was put into what by whom, who is asked, and how much of identity's log that was decided on.
    put: Vec<(String, String, NewMember)>,
}

/// Whether the intent of that id won.
pub fn won(model: &Model, id: RecordId) -> bool {
    model.state::<Verdicts>().ids.contains(&id)
}

impl Roster {
    fn owned(self) -> Option<Self> {
        let owned = self.roles.is_empty() || self.roles.values().any(|role| *role == OWNER);
        owned.then_some(self)
    }

    fn with(mut self, members: &[NewMember]) -> Option<Self> {
        for member in members {
            self.roles.entry(member.account_id.clone()).or_insert(MEMBER);
        }
        (self.roles.len() <= self.limit).then_some(self)
    }

    /// What a change makes of it; `None`: it loses.
    fn after(&self, event: &GroupChangeRequested) -> Option<Self> {
        let (actor, mut now) = (&event.actor_id, self.clone());
        let change = event.change.as_ref()?;
        if let Change::Creation(change) = change {
            now = Self { limit: change.member_limit as usize, revision: 1, ..Self::default() };
            now.roles.insert(actor.clone(), OWNER);
            return now.with(&change.members).filter(|_| self.limit == 0);
        }
        let role = *self.roles.get(actor)?;
        match change {
            Change::Creation(_) => None,
            Change::Addition(change) => now.with(&change.members).filter(|_| role != MEMBER),
            Change::Removal(change) => {
                let other = now.roles.remove(&change.account_id)?;
                let may = role == OWNER || role == MODERATOR && other == MEMBER;
                (may && change.account_id != *actor).then_some(now)
            }
            Change::RoleSetting(change) => {
                *now.roles.get_mut(&change.account_id)? = change.role;
                now.owned().filter(|_| role == OWNER)
            }
            Change::TitleSetting(change) => {
                let fits = change.expected_revision == 0 || change.expected_revision == now.revision;
                now.revision += 1;
                (fits && role != MEMBER).then_some(now)
            }
            Change::Leaving(change) => {
                now.roles.remove(actor);
                if !change.successor_id.is_empty() {
                    // Owners make owners.
                    (role == OWNER).then_some(())?;
                    *now.roles.get_mut(&change.successor_id)? = OWNER;
                }
                now.owned()
            }
        }
    }
}

impl Noun for Groups {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 3, draw: |scene| Some(op(Regroup { talk: String::new(), asks: creation(scene)? })) },
                Draw {
                    weight: 5,
                    draw: |scene| asks(scene, |scene, _| Some(Asked::Add { who: vec![another(scene)?] })),
                },
                Draw {
                    weight: 3,
                    draw: |scene| asks(scene, |scene, group| Some(Asked::Remove { who: member(scene, group)? })),
                },
                Draw {
                    weight: 5,
                    draw: |scene| {
                        asks(scene, |scene, group| {
                            Some(Asked::SetRole { who: member(scene, group)?, role: role(scene) })
                        })
                    },
                },
                Draw { weight: 2, draw: |scene| asks(scene, |scene, group| Some(title(scene, group))) },
                Draw { weight: 2, draw: |scene| asks(scene, |scene, group| Some(leaving(scene, group))) },
                Draw { weight: 1, draw: |scene| Some(walk(ListMembers { talk: own(scene)?.id.clone() }, size(scene))) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Verdicts>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        match &fact.event {
            Event::MessagingPrivate(Private::GroupChangeRequested(event)) if fact.is_new => {
                let verdicts = model.state_mut::<Verdicts>();
                let group = verdicts.groups.entry(event.conversation_id.clone()).or_default();
                if let Some(after) = group.after(event) {
                    *group = after;
                    verdicts.won.insert(fact.position);
                    verdicts.ids.insert(fact.id);
                }
            }
            Event::Messaging(event) => apply(model, fact, event),
            _ => {}
        }
    }

    fn check_rows(&self, model: &Model, table: &'static Table, all: &[(Key, Row)]) -> Vec<Finding> {
        let is_claims = table.name == kith_messaging::GROUP_CLAIMS.name;
        let verdicts = all.iter().filter(|(_, row)| is_claims && row.key.section == 0);
        verdicts.filter_map(|(_, row)| misjudged("the change", &model.state::<Verdicts>().ids, row)).collect()
    }

    fn check(&self, model: &Model) -> Vec<Finding> {
        let Verdicts { won, facts, put, groups, .. } = model.state();
        let lost = facts.iter().filter(|(_, intent)| !won.contains(intent));
        let lost = lost.map(|(fact, intent)| format!("{fact} is the fact of {intent}, which lost"));
        let there: BTreeSet<&Position> = facts.iter().map(|(_, intent)| intent).collect();
        let missing = won.iter().filter(|intent| !there.contains(intent));
        let missing = missing.map(|intent| format!("{intent} won, and its fact is not in the log"));
        let unlike = groups.iter().filter(|(id, group)| {
            let talk = talk::last(model, id).unwrap_or_default();
            talk.roles != group.roles
        });
        let unlike = unlike.map(|(id, group)| format!("{id} has other members than its intents say: {group:?}"));
        let verdicts = lost.chain(missing).chain(unlike).map(|what| Finding::new(EFFECTIVE_ONCE, what));
        let unasked = put.iter().filter(|(_, by, member)| {
            member.asked == follows_at(model, &member.account_id, by, member.seen_identity_offset)
        });
        let unasked =
            unasked.map(|(group, by, member)| Finding::new(CONSENT, format!("{by} put {member:?} into {group}")));
        verdicts.chain(unasked).collect()
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let mut all = Vec::new();
        for (id, line) in &model.state::<Talks>().0 {
            let last = line.last();
            all.extend(last.members.keys().map(|who| (who.clone(), walk(ListMembers { talk: id.clone() }, 2))));
            let former = last.past.keys().filter(|who| !last.members.contains_key(*who));
            all.extend(former.map(|who| (who.clone(), walk(ListMessages::of(id.clone()), 2))));
        }
        all
    }
}

/// Mostly one that the actor made: most changes are for owners.
fn own<'a>(scene: &Scene<'a>) -> Option<&'a Thing> {
    let made = |group: &&Thing| group.by.first().is_some_and(|by| by == scene.actor);
    let made: Vec<&Thing> = scene.board.all(GROUPS).iter().filter(made).collect();
    let made = scene.chance.pick(&made).copied().filter(|_| scene.chance.per_mille(700));
    made.or_else(|| scene.own(GROUPS)).or_else(|| scene.one(GROUPS))
}

/// Mostly somebody who is, or was, in it.
fn member(scene: &Scene<'_>, group: &Thing) -> Option<String> {
    let others: Vec<&String> = group.by.iter().filter(|who| *who != scene.actor).collect();
    scene.chance.pick(&others).map(|who| (*who).clone()).or_else(|| another(scene))
}

fn asks(scene: &Scene<'_>, asks: impl Fn(&Scene<'_>, &Thing) -> Option<Asked>) -> Option<Op> {
    let group = own(scene)?;
    Some(op(Regroup { talk: group.id.clone(), asks: asks(scene, group)? }))
}

/// Small ones, so that people want their last seats.
fn creation(scene: &Scene<'_>) -> Option<Asked> {
    let mut members: Vec<String> = (0..scene.chance.below(3)).filter_map(|_| another(scene)).collect();
    members.sort_unstable();
    members.dedup();
    let count = members.len() as u64 + 1;
    let limit = scene.chance.between(count.max(2), count + 1) as i32;
    Some(Asked::Create { title: scene.text(), members, limit })
}

fn role(scene: &Scene<'_>) -> MemberRole {
    match scene.chance.below(3) {
        0 => MemberRole::Owner,
        1 => MemberRole::Moderator,
        _ => MemberRole::Member,
    }
}

fn title(scene: &Scene<'_>, group: &Thing) -> Asked {
    let expected = if scene.chance.per_mille(700) { u32::try_from(group.number).unwrap_or(0) } else { 0 };
    Asked::SetTitle { title: scene.text(), expected }
}

fn leaving(scene: &Scene<'_>, group: &Thing) -> Asked {
    let successor = if scene.chance.per_mille(500) { member(scene, group).unwrap_or_default() } else { String::new() };
    Asked::Leave { successor }
}

/// Takes a fact into the model.
fn apply(model: &mut Model, fact: &Fact, event: &Messaging) {
    let (id, intent_offset) = match event {
        Messaging::GroupCreated(event) => (&event.conversation_id, event.intent_offset),
        Messaging::MembersAdded(event) => (&event.conversation_id, event.intent_offset),
        Messaging::MemberRemoved(event) => (&event.conversation_id, event.intent_offset),
        Messaging::MemberLeft(event) => (&event.conversation_id, event.intent_offset),
        Messaging::MemberRoleSet(event) => (&event.conversation_id, event.intent_offset),
        Messaging::GroupUpdated(event) => (&event.conversation_id, event.intent_offset),
        _ => return,
    };
    let intent = Position { partition: model.partition(topics::MESSAGING_PRIVATE, id), offset: intent_offset };
    let verdicts = model.state_mut::<Verdicts>();
    verdicts.facts.push((fact.position, intent));
    let (by, members) = match event {
        Messaging::GroupCreated(event) => (event.creator_id.as_str(), event.members.as_slice()),
        Messaging::MembersAdded(event) => (event.actor_id.as_str(), event.members.as_slice()),
        _ => ("", &[][..]),
    };
    verdicts.put.extend(members.iter().map(|member| (id.clone(), by.to_owned(), member.clone())));
    let title = |content: &Option<_>| said::<GroupTitle>(content.as_ref()).title;
    let (at, seat, began) = (fact.at, intent_offset + 1, fact.position.offset);
    talk::change(model, id, fact, |now: &mut Talk| match event {
        Messaging::GroupCreated(event) => {
            (now.is_group, now.created, now.title, now.revision) = (true, at, title(&event.title), 1);
            let owner = NewMember { account_id: event.creator_id.clone(), ..NewMember::default() };
            now.seat(&owner, (OWNER, ""), (at, seat), began);
            event.members.iter().for_each(|member| now.seat(member, (MEMBER, by), (at, seat), began));
        }
        Messaging::MembersAdded(event) => {
            if event.members.iter().any(|member| !now.members.contains_key(&member.account_id)) {
                now.raised = now.raised.max(at);
            }
            event.members.iter().for_each(|member| now.seat(member, (MEMBER, by), (at, seat), began));
        }
        Messaging::MemberRemoved(event) => now.leave(&event.account_id, false),
        Messaging::MemberLeft(event) => {
            now.leave(&event.account_id, true);
            now.roles.get_mut(&event.successor_id).into_iter().for_each(|role| *role = OWNER);
        }
        Messaging::MemberRoleSet(event) => {
            now.roles.get_mut(&event.account_id).into_iter().for_each(|role| *role = event.role);
        }
        Messaging::GroupUpdated(event) => (now.title, now.revision) = (title(&event.title), event.revision),
        _ => {}
    });
}
