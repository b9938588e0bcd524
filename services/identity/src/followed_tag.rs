//! The hashtags that an account follows, by that account. Nobody else is told; home feeds are to show posts that carry them.

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{AppliedIds, Fold, Found, Record, Rows, Scope, TAG_EVENTS};
use kith_log::{Topic, topics};
use kith_proto::Event;
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    FollowTagRequest, FollowTagResponse, FollowedTag, ListFollowedTagsRequest, ListFollowedTagsResponse, TagFollowed,
    TagUnfollowed, UnfollowTagRequest, UnfollowTagResponse, rpc,
};
use kith_proto::time;
use kith_relations::are_ids;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk};
use kith_service::text::parse_tag;
use kith_service::{Failure, limits};
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Timestamp, Value, row};

use crate::IdentityService;
use crate::edge::recount;

/// Of a tag: longer ones no command of ours makes, and no key can be as long as an event.
const TAG_BYTES_MAX: usize = limits::HASHTAG_CHARS_MAX * 4;
/// How often a page looks further while it has found only rows that stand for no follow.
const SLICES_PER_PAGE: usize = 8;

/// An account's tags, in the order of their code points: a tag has one place, whatever becomes of it, so a walk through the pages
/// meets each once.
pub static FOLLOWED_TAGS: Table = Table {
    name: "followed_tags",
    partition: &[Column::text("account_id")],
    clustering: &[Column::text("tag")],
    order: Order::Ascending,
    sections: &[Section::of::<TagRow>("followed_tag")],
    summary: TagsSummary::COLUMNS,
};

row! {
    /// What an account makes of a tag.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct TagRow in 0 {
        pub following: bool,
        /// Since when; 0 without a follow.
        pub follow_time: Timestamp,
        /// When that last changed.
        pub change_time: Timestamp,
        pub applied: AppliedIds,
        /// Those that found no room among the tags of the account.
        pub refused: AppliedIds,
    }
}
row! {
    /// How many tags an account follows.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct TagsSummary in 0 { pub tag_count: i64 }
}

/// What a record says of an account and a tag.
#[derive(Debug, Clone, Copy)]
struct Change<'a> {
    account_id: &'a str,
    tag: &'a str,
    /// The most tags that the account may follow, with this one; `None`: it follows the tag no longer.
    follows: Option<u32>,
}

impl<'a> Change<'a> {
    /// `None`: the record is about no tag, or what it names can be in no key.
    fn of(record: &'a Record) -> Option<Self> {
        let (account_id, tag, follows) = match &record.event {
            Event::Identity(Identity::TagFollowed(event)) => (&event.account_id, &event.tag, Some(event.tags_max)),
            Event::Identity(Identity::TagUnfollowed(event)) => (&event.account_id, &event.tag, None),
            _ => return None,
        };
        let fits = are_ids(&[account_id]) && !tag.is_empty() && tag.len() <= TAG_BYTES_MAX;
        fits.then_some(Self { account_id, tag, follows })
    }
}

impl TagRow {
    /// What the record makes of it, beside so many followed tags. A late copy of a command changes nothing.
    fn evolve(&mut self, change: &Change<'_>, record: &Record, tag_count: i64) {
        if self.applied.contains(record.id) || self.refused.contains(record.id) {
            return;
        }
        let is_full = change.follows.is_some_and(|most| tag_count >= i64::from(most));
        let keeps = if is_full && !self.following { &mut self.refused } else { &mut self.applied };
        // It is none of them.
        let _ = keeps.insert(record.id);
        match change.follows {
            Some(_) if !is_full && !self.following => {
                (self.following, self.follow_time, self.change_time) = (true, record.time, record.time);
            }
            None if self.following => {
                (self.following, self.follow_time, self.change_time) = (false, Timestamp::default(), record.time);
            }
            Some(_) | None => {}
        }
    }

    fn present(&self, tag: String) -> FollowedTag {
        FollowedTag { tag, follow_time: Some(time::of_us(self.follow_time.0)) }
    }
}

/// Asks to follow a tag, or to follow it no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    account_id: String,
    /// Normalised.
    tag: String,
    follows: bool,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    own: TagRow,
    /// How many tags the account follows.
    tag_count: i64,
    /// Whether operators opened the events that it makes.
    is_open: bool,
}

/// Why a tag cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the account follows as many hashtags as it may")]
    Full,
    #[error("operators have not opened the events that this makes")]
    EventsNotOpen,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let reason = match rejection {
            Rejection::Full => Reason::FollowedTagsFull,
            Rejection::EventsNotOpen => Reason::EventsNotOpen,
        };
        Self::new(reason, rejection.to_string())
    }
}

/// Followed tags: the fold, and the RPCs.
pub struct FollowedTags;

impl Fold for FollowedTags {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&FOLLOWED_TAGS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        Some(Scope::new(&FOLLOWED_TAGS, Key::text(change.account_id)).with::<TagRow>([change.tag.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let before = rows.get::<TagRow>([change.tag.into()]).unwrap_or_default();
        let TagsSummary { tag_count } = rows.summary();
        let mut after = before.clone();
        after.evolve(&change, record, tag_count);
        if after == before {
            return;
        }
        rows.set_summary(TagsSummary { tag_count: recount(tag_count, before.following, after.following) });
        rows.put([change.tag.into()], after);
    }
}

#[async_trait]
impl Noun for FollowedTags {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Identity;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY;

    fn key(command: &Command) -> &str {
        &command.account_id
    }

    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, account_id) = (&seen.state, &*command.account_id);
        let key = Key::text(account_id);
        let own = state.row::<TagRow>(&FOLLOWED_TAGS, &key, [command.tag.as_str().into()]);
        let (own, tag_count) = try_join!(own, tag_count(seen, account_id))?;
        let rests_on = own.as_ref().map(|own| own.position);
        let own = own.map(|found| found.row).unwrap_or_default();
        let newest = own.change_time;
        Ok(Standing::new(Before { own, tag_count, is_open: seen.events_open() >= TAG_EVENTS }, rests_on).after(newest))
    }

    /// `None`: it stands as asked already, or this very command was applied before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Identity>, Rejection> {
        let Before { own, tag_count, is_open } = before;
        let (account_id, tag) = (command.account_id.clone(), command.tag.clone());
        let create_time = Some(time::of_us(asked.at.0));
        match (command.follows, own.following) {
            _ if own.refused.contains(asked.id) => Err(Rejection::Full),
            _ if own.applied.contains(asked.id) => Ok(None),
            (true, true) | (false, false) => Ok(None),
            (true, false) if !is_open => Err(Rejection::EventsNotOpen),
            (true, false) if *tag_count >= i64::from(tags_max()) => Err(Rejection::Full),
            (true, false) => {
                Ok(Some(Identity::TagFollowed(TagFollowed { account_id, tag, create_time, tags_max: tags_max() })))
            }
            (false, true) => Ok(Some(Identity::TagUnfollowed(TagUnfollowed { account_id, tag, create_time }))),
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(change) = Change::of(record) {
            let followed = before.own.following;
            before.own.evolve(&change, record, before.tag_count);
            before.tag_count = recount(before.tag_count, followed, before.own.following);
        }
    }
}

fn tags_max() -> u32 {
    u32::try_from(limits::FOLLOWED_TAGS).unwrap_or(u32::MAX)
}

async fn tag_count(seen: &Seen<'_>, account_id: &str) -> Result<i64, StoreError> {
    let (key, owner) = (Key::text(account_id), (topics::IDENTITY, account_id));
    let summary = seen.state.summary::<TagsSummary>(&FOLLOWED_TAGS, &key, owner).await?;
    Ok(summary.map(|found| found.row.tag_count).unwrap_or_default())
}

impl Command {
    fn parse(asked: &Asked, tag: &str, follows: bool) -> Result<Self, Failure> {
        Ok(Self { account_id: asked.actor.clone(), tag: parse_tag("tag", tag)?, follows })
    }
}

impl Answers<rpc::FollowTag> for FollowedTags {
    fn parse(_: &IdentityService, asked: &Asked, request: FollowTagRequest) -> Result<Command, Failure> {
        Command::parse(asked, &request.tag, true)
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<FollowTagResponse, Failure> {
        let Before { own, .. } = before;
        if own.refused.contains(asked.id) {
            // Others of the account took the last places before it.
            return Err(Rejection::Full.into());
        }
        let followed_tag = own.following.then(|| own.present(command.tag));
        Ok(FollowTagResponse { followed_tag, ..FollowTagResponse::default() })
    }
}

impl Answers<rpc::UnfollowTag> for FollowedTags {
    fn parse(_: &IdentityService, asked: &Asked, request: UnfollowTagRequest) -> Result<Command, Failure> {
        Command::parse(asked, &request.tag, false)
    }

    fn answer(_: &Opener, _: &Asked, command: Command, _: Before) -> Result<UnfollowTagResponse, Failure> {
        Ok(UnfollowTagResponse { tag: command.tag, ..UnfollowTagResponse::default() })
    }
}

#[async_trait]
impl Lists<rpc::ListFollowedTags> for FollowedTags {
    type Service = IdentityService;
    type Wanted = ();

    fn parse(_: ListFollowedTagsRequest) -> Result<(), Failure> {
        Ok(())
    }

    async fn page(
        _: &IdentityService,
        seen: &Seen<'_>,
        (): (),
        page: &PageAsk,
    ) -> Result<(ListFollowedTagsResponse, Option<Vec<Value>>), Failure> {
        let (count, (rows, next)) = try_join!(tag_count(seen, &seen.viewer), followed(seen, page.clone()))?;
        let followed_tags = rows.iter().map(|found| found.row.present(found.text(0).to_owned())).collect();
        let total_count = u32::try_from(count).unwrap_or_default();
        Ok((ListFollowedTagsResponse { followed_tags, total_count, ..ListFollowedTagsResponse::default() }, next))
    }
}

/// A page of what the viewer follows; where there is only what is over, it looks further.
async fn followed(seen: &Seen<'_>, mut page: PageAsk) -> Result<(Vec<Found<TagRow>>, Option<Vec<Value>>), StoreError> {
    let key = Key::text(&seen.viewer);
    for _ in 0..SLICES_PER_PAGE {
        let (mut rows, next) = page.rows::<TagRow>(seen, &FOLLOWED_TAGS, &key, Vec::new()).await?;
        rows.retain(|found| found.row.following);
        if !rows.is_empty() || next.is_none() {
            return Ok((rows, next));
        }
        page.after = next;
    }
    Ok((Vec::new(), page.after))
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId};
    use proptest::prelude::*;

    use super::*;

    const ADA: &str = "000000000000000000000000000000aa";

    fn record(n: u8, tag: &str, follows: Option<u32>) -> Record {
        let (account_id, tag) = (ADA.to_owned(), tag.to_owned());
        let create_time = Some(time::of_us(n.into()));
        let event = match follows {
            Some(tags_max) => Identity::TagFollowed(TagFollowed { account_id, tag, create_time, tags_max }),
            None => Identity::TagUnfollowed(TagUnfollowed { account_id, tag, create_time }),
        };
        let position = Position { partition: LogPartition { topic: topics::IDENTITY, index: 0 }, offset: n.into() };
        Record::new(position, RecordId([n; 16]), event)
    }

    fn decide(before: &Before, n: u8, follows: bool) -> Result<Option<Identity>, Rejection> {
        let asked = Asked { id: RecordId([n; 16]), actor: ADA.to_owned(), digest: [0; 32], at: Timestamp(n.into()) };
        let command = Command { account_id: ADA.to_owned(), tag: "rust".to_owned(), follows };
        FollowedTags::decide(before, &asked, &command)
    }

    #[test]
    fn a_tag_is_followed_once_and_a_copy_is_no_news() {
        let mut before = Before { is_open: true, ..Before::default() };
        assert!(matches!(decide(&before, 1, true), Ok(Some(Identity::TagFollowed(_)))));
        assert_eq!(decide(&before, 1, false), Ok(None));
        assert_eq!(decide(&Before::default(), 1, true), Err(Rejection::EventsNotOpen));
        FollowedTags::evolve(&mut before, &record(1, "rust", Some(2)));
        assert_eq!((before.tag_count, decide(&before, 2, true)), (1, Ok(None)));
        FollowedTags::evolve(&mut before, &record(3, "rust", None));
        FollowedTags::evolve(&mut before, &record(1, "rust", Some(2)));
        assert_eq!((before.tag_count, before.own.following), (0, false), "a late copy");
        assert_eq!(decide(&before, 1, true), Ok(None));
    }

    #[test]
    fn who_follows_as_many_as_it_may_follows_no_further_one_and_the_record_stays_refused() {
        let full = Before { is_open: true, tag_count: tags_max().into(), ..Before::default() };
        assert_eq!(decide(&full, 1, true), Err(Rejection::Full));
        let mut raced = Before { tag_count: 2, ..full };
        FollowedTags::evolve(&mut raced, &record(7, "rust", Some(2)));
        assert_eq!((raced.tag_count, raced.own.following), (2, false));
        raced.tag_count = 1;
        FollowedTags::evolve(&mut raced, &record(7, "rust", Some(2)));
        assert!(!raced.own.following, "a copy that comes when there is room again");
        assert_eq!(decide(&raced, 7, true), Err(Rejection::Full));
        assert!(matches!(decide(&raced, 8, true), Ok(Some(_))));
    }

    #[test]
    fn what_can_be_in_no_key_is_about_nobody() {
        for tag in [String::new(), "x".repeat(TAG_BYTES_MAX + 1)] {
            assert!(FollowedTags.scope(&record(1, &tag, Some(9))).is_none());
        }
    }

    proptest! {
        /// The number is that of the rows that stand, never above the most, whatever copies come.
        #[test]
        fn the_count_is_that_of_the_list(
            steps in prop::collection::vec((1_u8..30, 0_usize..5, any::<bool>()), 1..60),
        ) {
            let mut rows = Rows::new(&FOLLOWED_TAGS, 0);
            let tags = ["a", "b", "c", "d", "e"];
            let scope = Scope::new(&FOLLOWED_TAGS, Key::text(ADA));
            rows.load_empty(&tags.iter().fold(scope, |scope, &tag| scope.with::<TagRow>([tag.into()])));
            for (offset, (n, tag, follows)) in (0..).zip(steps) {
                let record = record(n, tags[tag], follows.then_some(3));
                rows.apply_at(offset, |rows| FollowedTags.apply(rows, &record));
                let standing = tags.iter().filter(|&&tag| rows.get::<TagRow>([tag.into()]).is_some_and(|row| row.following));
                let standing = standing.count();
                prop_assert!(standing <= 3);
                prop_assert_eq!(rows.summary::<TagsSummary>().tag_count, i64::try_from(standing).unwrap());
            }
        }
    }
}
