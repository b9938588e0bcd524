//! One stream of updates.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::Token;
use kith_log::{LogPartition, Position, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::messaging::v1::stream_updates_response::Update;
use kith_proto::messaging::v1::{CaughtUp, Conversation, Left, MarkerMoved, ReadAgain, StreamUpdatesResponse, rpc};
use kith_service::Failure;
use kith_service::auth::Asker;
use kith_service::call::{Call, Handlers};
use kith_service::deadline::Deadline;
use kith_service::kit::Seen;
use kith_service::query::PageAsk;
use kith_service::tail::{Ended, Heard, Listener};
use kith_tables::{Key, Timestamp};
use tokio::time::Instant;

use super::left_out::LeftOut;
use super::{Change, What};
use crate::conversation::{self, CONVERSATIONS};
use crate::inbox::InboxRow;
use crate::inbox::walk::{Reader, Walk};
use crate::kept::MessageRow;
use crate::listing::{self, Around};
use crate::members::Member;
use crate::summary::Summary;
use crate::{MessagingService, inbox, requests, visible};

const TOO_SLOW: &str = "the stream was not read fast enough; come back with its last cursor";
/// Changes that are read from the tables together.
const TOGETHER: usize = 64;
/// Of these, so many at a time; also of the conversations that are told at the beginning.
const AT_ONCE: usize = 16;
/// Conversations that a new caller is told at the beginning, and requests.
const NEWEST: usize = 100;
/// Conversations that are looked at for a caller who was away, the newest.
const LOOKED_AT: usize = 1_000;

/// What one caller is told.
pub struct Telling {
    service: MessagingService,
    asker: Asker,
    listener: Listener<Change>,
    /// The conversations that were told at the beginning, with what of the log they had: it is not told again.
    shown: BTreeMap<String, Position>,
    ready: VecDeque<StreamUpdatesResponse>,
    /// `None`: it was told that all is told that was before.
    begins: Option<Begins>,
    left_out: LeftOut,
    /// When the caller was last sent something, and when it was last asked whether more is in its sight.
    sent: Instant,
    looked: Instant,
    /// Of the call, which gives each read its time.
    deadline: Deadline,
}

/// How a stream begins.
#[derive(Debug, Clone, Copy)]
enum Begins {
    /// With what the caller missed: each has a cursor.
    Missed,
    /// With conversations as they are. No cursor is good before all that they have is told, or left out.
    Conversations { incomplete: bool },
}

/// What is told of conversations before the changes.
struct Beginning {
    conversations: Vec<(Position, Conversation)>,
    /// Whether there may be more.
    incomplete: bool,
}

/// What a change is to the caller.
enum Told {
    Update(Box<Update>),
    /// A message of one who is out of its sight.
    LeftOut {
        sender_id: String,
    },
    /// Nothing, or it was told with its conversation.
    Nothing,
}

impl From<Option<Update>> for Told {
    fn from(update: Option<Update>) -> Self {
        update.map_or(Self::Nothing, |update| Self::Update(Box::new(update)))
    }
}

impl Telling {
    pub async fn begin(service: &MessagingService, call: Call<rpc::StreamUpdates>) -> Result<Self, Failure> {
        let (kit, Call { asker, deadline, request }) = (service.kit(), call);
        let mut token = kit.parse_tokens(&request.at_least)?;
        let since = match request.cursor.as_str() {
            "" => None,
            cursor => Some(kit.parse_token("cursor", cursor)?),
        };
        since.iter().for_each(|since| token.merge(since));
        let seen = kit.see_for(&asker, &token, deadline).await?;
        let account = asker.caller()?.account_id;
        let (listener, is_whole) = service.updates().listen(&seen, account, since.as_ref()).await?;
        let (shown, ready, begins) = (BTreeMap::new(), VecDeque::new(), Some(Begins::Missed));
        let (left_out, now) = (LeftOut::default(), Instant::now());
        let mut own = Self {
            service: service.clone(),
            asker,
            listener,
            shown,
            ready,
            begins,
            left_out,
            sent: now,
            looked: now,
            deadline,
        };
        if !is_whole {
            own.begin_with(beginning(service, &seen, since.as_ref()).await?);
        }
        Ok(own)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Result<StreamUpdatesResponse, Failure> {
        let next = self.told_next().await?;
        self.sent = Instant::now();
        Ok(next)
    }

    async fn told_next(&mut self) -> Result<StreamUpdatesResponse, Failure> {
        let quiet = self.service.quiet;
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Ok(update);
            }
            if let Some(begins) = self.begins.filter(|_| self.listener.is_caught_up()) {
                self.begins = None;
                let incomplete = matches!(begins, Begins::Conversations { incomplete: true });
                return self.alone(Some(Update::CaughtUp(CaughtUp { incomplete }))).await;
            }
            // Also where all that comes is left out, or nothing is told before all of it.
            let now = Instant::now();
            if now >= self.sent + quiet {
                return self.alone(None).await;
            }
            if !self.left_out.is_empty() && now >= self.looked + quiet {
                self.look_again().await?;
                continue;
            }
            let looks = if self.left_out.is_empty() { self.sent } else { self.sent.min(self.looked) };
            let changes = self.listener.next(TOGETHER, looks + quiet).await.map_err(|ended| match ended {
                Ended::TooSlow => Failure::new(Reason::StreamTooSlow, TOO_SLOW),
                Ended::Jumped | Ended::Failed => Failure::log_unavailable(),
            })?;
            if !changes.is_empty() {
                self.ready = self.read(&changes).await?;
            }
        }
    }

    /// Tells which conversations have more in the caller's sight than it was told.
    async fn look_again(&mut self) -> Result<(), Failure> {
        self.looked = Instant::now();
        let seen = self.service.kit().see_for(&self.asker, &Token::default(), self.deadline.renewed()).await?;
        let again = self.left_out.seen_again(&seen.state, &seen.viewer).await?;
        drop(seen);
        for conversation_id in again {
            let cursor = self.cursor()?;
            let update = Some(Update::ReadAgain(ReadAgain { conversation_id }));
            self.ready.push_back(StreamUpdatesResponse { cursor, update });
        }
        Ok(())
    }

    /// All that was told, as a cursor; none where conversations are told first.
    fn cursor(&mut self) -> Result<String, Failure> {
        match self.begins {
            Some(Begins::Conversations { .. }) => Ok(String::new()),
            Some(Begins::Missed) | None => {
                let cursor = self.listener.heard();
                self.service.kit().sealed(&cursor)
            }
        }
    }

    /// An update with all that was told as its cursor, to who still may call.
    async fn alone(&mut self, update: Option<Update>) -> Result<StreamUpdatesResponse, Failure> {
        self.service.kit().see_for(&self.asker, &Token::default(), self.deadline.renewed()).await?;
        let cursor = self.cursor()?;
        self.forget_shown();
        Ok(StreamUpdatesResponse { cursor, update })
    }

    fn begin_with(&mut self, Beginning { conversations, incomplete }: Beginning) {
        for (position, conversation) in conversations {
            self.shown.insert(conversation.conversation_id.clone(), position);
            self.listener.awaits(position);
            let update = Some(Update::Conversation(conversation));
            self.ready.push_back(StreamUpdatesResponse { cursor: String::new(), update });
        }
        self.begins = Some(Begins::Conversations { incomplete });
    }

    /// What the changes are to the caller, by the tables as they are now.
    async fn read(&mut self, changes: &[Arc<Heard<Change>>]) -> Result<VecDeque<StreamUpdatesResponse>, Failure> {
        let (kit, deadline) = (self.service.kit(), self.deadline.renewed());
        let token: Token = changes.iter().map(|change| change.position).collect();
        let seen = kit.see_for(&self.asker, &token, deadline).await?;
        let read: Vec<_> = changes.iter().map(|change| self.update(&seen, change)).collect();
        let updates: Vec<Told> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
        let mut ready = VecDeque::new();
        let last = changes.len() - 1;
        for (at, (change, update)) in changes.iter().zip(updates).enumerate() {
            self.listener.told(change.position);
            let place = if at == last { self.listener.heard() } else { self.listener.place() };
            let cursor = match self.begins {
                Some(Begins::Conversations { .. }) => String::new(),
                Some(Begins::Missed) | None => seen.sealed(&place)?,
            };
            match update {
                Told::Update(update) => {
                    ready.push_back(StreamUpdatesResponse { cursor, update: Some(*update) });
                }
                Told::LeftOut { sender_id } => self.left_out.add(&change.item.conversation_id, &sender_id),
                Told::Nothing => {}
            }
        }
        drop(seen);
        self.forget_shown();
        Ok(ready)
    }

    async fn update(&self, seen: &Seen<'_>, heard: &Heard<Change>) -> Result<Told, Failure> {
        let Change { conversation_id, what } = &heard.item;
        let was_told = self.shown.get(conversation_id).is_some_and(|shown| heard.position.offset <= shown.offset);
        if was_told {
            return Ok(Told::Nothing);
        }
        let found = conversation::summary(&seen.state, conversation_id).await?;
        let Some(member) = found.row.members.get(&seen.viewer) else {
            let conversation_id = conversation_id.clone();
            let is_own = matches!(what, What::Gone { account_id } if *account_id == seen.viewer);
            let left = is_own.then_some(Update::Left(Left { conversation_id }));
            return Ok(left.into());
        };
        match what {
            What::Conversation | What::Gone { .. } => {
                Ok(self.conversation(seen, conversation_id, &found.row).await?.into())
            }
            What::Marker { account_id } if *account_id == seen.viewer => {
                Ok(self.conversation(seen, conversation_id, &found.row).await?.into())
            }
            What::Marker { account_id } if member.consent.is_told() => {
                let conversation_id = conversation_id.clone();
                let marker = listing::marker_of(seen, &found.row, account_id).await?.map(Some);
                let moved = marker.map(|marker| Update::MarkerMoved(MarkerMoved { conversation_id, marker }));
                Ok(moved.into())
            }
            What::Message { message_id, number } if is_told(member, *number) => {
                message_as_seen(seen, (conversation_id, &found.row), (*number, message_id)).await
            }
            What::Marker { .. } | What::Message { .. } => Ok(Told::Nothing),
        }
    }

    async fn conversation(&self, seen: &Seen<'_>, id: &str, summary: &Summary) -> Result<Option<Update>, Failure> {
        let viewer = (seen.viewer.as_str(), inbox::now(&self.service));
        let shown = inbox::seen_by(&seen.state, &seen.opener(), viewer, (id, summary)).await?;
        Ok(shown.map(Update::Conversation))
    }

    /// What no change can be of any more.
    fn forget_shown(&mut self) {
        let listener = &self.listener;
        self.shown.retain(|_, position| !listener.has_told(*position));
    }
}

/// Whether the member is told the message of that number: it has not declined, and was there.
fn is_told(member: &Member, number: i64) -> bool {
    member.consent.is_told() && member.sees(number)
}

async fn message_as_seen(
    seen: &Seen<'_>,
    (conversation_id, summary): (&str, &Summary),
    (number, message_id): (i64, &str),
) -> Result<Told, Failure> {
    let key = Key::text(conversation_id);
    let found = seen.state.row::<MessageRow>(&CONVERSATIONS, &key, [number.into(), message_id.into()]).await?;
    let Some(found) = found else { return Ok(Told::Nothing) };
    if !visible::sees(&seen.state, &seen.viewer, summary, (number, &found.row.sender_id)).await? {
        return Ok(Told::LeftOut { sender_id: found.row.sender_id });
    }
    let around = Around::of_messages(seen, conversation_id, summary, std::slice::from_ref(&found)).await?;
    Ok(Some(Update::Message(around.present(&seen.opener(), found, conversation_id))).into())
}

/// The conversations of the caller that changed since, or all of the newest.
async fn beginning(service: &MessagingService, seen: &Seen<'_>, since: Option<&Token>) -> Result<Beginning, Failure> {
    let (state, partitions) = (&seen.state, seen.state.partition_count());
    // Also what was put away.
    let shows = |_: &InboxRow| true;
    let reader = Reader { tables: &**state.keyspace(), partitions, account_id: &seen.viewer, shows: &shows };
    let most = if since.is_some() { LOOKED_AT } else { NEWEST };
    let (mut ids, mut walk) = (Vec::new(), Some(Walk::new(&state.as_of(), partitions)));
    while let Some(from) = walk.take().filter(|_| ids.len() < most) {
        let (page, next) = reader.page(from, NEWEST).await?;
        ids.extend(page.into_iter().map(|(id, _)| id));
        walk = next;
    }
    let incomplete = walk.is_some() || ids.len() > most;
    let waiting = requests::page(state, &seen.viewer, &PageAsk { size: NEWEST, after: None }).await?;
    ids.extend(waiting.into_iter().flat_map(|page| page.requests).map(|request| request.conversation_id));
    let read: Vec<_> = ids.into_iter().map(|id| as_it_is(seen, inbox::now(service), id)).collect();
    let found: Vec<Option<(Position, Conversation)>> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
    let is_new =
        |position: &Position| since.is_none_or(|since| since.offset(position.partition) < Some(position.offset));
    let conversations = found.into_iter().flatten().filter(|(position, _)| is_new(position)).collect();
    Ok(Beginning { conversations, incomplete })
}

/// The conversation with what of the log it has.
async fn as_it_is(
    seen: &Seen<'_>,
    at: Timestamp,
    conversation_id: String,
) -> Result<Option<(Position, Conversation)>, Failure> {
    let found = conversation::summary(&seen.state, &conversation_id).await?;
    let partition = LogPartition::of_key(topics::MESSAGING, &conversation_id, seen.state.partition_count());
    let position = Position { partition, offset: found.position };
    let viewer = (seen.viewer.as_str(), at);
    let shown = inbox::seen_by(&seen.state, &seen.opener(), viewer, (&conversation_id, &found.row)).await?;
    Ok(shown.map(|conversation| (position, conversation)))
}
