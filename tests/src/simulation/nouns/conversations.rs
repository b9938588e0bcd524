//! Direct conversations, and the caller's lists of them: the inbox, latest message first, and the requests.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kith_log::topics;
use kith_messaging::{InboxRow, LEFT_STANDING, OpenedRow, PlaceRow, RequestRow};
use kith_proto::Event;
use kith_proto::messaging::v1::conversation_service_client::ConversationServiceClient;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{self, Consent, ConversationList, GetOrCreateDirectRequest, ListConversationsRequest};
use kith_tables::{Key, Row, RowType, Table, Value};
use tonic::{Code, Status};

use super::accounts::Handles;
use super::follows::{another, blocked, size};
use super::lists::{List, There, walk, whole};
use super::presences::{always_away, ever_away};
use super::talk::{self, FOR_EVER, Talk};
use super::{Draw, Noun, consents};
use crate::simulation::board::{Board, Thing};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, HIDDEN, LISTS, PLACES, TOKEN};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, effective, op, record_id};
use crate::simulation::world::PLACE;

pub const CONVERSATIONS: &str = "conversations";
pub const SERVICE: &str = "messaging";

pub struct Conversations;

impl Noun for Conversations {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 3, draw: |scene| Some(op(GetOrCreateDirect { other: another(scene)? })) },
                Draw { weight: 3, draw: |_| Some(whole(INBOX)) },
                Draw { weight: 2, draw: |scene| Some(walk(INBOX, size(scene))) },
                Draw { weight: 2, draw: |_| Some(whole(REQUESTS)) },
                Draw { weight: 1, draw: |scene| Some(walk(REQUESTS, size(scene))) },
                Draw { weight: 1, draw: |scene| Some(walk(ARCHIVE, size(scene))) },
            ]
        }
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Messaging(Messaging::ConversationCreated(event)) = &fact.event else { return };
        talk::change(model, &event.conversation_id, fact, |now| {
            if now.members.is_empty() {
                now.members = event.member_ids.iter().map(|id| (id.clone(), 0)).collect();
                now.created = fact.at;
                let asked = event.asked_member_ids.iter().filter(|asked| **asked != event.creator_id);
                now.asked = asked.filter(|asked| event.member_ids.contains(asked)).cloned().collect();
            }
        });
    }

    fn check_rows(&self, _model: &Model, table: &'static Table, all: &[(Key, Row)]) -> Vec<Finding> {
        match table.name {
            name if name == kith_messaging::INBOX.name => places(all),
            name if name == kith_messaging::REQUESTS.name => opened(all),
            _ => Vec::new(),
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let people = model.state::<Handles>().people();
        let lists = [(INBOX, 1), (INBOX, 100), (REQUESTS, 1), (REQUESTS, 100), (ARCHIVE, 1), (ARCHIVE, 100)];
        people.flat_map(|person| lists.map(|(list, size)| (person.clone(), walk(list, size)))).collect()
    }
}

/// The place of a conversation in the inboxes of its members.
fn place(talk: &Talk) -> i64 {
    talk.active().div_euclid(i64::try_from(PLACE.as_micros()).unwrap_or(i64::MAX))
}

/// Where a row of an inbox says that a conversation stands: account, hour, conversation.
type At = (Key, Vec<Value>);

/// Rows by place are those that the rows by id tell, without one that was left behind.
fn places(all: &[(Key, Row)]) -> Vec<Finding> {
    let (mut told, mut there) = (BTreeSet::<At>::new(), BTreeSet::<At>::new());
    for (key, row) in all {
        if row.key.section == PlaceRow::SECTION {
            there.insert((key.clone(), row.key.clustering.clone()));
        } else if let (Some(inbox), Some(id)) = (row.read::<InboxRow>(), row.key.clustering.last()) {
            let at = |hour: i64| (key.clone(), vec![hour.into(), id.clone()]);
            told.extend(inbox.places.standing().iter().map(|place| at(place.hour)));
        }
    }
    let differ = told.symmetric_difference(&there);
    let finding = |at: &At| {
        let which = if told.contains(at) { "is missing" } else { "was left behind" };
        Finding::new(PLACES, format!("the row of an inbox at {at:?} {which}"))
    };
    differ.map(finding).collect()
}

/// Rows by time are of the requests that wait, each once.
fn opened(all: &[(Key, Row)]) -> Vec<Finding> {
    let id = |row: &Row| row.key.clustering.last().cloned();
    let of = |section| move |(_, row): &&(Key, Row)| row.key.section == section;
    let told = all.iter().filter(of(RequestRow::SECTION)).filter_map(|(key, row)| {
        let request = row.read::<RequestRow>().filter(|request| request.waits)?;
        Some((key.clone(), vec![request.opened_at.into(), id(row)?]))
    });
    let told: BTreeSet<At> = told.collect();
    let there = all.iter().filter(of(OpenedRow::SECTION)).map(|(key, row)| (key.clone(), row.key.clustering.clone()));
    let there: BTreeSet<At> = there.collect();
    let differ = told.symmetric_difference(&there);
    differ
        .map(|at| Finding::new(PLACES, format!("a request at {at:?} has no place, or its place was left behind")))
        .collect()
}

pub fn client(to: &Callers) -> ConversationServiceClient<Way> {
    ConversationServiceClient::new(to.way(SERVICE))
}

/// A conversation as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTalk {
    pub id: String,
    members: Vec<String>,
    /// Of the last message.
    pub number: u64,
    written: i64,
    created: i64,
    unread: u64,
    read: u64,
    pub consent: Consent,
    title: String,
    count: u32,
    role: i32,
    revision: u32,
    /// Id, sender, beginning; whether it was unsent.
    last: Option<(String, String, String, bool)>,
    muted: bool,
    muted_until: i64,
    archived: bool,
    marked: bool,
}

impl SeenTalk {
    pub fn of(talk: v1::Conversation) -> Self {
        let (written, created) = (micros(talk.last_message_time.as_ref()), micros(talk.create_time.as_ref()));
        let consent = talk.consent();
        Self {
            id: talk.conversation_id,
            members: talk.member_ids,
            number: talk.last_message_number,
            written,
            created,
            unread: talk.unread_count,
            read: talk.read_number,
            consent,
            title: talk.title,
            count: talk.member_count,
            role: talk.role,
            revision: talk.revision,
            last: talk.last_message.map(|last| (last.message_id, last.sender_id, last.preview, last.unsent)),
            muted: talk.muted,
            muted_until: micros(talk.muted_until.as_ref()),
            archived: talk.archived,
            marked: talk.marked_unread,
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn revision(&self) -> u64 {
        self.revision.into()
    }

    /// Whether it is how the reader saw the conversation then.
    pub fn is(&self, reader: &str, now: &Talk) -> bool {
        let read = now.members.get(reader).copied();
        let (number, written) = now.last_for(reader);
        let count = if now.is_group { now.members.len() } else { 0 };
        let role = now.roles.get(reader).copied().unwrap_or(0);
        // Those who are away are left out.
        self.members.iter().all(|member| !now.is_group && now.members.contains_key(member))
            && (self.count as usize, self.role, self.revision, &self.title) == (count, role, now.revision, &now.title)
            && (self.number, self.written, self.created) == (number, written, now.created)
            && (Some(self.read), self.unread) == (read, now.unread(reader))
            && self.consent == now.consent(reader)
            && self.is_viewed(reader, now)
            && self.is_last(reader, now)
    }

    fn is_viewed(&self, reader: &str, now: &Talk) -> bool {
        let view = now.view(reader);
        let ends = self.muted && view.muted_until != FOR_EVER;
        view.muted().contains(&self.muted)
            && self.muted_until == if ends { view.muted_until } else { 0 }
            && (self.archived, self.marked) == (view.is_archived(now.last(), self.muted), view.is_marked())
    }

    /// In a group what one in a block with the reader wrote last is left out.
    fn is_last(&self, reader: &str, now: &Talk) -> bool {
        let last = now.messages.last().filter(|_| now.last_for(reader).0 > 0);
        let is = |last: &talk::Message| (last.id.clone(), last.sender.clone(), last.text.clone(), last.unsent > 0);
        self.last == last.map(is) || (now.is_group && self.last.is_none())
    }

    /// A last message that is missed though no block stood between its sender and the reader, or shown though one did.
    fn wrong_last(&self, model: &Model, call: &Call, states: &[Talk]) -> Option<Finding> {
        let reader = &call.actor;
        let [now] = states else { return None };
        let sender = &now.messages.last().filter(|_| now.is_group && now.last_for(reader).0 > 0)?.sender;
        let (always, at_times) = blocked(model, call, reader, sender);
        match &self.last {
            None if !at_times => Some(Finding::new(TOKEN, format!("{} lacks its last message for {reader}", self.id))),
            Some(last) if always => Some(Finding::new(HIDDEN, format!("{} shows {reader} {last:?}", self.id))),
            Some(_) | None => None,
        }
    }

    /// Members that are missed though they were there, or shown though they were away.
    fn wrong_members(&self, model: &Model, call: &Call, now: &Talk) -> Option<Finding> {
        // Of a group none are named.
        let mut named = now.members.keys().filter(|_| !now.is_group);
        let missed = named.find(|id| !self.members.contains(id) && !ever_away(model, call, id));
        let shown = self.members.iter().find(|id| always_away(model, call, id));
        let missed = missed.map(|id| Finding::new(TOKEN, format!("{} lacks its member {id}", self.id)));
        missed.or_else(|| shown.map(|id| Finding::new(HIDDEN, format!("{} shows {id}, who is away", self.id))))
    }

    /// What the list is ordered by.
    fn active(&self) -> i64 {
        if self.number > 0 { self.written } else { self.created }
    }
}

#[derive(Debug)]
struct GetOrCreateDirect {
    other: String,
}

#[async_trait]
impl Operation for GetOrCreateDirect {
    type Answer = SeenTalk;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<SeenTalk>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = GetOrCreateDirectRequest { account_id: self.other.clone(), request_id, at_least };
        let opened = client(to).get_or_create_direct(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(SeenTalk::of(opened.conversation.unwrap_or_default()), opened.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        let rpc = "kith.messaging.v1.ConversationService/GetOrCreateDirect";
        let id = record_id(actor, rpc, request_id)?;
        Some(Appended { topic: topics::MESSAGING, key: self.other.clone(), id })
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let told = call.reply().and_then(|reply| reply.answer.get::<SeenTalk>());
        told.is_some_and(|told| talk::last(model, &told.id).is_some_and(|talk| !talk.members.is_empty()))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&SeenTalk, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        let talk = talk::last(model, &told.id).unwrap_or_default();
        let members = [&call.actor, &self.other];
        let is_theirs = talk.members.len() == 2 && members.iter().all(|member| talk.members.contains_key(*member));
        if !call.shaken && !is_theirs {
            return vec![Finding::new(EFFECTIVE_ONCE, format!("{} of {} is {talk:?}", call.op, call.actor))];
        }
        let unasked = consents::opened_unasked(self, model, call, &self.other);
        effective(self, model, call).into_iter().chain(unasked).collect()
    }

    fn stands(&self, model: &Model, call: &Call, told: &SeenTalk) -> bool {
        talk::ever(model, &told.id, |now| told.is(&call.actor, now))
    }

    fn learn(&self, board: &mut Board, actor: &str, told: &SeenTalk) {
        let by = vec![actor.to_owned(), self.other.clone()];
        board.add(CONVERSATIONS, Thing { id: told.id.clone(), by, ..Thing::default() });
    }
}

/// The caller's own.
#[derive(Debug, Clone, Copy)]
struct ListConversations {
    /// What the caller has made of them.
    consent: Consent,
    /// Whether those that were put away.
    archive: bool,
}

const INBOX: ListConversations = ListConversations { consent: Consent::Accepted, archive: false };
const ARCHIVE: ListConversations = ListConversations { consent: Consent::Accepted, archive: true };
const REQUESTS: ListConversations = ListConversations { consent: Consent::Requested, archive: false };

impl ListConversations {
    /// Whether a conversation may be in the list then, and whether it must be.
    fn has(&self, reader: &str, now: &Talk) -> (bool, bool) {
        if !now.is_listed(reader, self.consent) {
            return (false, false);
        }
        if self.consent == Consent::Requested {
            return (true, true);
        }
        let view = now.view(reader);
        let here = |muted: bool| view.is_archived(now.last(), muted) == self.archive;
        let all: Vec<bool> = view.muted().into_iter().map(here).collect();
        (all.contains(&true), !all.contains(&false))
    }
}

#[async_trait]
impl List for ListConversations {
    type Row = SeenTalk;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<SeenTalk>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let list = match self.consent {
            Consent::Requested => ConversationList::Requests.into(),
            _ if self.archive => ConversationList::Archive.into(),
            _ => ConversationList::Inbox.into(),
        };
        let request = ListConversationsRequest { page_size, page_token, at_least, list };
        let page = client(to).list_conversations(to.from(&actor, request)).await?.into_inner();
        // No history has more requests than are listed: if there are said to be, that is a row of no conversation.
        let unlisted = (page.unlisted_at_least > 0).then(v1::Conversation::default);
        let answer = page.conversations.into_iter().chain(unlisted).map(SeenTalk::of).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[SeenTalk]) -> Vec<Finding> {
        let mut there = There::default();
        let talks: BTreeMap<String, Vec<Talk>> = talk::states_of(model, call, &call.actor);
        for (id, states) in &talks {
            let may_be_in = |now: &Talk| self.has(&call.actor, now).0;
            let is_in = |now: &Talk| self.has(&call.actor, now).1;
            // One that rises more often, while its reader walks through the pages, than its places stand may be missed.
            let places: BTreeSet<i64> = states.iter().map(place).collect();
            let is_inbox = self.consent == Consent::Accepted;
            let stands = call.pages == 1 || !is_inbox || places.len() <= LEFT_STANDING + 1;
            // What is between two in a block is among no requests.
            let (never, at_times) =
                if is_inbox { (false, false) } else { talk::parted(model, call, &call.actor, states) };
            there.put(id, states.iter().any(may_be_in) && !never, states.iter().all(is_in) && stands && !at_times);
        }
        let ids: Vec<&str> = rows.iter().map(|row| &*row.id).collect();
        let mut findings = there.check(call, &ids);
        let known = |row: &&SeenTalk| {
            talks.get(&row.id).is_some_and(|states| states.iter().any(|now| row.is(&call.actor, now)))
        };
        let unlike = rows.iter().filter(|row| !known(row));
        let finding = |row: &SeenTalk| {
            Finding::new(
                TOKEN,
                format!("{} of {} has {row:?}, not one of {:?}", call.op, call.actor, talks.get(&row.id)),
            )
        };
        findings.extend(unlike.map(finding));
        let last = |id: &String| talks.get(id).and_then(|states| states.last());
        findings.extend(rows.iter().filter_map(|row| row.wrong_members(model, call, last(&row.id)?)));
        findings.extend(rows.iter().filter_map(|row| row.wrong_last(model, call, talks.get(&row.id)?)));
        // One that rises meanwhile stands where it stood at the beginning.
        let stays = |row: &&SeenTalk| talks.get(&row.id).into_iter().flatten().all(|now| now.active() == row.active());
        let staying: Vec<&SeenTalk> = rows.iter().filter(stays).collect();
        let in_order = match self.consent {
            // A group stands where it was opened for the reader.
            Consent::Requested => {
                let opened = |row: &SeenTalk| {
                    let states = talks.get(&row.id).into_iter().flatten();
                    let all: BTreeSet<i64> =
                        states.map(|now| now.asking.opened(&call.actor).unwrap_or(now.created)).collect();
                    all.first().copied().filter(|_| all.len() == 1)
                };
                let known: Vec<i64> = rows.iter().filter_map(opened).collect();
                known.is_sorted_by(|later, earlier| later >= earlier)
            }
            _ => staying.is_sorted_by(|newer, older| newer.active() >= older.active()),
        };
        if !in_order {
            findings.push(Finding::new(LISTS, format!("{} of {} is out of order: {rows:?}", call.op, call.actor)));
        }
        findings
    }
}
