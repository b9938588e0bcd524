//! Profiles: what they say, and which updates win: of those that start from one revision the first in the log. An update is an
//! intent in the private topic; of a won one the arbiter then appends the fact.

use async_trait::async_trait;
use bytes::Bytes;
use futures::try_join;
use kith_fold::{Append, Contest, Found, PROFILE_EVENTS, Record, State, WaitError};
use kith_log::{Position, RecordId, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::private::v1::ProfileRequested;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{Profile, ProfileUpdated, UpdateProfileRequest, UpdateProfileResponse, rpc};
use kith_proto::posts::v1::Facet;
use kith_proto::{Event, time};
use kith_relations::account::{ACCOUNTS, AccountRow};
use kith_relations::{are_ids, mention, revision};
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::kit::Seen;
use kith_service::text::{self, parse_name, parse_text_or_empty};
use kith_service::{Failure, ids, limits};
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, row};
use kith_text::address::is_web_address;
use kith_text::language::is_language_tag;

use crate::counts::counted;
use crate::{IdentityService, read};

pub static PROFILE_CLAIMS: Table = Table {
    name: "profile_claims",
    partition: &[Column::text("account_id")],
    clustering: &[Column::text("intent_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ClaimRow>("claim")],
    summary: UpdatesSummary::COLUMNS,
};

row! {
    /// The verdict on an intent. Its row's position is the intent's own.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ClaimRow in 0 {
        pub won: bool,
        /// What the update made the revision, or the one that it found and had not expected.
        pub revision: i64,
        pub payload_digest: Bytes,
    }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct UpdatesSummary in 0 {
        /// How many updates have won.
        pub updates: i64,
    }
}

/// Asks for another profile.
#[derive(Debug, Clone)]
pub struct Command {
    pub account_id: String,
    pub profile: Profile,
    /// 0: whichever it is.
    pub expected_revision: u32,
}

/// What is known about an update that is asked for.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub account: Option<AccountRow>,
    /// The verdict, if the same intent has been asked for before.
    pub claim: Option<ClaimRow>,
    /// The revision after all intents that are folded.
    pub revision: u32,
    /// What is found in the bio that is asked for.
    pub bio_facets: Vec<Facet>,
    /// Whether the version of the events is open that has updates.
    pub is_open: bool,
}

/// Why a profile is not updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("account was not found")]
    NotFound,
    #[error("the request id was used for another profile")]
    RequestIdReused,
    #[error("operators have not opened the version of the events that has updates of profiles")]
    EventsNotOpen,
    #[error("the profile is at revision {current}: read it again, then decide")]
    RevisionStale { current: u32 },
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotFound => Self::not_found(Reason::AccountNotFound, "account"),
            Rejection::RequestIdReused => Self::request_id_reused(),
            Rejection::EventsNotOpen => Self::new(Reason::EventsNotOpen, rejection.to_string()),
            Rejection::RevisionStale { current } => {
                Self::new(Reason::RevisionStale, rejection.to_string()).with("current_revision", current)
            }
        }
    }
}

/// A profile that someone asks for, as it is stored but for the facets of its bio, of which a request's own are dropped. All that is
/// wrong with it is said at once.
pub fn parse(profile: Profile) -> Result<Profile, Failure> {
    let Profile { display_name, bio, pronouns, language, avatar_media_id, banner_media_id, links, private, .. } =
        profile;
    let display_name = parse_name("profile.display_name", &display_name, limits::DISPLAY_NAME);
    let bio = parse_text_or_empty("profile.bio", &bio, limits::BIO);
    let pronouns = parse_name("profile.pronouns", &pronouns, limits::PRONOUNS);
    let language = parse_language(language);
    let media = Failure::both(
        parse_media_id("profile.avatar_media_id", avatar_media_id),
        parse_media_id("profile.banner_media_id", banner_media_id),
    );
    let texts = Failure::both(Failure::both(display_name, bio), Failure::both(pronouns, language));
    let (((display_name, bio), (pronouns, language)), ((avatar_media_id, banner_media_id), links)) =
        Failure::both(texts, Failure::both(media, parse_links(links)))?;
    let bio_facets = Vec::new();
    Ok(Profile { display_name, bio, pronouns, language, avatar_media_id, banner_media_id, links, bio_facets, private })
}

/// The facets of a bio that `account_id` writes, its mentions resolved. It costs the reads of [`mention::facets`].
pub async fn bio_facets(state: &State, account_id: &str, bio: &str) -> Result<Vec<Facet>, StoreError> {
    Ok(mention::within(mention::facets(state, account_id, bio).await?, limits::BIO_FACETS_BYTES))
}

fn parse_language(language: String) -> Result<String, Failure> {
    if language.is_empty() || is_language_tag(&language) {
        return Ok(language);
    }
    Err(Failure::field_invalid("profile.language", "is not a language tag of BCP 47"))
}

fn parse_media_id(field: &str, id: String) -> Result<String, Failure> {
    if id.is_empty() { Ok(id) } else { text::parse_media_id(field, id) }
}

fn parse_links(links: Vec<String>) -> Result<Vec<String>, Failure> {
    if links.len() > limits::LINKS_PER_PROFILE {
        return Err(Failure::field_invalid("profile.links", "has more than 4 links"));
    }
    match links.iter().position(|link| link.len() > limits::LINK_BYTES || !is_web_address(link)) {
        Some(at) => {
            let why = "is not an address with `http://` or `https://` and a host name, of at most 512 bytes";
            Err(Failure::field_invalid(&format!("profile.links[{at}]"), why))
        }
        None => Ok(links),
    }
}

/// Which updates win, and the RPC that asks.
pub struct Profiles;

impl Contest for Profiles {
    type Intent = ProfileRequested;
    type Summary = UpdatesSummary;
    type Claim = ClaimRow;
    type Subject = AccountRow;

    const CLAIMS: &'static Table = &PROFILE_CLAIMS;
    const SUBJECTS: &'static Table = &ACCOUNTS;

    fn intent(record: &Record) -> Option<&ProfileRequested> {
        match &record.event {
            Event::IdentityPrivate(Private::ProfileRequested(event)) => are_ids(&[&event.account_id]).then_some(event),
            _ => None,
        }
    }

    fn contended(event: &ProfileRequested) -> Key {
        Key::text(&event.account_id)
    }

    fn judge(summary: &mut UpdatesSummary, event: &ProfileRequested, _: &Record) -> ClaimRow {
        verdict(summary, event)
    }

    fn fact(event: &ProfileRequested, claim: &ClaimRow, record: &Record) -> Option<Append> {
        claim.won.then(|| won(event, claim, record))
    }

    fn is_due(account: Option<&AccountRow>, intent_offset: u64) -> bool {
        // The intent had seen the account: a row that is not there is not there yet.
        account.is_none_or(|account| account.takes_update(intent_offset))
    }
}

/// What the intents so far make of this one.
fn verdict(summary: &mut UpdatesSummary, event: &ProfileRequested) -> ClaimRow {
    let has_content = event.content.is_some();
    let (won, revision) = revision::judge(&mut summary.updates, event.expected_revision, has_content);
    ClaimRow { won, revision, payload_digest: event.payload_digest.clone() }
}

/// The intent.
fn requested(asked: &Asked, command: &Command, bio_facets: Vec<Facet>) -> Private {
    let profile = Profile { bio_facets, ..command.profile.clone() };
    Private::ProfileRequested(ProfileRequested {
        account_id: command.account_id.clone(),
        expected_revision: command.expected_revision,
        content: Some(asked.close(&profile)),
        request_time: Some(time::of_us(asked.at.0)),
        payload_digest: Bytes::copy_from_slice(&asked.digest),
        rules: 0,
        private: profile.private,
    })
}

/// The fact that follows from a won intent.
fn won(event: &ProfileRequested, claim: &ClaimRow, record: &Record) -> Append {
    let fact = ProfileUpdated {
        account_id: event.account_id.clone(),
        revision: revision::shown(claim.revision),
        content: event.content.clone(),
        update_time: Some(time::of_us(record.time.0)),
        intent_offset: record.position.offset,
        private: event.private,
    };
    Append {
        topic: topics::IDENTITY,
        key: event.account_id.clone(),
        id: ids::item_id(record.id, b"ProfileUpdated"),
        event: Identity::ProfileUpdated(fact).into(),
        cause: record.cause(),
    }
}

#[async_trait]
impl Noun for Profiles {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Private;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY_PRIVATE;

    fn key(command: &Command) -> &str {
        &command.account_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, account_id) = (&seen.state, &*command.account_id);
        let claim = claim(state, account_id, asked.id).await?;
        let revision = current_revision(state, account_id).await?;
        if revision::has_lost(command.expected_revision, revision) {
            // Who is told that the revision is stale and reads again is to see the update that won. If that takes too long it is
            // told all the same.
            let _ = reached(seen, account_id, revision).await;
        }
        let bio = &command.profile.bio;
        let (account, bio_facets) = try_join!(read::found(state, account_id), bio_facets(state, account_id, bio))?;
        let newest = account.as_ref().map(|account| account.row.newest()).unwrap_or_default();
        let rests_on = claim.as_ref().map(|claim| claim.position);
        let is_open = seen.events_open() >= PROFILE_EVENTS;
        let (account, claim) = (account.map(|found| found.row), claim.map(|claim| claim.row));
        let before = Before { account, claim, revision, bio_facets, is_open };
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// The intent to append; `None`: it is in the log already. Whether it wins, the log says; only what has lost for certain is
    /// refused here, since revisions never go back.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Private>, Rejection> {
        match (&before.account, &before.claim) {
            (None, _) => Err(Rejection::NotFound),
            (Some(_), Some(claim)) if claim.payload_digest[..] == asked.digest[..] => Ok(None),
            (Some(_), Some(_)) => Err(Rejection::RequestIdReused),
            (Some(_), None) if !before.is_open => Err(Rejection::EventsNotOpen),
            (Some(_), None) if revision::has_lost(command.expected_revision, before.revision) => {
                Err(Rejection::RevisionStale { current: before.revision })
            }
            (Some(_), None) => Ok(Some(requested(asked, command, before.bio_facets.clone()))),
        }
    }

    /// The verdict is read when the fold has it.
    fn evolve(_: &mut Before, _: &Record) {}
}

impl Contests<rpc::UpdateProfile> for Profiles {
    fn parse(_: &IdentityService, asked: &Asked, request: UpdateProfileRequest) -> Result<Command, Failure> {
        let UpdateProfileRequest { profile, expected_revision, .. } = request;
        let profile = parse(profile.ok_or_else(|| Failure::field_missing("profile"))?)?;
        Ok(Command { account_id: asked.actor.clone(), profile, expected_revision })
    }
}

#[async_trait]
impl Settles<rpc::UpdateProfile> for Profiles {
    async fn settle(
        seen: &Seen<'_>,
        asked: &Asked,
        command: &Command,
    ) -> Result<Verdict<UpdateProfileResponse>, Unknown> {
        let account_id = &*command.account_id;
        let claim = claim(&seen.state, account_id, asked.id).await?;
        let claim = claim.ok_or_else(|| Unknown::defect("a folded update has no verdict"))?.row;
        let revision = revision::shown(claim.revision);
        let reached = reached(seen, account_id, revision).await;
        if !claim.won {
            return Ok(Verdict::Lost(Rejection::RevisionStale { current: revision }.into()));
        }
        let (account, place) = reached?;
        let account = Some(counted(&seen.state, account.present(&seen.opener(), account_id)).await?);
        Ok(Verdict::Won(UpdateProfileResponse { account, ..UpdateProfileResponse::default() }, place.into()))
    }
}

/// Waits until the account's profile is at `revision`: the fact of the update that made it so is folded.
async fn reached(seen: &Seen<'_>, account_id: &str, revision: u32) -> Result<(AccountRow, Position), WaitError> {
    read::until(seen, account_id, |account| account.profile_revision() >= revision).await
}

/// The verdict on an intent, if it is folded; its position is the intent's.
async fn claim(state: &State, account_id: &str, intent: RecordId) -> Result<Option<Found<ClaimRow>>, StoreError> {
    state.row::<ClaimRow>(&PROFILE_CLAIMS, &Key::text(account_id), [intent.to_string().into()]).await
}

/// The revision of a profile after all intents that are folded; the account's row may not have got there yet.
async fn current_revision(state: &State, account_id: &str) -> Result<u32, StoreError> {
    let owner = (topics::IDENTITY_PRIVATE, account_id);
    let summary = state.summary::<UpdatesSummary>(&PROFILE_CLAIMS, &Key::text(account_id), owner).await?;
    Ok(revision::after(summary.map_or(0, |found| found.row.updates)))
}

#[cfg(test)]
mod tests;
