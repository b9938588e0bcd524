//! Messages as they are listed: newest first, each as it is now, with what it replies to, its reactions, and how far others have read.
//!
//! Numbers have no gaps and a message keeps its own, so pages stay as they are while messages arrive. A page without replies and
//! reactions costs two reads; replies cost one more, reactions one and two for the blocks, and one per 500 reactions that blocks may
//! hide.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{Found, State};
use kith_proto::messaging::v1::{
    ListMessagesRequest, ListMessagesResponse, Message, MessageContent, MessageQuote, MessageReactionCount,
    PublicMarker, rpc,
};
use kith_proto::time;
use kith_relations::sight::{Sights, Viewer};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_service::{Failure, limits};
use kith_tables::{Key, StoreError, Value};
use kith_text::beginning;

use crate::addressed::stored;
use crate::amend::{ReactionRow, reaction_of};
use crate::conversation::CONVERSATIONS;
use crate::kept::MessageRow;
use crate::members::Member;
use crate::summary::Summary;
use crate::visible::{self, Page};
use crate::{MessagingService, Rejection};

/// Rows of reactions read at once.
const REACTIONS_READ: usize = 500;

/// Which messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub conversation_id: String,
    /// The first page begins with this message; empty: with the last one.
    pub from_id: String,
    /// Whether it has it in the middle.
    pub centered: bool,
}

/// Lists messages.
pub struct Listing;

#[async_trait]
impl Lists<rpc::ListMessages> for Listing {
    type Service = MessagingService;
    type Wanted = Wanted;

    fn parse(request: ListMessagesRequest) -> Result<Wanted, Failure> {
        let ListMessagesRequest { conversation_id, from_message_id: from_id, centered, .. } = request;
        parse_id("conversation_id", &conversation_id)?;
        if !from_id.is_empty() {
            parse_id("from_message_id", &from_id)?;
        }
        Ok(Wanted { conversation_id, from_id, centered })
    }

    async fn page(
        _: &MessagingService,
        seen: &Seen<'_>,
        wanted: Wanted,
        page: &PageAsk,
    ) -> Result<(ListMessagesResponse, Option<Vec<Value>>), Failure> {
        let conversation_id = wanted.conversation_id.as_str();
        let begins = page.after.is_none() && !wanted.from_id.is_empty();
        let Page { summary, rows, next, left_out } = if begins {
            let (number, sender_id, page) = beginning_at(seen, &wanted, page).await?;
            visible::page(seen, conversation_id, &page, Some((number, &sender_id))).await?
        } else {
            visible::page(seen, conversation_id, page, None).await?
        };
        let around = Around::of(seen, conversation_id, &summary, &rows).await?;
        let opener = seen.opener();
        let messages = rows.into_iter().map(|found| around.present(&opener, found, conversation_id)).collect();
        let public_markers = around.markers(&summary);
        let omitted_count = omitted_count(left_out);
        let response =
            ListMessagesResponse { messages, public_markers, omitted_count, ..ListMessagesResponse::default() };
        Ok((response, next))
    }
}

/// The page that begins with a message, or has it in its middle; with the message's number and sender.
async fn beginning_at(seen: &Seen<'_>, wanted: &Wanted, page: &PageAsk) -> Result<(i64, String, PageAsk), Failure> {
    let (state, conversation_id) = (&seen.state, wanted.conversation_id.as_str());
    let Some((number, found)) = stored(state, conversation_id, &wanted.from_id).await? else {
        // Who is not in the conversation is told only that.
        visible::page(seen, conversation_id, &PageAsk { size: 1, after: None }, None).await?;
        return Err(Rejection::MessageNotFound.into());
    };
    let newer = if wanted.centered { i64::try_from(page.size / 2).unwrap_or(0) } else { 0 };
    let above = number.saturating_add(newer).saturating_add(1);
    Ok((number, found.row.sender_id, PageAsk { size: page.size, after: Some(vec![above.into()]) }))
}

/// An account, and the number and id of a message.
type Reactor<'a> = (&'a str, &'a (i64, String));

/// What is shown with messages.
pub struct Around {
    viewer: String,
    /// Whether the viewer is in the conversation now.
    is_member: bool,
    /// What they reply to, by id.
    replied: BTreeMap<String, (i64, MessageRow)>,
    /// The viewer's reactions, by message.
    own: BTreeMap<String, ReactionRow>,
    /// Reactions that a block hides, by message.
    hidden: BTreeMap<String, Vec<ReactionRow>>,
    sights: Sights,
}

impl Around {
    /// Of a conversation as it stands now, with how far others have read.
    async fn of(
        seen: &Seen<'_>,
        conversation_id: &str,
        summary: &Summary,
        rows: &[Found<MessageRow>],
    ) -> Result<Self, StoreError> {
        let is_told = summary.members.others(&seen.viewer).any(|other| other.progress.shown_number() > 0);
        Self::read(seen, (conversation_id, summary), rows, is_told).await
    }

    /// The same, of messages alone.
    pub async fn of_messages(
        seen: &Seen<'_>,
        conversation_id: &str,
        summary: &Summary,
        rows: &[Found<MessageRow>],
    ) -> Result<Self, StoreError> {
        Self::read(seen, (conversation_id, summary), rows, false).await
    }

    async fn read(
        seen: &Seen<'_>,
        (conversation_id, summary): (&str, &Summary),
        rows: &[Found<MessageRow>],
        is_told: bool,
    ) -> Result<Self, StoreError> {
        let (state, viewer, key) = (&seen.state, seen.viewer.as_str(), &Key::text(conversation_id));
        let replies = rows.iter().map(|found| (&found.row.reply_to_id, found.row.reply_to_number));
        let replies: BTreeSet<_> = replies.filter(|(id, _)| !id.is_empty()).collect();
        let reacted: Vec<_> = rows.iter().filter(|found| !found.row.reactions.is_empty()).map(place).collect();
        let asks_who = !reacted.is_empty() || is_told;
        let others = summary.members.account_ids().filter(|_| asks_who);
        let looks = Viewer::new(state, viewer);
        let own: Vec<Reactor<'_>> = reacted.iter().map(|message| (viewer, message)).collect();
        let (replied, own, sights) =
            try_join!(quoted(state, key, replies), reactions(state, key, own), looks.meetings(others),)?;
        let blocked = summary.members.others(viewer).map(|other| other.account_id.as_str());
        let blocked: Vec<&str> = blocked.filter(|other| asks_who && !sights.of(other).is_clear()).collect();
        let mut of_blocked: Vec<Reactor<'_>> = Vec::new();
        for other in blocked {
            of_blocked.extend(reacted.iter().map(|message| (other, message)));
        }
        let mut hidden: BTreeMap<String, Vec<ReactionRow>> = BTreeMap::new();
        for (message_id, row) in reactions(state, key, of_blocked).await? {
            hidden.entry(message_id).or_default().push(row);
        }
        let mut replied = replied;
        let shown = replied.values().map(|(number, row)| (*number, row.sender_id.as_str()));
        let shown = visible::only_seen(seen, conversation_id, summary, shown).await?;
        replied.retain(|_, (number, _)| shown.contains(number));
        let (viewer, is_member) = (viewer.to_owned(), summary.members.get(viewer).is_some());
        Ok(Self { viewer, is_member, replied, own: own.into_iter().collect(), hidden, sights })
    }

    pub fn present(&self, opener: &Opener, found: Found<MessageRow>, conversation_id: &str) -> Message {
        let (number, message_id) = place(&found);
        let row = found.row;
        let MessageContent { text, facets, media_ids } = opener.open(&row.content);
        let at = |time: kith_tables::Timestamp| (time.0 != 0).then(|| time::of_us(time.0));
        Message {
            conversation_id: conversation_id.to_owned(),
            number: number.unsigned_abs(),
            text,
            create_time: Some(time::of_us(row.create_time.0)),
            edit_time: at(row.edit_time).filter(|_| !row.is_unsent()),
            unsend_time: at(row.unsend_time),
            facets,
            media_ids,
            reply_to: self.quote(opener, &row),
            reactions: self.counts(&message_id, &row),
            message_id,
            sender_id: row.sender_id,
        }
    }

    fn quote(&self, opener: &Opener, row: &MessageRow) -> Option<MessageQuote> {
        let (_, replied) = self.replied.get(&row.reply_to_id).filter(|_| !row.is_unsent())?;
        let MessageContent { text, .. } = opener.open(&replied.content);
        Some(MessageQuote {
            message_id: row.reply_to_id.clone(),
            number: row.reply_to_number.unsigned_abs(),
            sender_id: replied.sender_id.clone(),
            text: beginning(&text, limits::MESSAGE_PREVIEW).to_owned(),
            unsent: replied.is_unsent(),
        })
    }

    /// The most frequent first.
    fn counts(&self, message_id: &str, row: &MessageRow) -> Vec<MessageReactionCount> {
        let hidden = self.hidden.get(message_id).map(Vec::as_slice).unwrap_or_default();
        let own = self.own.get(message_id);
        let count = |(grapheme, all): (&str, i64)| {
            let hidden = hidden.iter().filter(|row| row.has(grapheme)).count();
            let count = all.unsigned_abs().saturating_sub(hidden as u64);
            let own = own.is_some_and(|own| own.has(grapheme));
            (count > 0).then(|| MessageReactionCount { grapheme: grapheme.to_owned(), count, own })
        };
        let mut counts: Vec<MessageReactionCount> = row.reactions.iter().filter_map(count).collect();
        counts.sort_by(|one, other| (other.count, &one.grapheme).cmp(&(one.count, &other.grapheme)));
        counts
    }

    fn markers(&self, summary: &Summary) -> Vec<PublicMarker> {
        let others = summary.members.others(&self.viewer).filter(|_| self.is_member);
        let in_sight = others.filter(|other| self.sights.of(&other.account_id).is_clear());
        in_sight.filter_map(marker).collect()
    }
}

/// How far a member says to have read. A stranger is not told what waits unread, or read.
fn marker(member: &Member) -> Option<PublicMarker> {
    let number = member.progress.shown_number();
    let is_told = number > 0 && member.consent.stands();
    is_told.then(|| PublicMarker { account_id: member.account_id.clone(), read_number: number.unsigned_abs() })
}

/// How far these members say to have read: of those whom the caller sees.
pub async fn markers_of(
    seen: &Seen<'_>,
    members: impl Iterator<Item = &Member>,
) -> Result<Vec<PublicMarker>, StoreError> {
    let mut markers: Vec<PublicMarker> = members.filter_map(marker).collect();
    if !markers.is_empty() {
        let looks = Viewer::new(&seen.state, &seen.viewer);
        let sights = looks.meetings(markers.iter().map(|marker| marker.account_id.as_str())).await?;
        markers.retain(|marker| sights.of(&marker.account_id).is_clear());
    }
    Ok(markers)
}

fn place(found: &Found<MessageRow>) -> (i64, String) {
    let number = match found.clustering.first() {
        Some(Value::BigInt(number)) => *number,
        _ => 0,
    };
    (number, found.text(1).to_owned())
}

/// Messages that are replied to, at most a page of them, by id.
async fn quoted(
    state: &State,
    key: &Key,
    replies: BTreeSet<(&String, i64)>,
) -> Result<BTreeMap<String, (i64, MessageRow)>, StoreError> {
    if replies.is_empty() {
        return Ok(BTreeMap::new());
    }
    let clusterings = replies.iter().map(|(id, number)| vec![(*number).into(), id.as_str().into()]);
    let rows = state.rows::<MessageRow>(&CONVERSATIONS, key, clusterings).await?;
    let quoted = replies.iter().zip(rows);
    Ok(quoted.filter_map(|((id, number), found)| Some(((*id).clone(), (*number, found?.row)))).collect())
}

/// The reactions of these accounts to these messages, by message.
async fn reactions(
    state: &State,
    key: &Key,
    wanted: Vec<Reactor<'_>>,
) -> Result<Vec<(String, ReactionRow)>, StoreError> {
    let mut all = Vec::new();
    for part in wanted.chunks(REACTIONS_READ) {
        let clusterings = part.iter().map(|(account, (number, id))| reaction_of(account, *number, id).to_vec());
        let rows = state.rows::<ReactionRow>(&CONVERSATIONS, key, clusterings).await?;
        let found = part.iter().zip(rows).filter_map(|((_, (_, id)), found)| Some((id.clone(), found?.row)));
        all.extend(found);
    }
    Ok(all)
}
