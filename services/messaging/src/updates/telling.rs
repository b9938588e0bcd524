//! One stream of updates.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::Token;
use kith_log::{Position, topics};
use kith_proto::messaging::v1::stream_updates_response::Update;
use kith_proto::messaging::v1::{CaughtUp, Left, MarkerMoved, ReadAgain, StreamUpdatesResponse, rpc};
use kith_relations::sight::Viewer;
use kith_service::auth::Asker;
use kith_service::call::{Call, Handlers};
use kith_service::deadline::Deadline;
use kith_service::kit::Seen;
use kith_service::tail::{Ended, Heard, Listener};
use kith_service::{Failure, unread};
use kith_tables::Key;
use tokio::time::Instant;

use super::beginning::{Beginning, Beginnings, shared_with};
use super::left_out::{LeftOut, SeenAgain};
use super::shown::{self, Told};
use super::{Change, What};
use crate::conversation::{self, CONVERSATIONS};
use crate::kept::MessageRow;
use crate::listing::{self, Around};
use crate::members::Member;
use crate::summary::Summary;
use crate::{MessagingService, inbox, visible};

/// Changes that are read from the tables together, and then wait for the caller to take them.
const TOGETHER: usize = 16;

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
    /// Up to which records of identity's log the caller was told what blocks had left out. Each cursor has it too: who comes back with
    /// one is told of the blocks that ended after these records.
    sight: Token,
    /// When the caller was last sent something, and when it was last asked whether more is in its sight.
    sent: Instant,
    looked: Instant,
    /// Of the call, which gives each read its time.
    deadline: Deadline,
}

/// How a stream begins.
enum Begins {
    /// With what the caller missed: each has a cursor.
    Missed,
    /// With conversations as they are. No cursor is good before all that they have is told, or left out.
    Conversations(Beginning),
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
        let begins = match is_whole {
            true => Begins::Missed,
            false => Begins::Conversations(Beginning::find(&seen, since.clone()).await?),
        };
        let sight = sight_of(&seen);
        let (mut left_out, mut ready) = (LeftOut::default(), VecDeque::new());
        if let Some(since) = &since {
            let between = Viewer::new(&seen.state, &seen.viewer).between(since).await?;
            left_out = LeftOut::of(between.standing);
            let again = shared_with(&seen, &between.ended).await?;
            // Nothing else is told before.
            ready.extend(again.into_iter().map(|id| read_again(id, request.cursor.clone())));
        }
        let now = Instant::now();
        Ok(Self {
            service: service.clone(),
            asker,
            listener,
            shown: BTreeMap::new(),
            ready,
            begins: Some(begins),
            left_out,
            sight,
            sent: now,
            looked: now,
            deadline,
        })
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
            if self.tells_conversations().await? {
                continue;
            }
            if let Some(begins) = self.begins.take_if(|_| self.listener.is_caught_up()) {
                let incomplete = matches!(begins, Begins::Conversations(Beginning { incomplete: true, .. }));
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
                Ended::TooSlow => unread::too_slow(),
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
        let sight = sight_of(&seen);
        let SeenAgain { conversations, accounts } = self.left_out.seen_again(&seen.state, &seen.viewer).await?;
        let mut again = shared_with(&seen, &accounts).await?;
        again.retain(|id| !conversations.contains(id));
        drop(seen);
        for conversation_id in conversations.into_iter().chain(again) {
            let cursor = self.cursor()?;
            self.ready.push_back(read_again(conversation_id, cursor));
        }
        self.sight = sight;
        Ok(())
    }

    /// All that was told, as a cursor.
    fn cursor(&mut self) -> Result<String, Failure> {
        let heard = self.listener.heard();
        self.cursor_at(heard)
    }

    /// The cursor of who was told the changes up to `place`; none while conversations are told first.
    fn cursor_at(&self, mut place: Token) -> Result<String, Failure> {
        match self.begins {
            Some(Begins::Conversations(_)) => Ok(String::new()),
            Some(Begins::Missed) | None => {
                place.merge(&self.sight);
                self.service.kit().sealed(&place)
            }
        }
    }

    /// An update with all that was told as its cursor, to who still may call.
    async fn alone(&mut self, update: Option<Update>) -> Result<StreamUpdatesResponse, Failure> {
        let seen = self.service.kit().see_for(&self.asker, &Token::default(), self.deadline.renewed()).await?;
        if self.left_out.is_empty() {
            self.sight = sight_of(&seen);
        }
        drop(seen);
        let cursor = self.cursor()?;
        self.forget_shown();
        Ok(StreamUpdatesResponse { cursor, update })
    }

    /// Makes the next conversations of the beginning ready; false: all are told.
    async fn tells_conversations(&mut self) -> Result<bool, Failure> {
        let Some(Begins::Conversations(beginning)) = self.begins.as_mut() else { return Ok(false) };
        if beginning.is_told() {
            return Ok(false);
        }
        let (kit, deadline) = (self.service.kit(), self.deadline.renewed());
        let seen = kit.see_for(&self.asker, &Token::default(), deadline).await?;
        for next in beginning.next(&seen, inbox::now(&self.service)).await? {
            let Beginnings { conversation_id, position, updates } = next;
            if !updates.is_empty() {
                self.shown.insert(conversation_id, position);
                self.listener.awaits(position);
            }
            let told = |update| StreamUpdatesResponse { cursor: String::new(), update: Some(update) };
            self.ready.extend(updates.into_iter().map(told));
        }
        Ok(true)
    }

    /// What the changes are to the caller, by the tables as they are now.
    async fn read(&mut self, changes: &[Arc<Heard<Change>>]) -> Result<VecDeque<StreamUpdatesResponse>, Failure> {
        let (kit, deadline) = (self.service.kit(), self.deadline.renewed());
        let token: Token = changes.iter().map(|change| change.position).collect();
        let seen = kit.see_for(&self.asker, &token, deadline).await?;
        let read: Vec<_> = changes.iter().map(|change| self.update(&seen, change)).collect();
        let updates: Vec<Told> = stream::iter(read).buffered(TOGETHER).try_collect().await?;
        let mut ready = VecDeque::new();
        let last = changes.len() - 1;
        for (at, (change, update)) in changes.iter().zip(updates).enumerate() {
            self.listener.told(change.position);
            let place = if at == last { self.listener.heard() } else { self.listener.place() };
            match update {
                Told::Update(update) => {
                    let cursor = self.cursor_at(place)?;
                    ready.push_back(StreamUpdatesResponse { cursor, update: Some(*update) });
                }
                Told::LeftOut { account_id } => self.left_out.add(&change.item.conversation_id, &account_id),
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
        let (at, of) = (inbox::now(&self.service), (conversation_id.as_str(), &found.row, member));
        match what {
            What::Conversation | What::Gone { .. } => shown::conversation(seen, at, of, false).await,
            What::Own => shown::conversation(seen, at, of, true).await,
            What::Marker { account_id } if *account_id == seen.viewer => shown::conversation(seen, at, of, true).await,
            What::Marker { account_id } => marker(seen, of, account_id).await,
            What::Message { message_id, number } if is_told(member, *number) => {
                message(seen, of, (*number, message_id)).await
            }
            What::Message { .. } => Ok(Told::Nothing),
        }
    }

    /// What no change can be of any more.
    fn forget_shown(&mut self) {
        let listener = &self.listener;
        self.shown.retain(|_, position| !listener.has_told(*position));
    }
}

/// What the tables have of the log that blocks are in.
fn sight_of(seen: &Seen<'_>) -> Token {
    seen.state.as_of().positions().filter(|position| position.partition.topic == topics::IDENTITY).collect()
}

fn read_again(conversation_id: String, cursor: String) -> StreamUpdatesResponse {
    StreamUpdatesResponse { cursor, update: Some(Update::ReadAgain(ReadAgain { conversation_id })) }
}

/// Whether the member is told the message of that number: it has not declined, and was there.
fn is_told(member: &Member, number: i64) -> bool {
    member.consent.is_told() && member.sees(number)
}

async fn marker(
    seen: &Seen<'_>,
    (conversation_id, summary, member): (&str, &Summary, &Member),
    account_id: &str,
) -> Result<Told, Failure> {
    if !member.consent.is_told() {
        return Ok(Told::Nothing);
    }
    if let Some(instead) = shown::hidden(seen, summary, member).await? {
        return Ok(instead);
    }
    let marker = listing::markers_of(seen, summary.members.get(account_id).into_iter()).await?.pop();
    let moved = |marker| MarkerMoved { conversation_id: conversation_id.to_owned(), marker: Some(marker) };
    Ok(marker.map(moved).map(Update::MarkerMoved).into())
}

async fn message(
    seen: &Seen<'_>,
    (conversation_id, summary, member): (&str, &Summary, &Member),
    (number, message_id): (i64, &str),
) -> Result<Told, Failure> {
    // What is written in a direct conversation both find in it, whatever stands between them.
    if summary.is_group()
        && let Some(instead) = shown::hidden(seen, summary, member).await?
    {
        return Ok(instead);
    }
    let key = Key::text(conversation_id);
    let found = seen.state.row::<MessageRow>(&CONVERSATIONS, &key, [number.into(), message_id.into()]).await?;
    let Some(found) = found else { return Ok(Told::Nothing) };
    if !visible::sees(&seen.state, &seen.viewer, summary, (number, &found.row.sender_id)).await? {
        return Ok(Told::LeftOut { account_id: found.row.sender_id });
    }
    let around = Around::of_messages(seen, conversation_id, summary, std::slice::from_ref(&found)).await?;
    Ok(Some(Update::Message(around.present(&seen.opener(), found, conversation_id))).into())
}
