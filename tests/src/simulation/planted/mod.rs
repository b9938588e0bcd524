//! Deliberate defects, all outside the production code: wrapped ports and folds, and changed calls, that break a rule.
//! A checker must catch each.

mod consent;
mod folds;
mod groups;
mod handles;
mod inbox;
mod log;
mod messages;
mod mutes;
mod privacy;
mod tables;

use std::sync::Arc;

use kith_fold::Group;
use kith_fold::engine::Ports;
use kith_runtime::Runtime;

use super::nouns::CreateAccount;
use super::operation::{Answer, Ask, Confusion, Op, Reply};
use super::plan::{Draws, Forgets, Plan};
use super::upgrade::Release;

macro_rules! defects {
    ($($name:ident $text:literal $what:literal)*) => {
        /// A defect.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Planted { $(#[doc = $what] $name),* }

        impl Planted {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// What is wrong.
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what),* }
            }
        }
    };
}

defects! {
    BlindIncrement "blind-increment" "a count is one more for each record, whatever its row was"
    NoAppliedIds "no-applied-ids" "a row forgets which commands were applied to it"
    CacheOverForeignMark "cache-over-foreign-mark" "a mark that another process has moved is not noticed"
    WatermarkBeforeWrite "watermark-before-write" "writes are called durable before they are made"
    HalfBatches "half-batches" "mark and rows are two writes"
    WallClockWriteTime "wall-clock-write-time" "rows are stamped with the time of day"
    ZombieWithoutTimestamp "zombie-without-timestamp" "an older write comes late once more, stamped as the newest"
    RestartAtWatermark "restart-at-watermark" "a fold goes back no further than its watermark, over tables that forget"
    OneReplica "one-replica" "reads and writes ask one replica of three"
    RowWiseRepair "row-wise-repair" "no defect of ours: servers repair the rows that were read, not whole batches"
    WatermarkReadAhead "watermark-read-ahead" "another process's watermark is read as one record further"
    SpreadsNotAgain "spreads-not-again" "a record that is in already spreads nothing on a replay"
    FollowersBeforePost "followers-before-post" "the followers are read before the post is written"
    BackfillNewest "backfill-newest" "a new follow is given the newest post only"
    CutUncounted "cut-uncounted" "a follow that is cut is still counted"
    AcceptedTwice "accepted-twice" "an answer to a request to follow answers later ones too"
    PrivateShown "private-shown" "reads do not ask who is private"
    RequestOpens "request-opens" "who asks to follow a private account is shown its lists and numbers, and counts as a follower there"
    MuteEndedInFold "mute-ended-in-fold" "a fold asks the clock whether a mute has ended, and leaves out one that has"
    CutFromOneSide "cut-from-one-side" "a block does not look for a follow to cut"
    UnreadByIncrement "unread-by-increment" "unread numbers are counted up with each message spread"
    PlacesUncompared "places-uncompared" "a conversation's old place is removed also where it is the new one"
    OldPlaceStays "old-place-stays" "a conversation's old places are not removed"
    PlaceBelieved "place-believed" "a row by place counts without the row by id"
    PlaceOfNow "place-of-now" "a walk asks where conversations stand, not where they stood"
    AcceptedStillWaits "accepted-still-waits" "a request that was accepted is still among the requests"
    DeclinedComesBack "declined-comes-back" "a new message brings a declined request back"
    ConsentOfNow "consent-of-now" "whether a conversation waits is asked of the follows as the fold has them, not as the record says"
    UnreadOfRequests "unread-of-requests" "unread totals count what waits among the requests"
    SeatGivenTwice "seat-given-twice" "the arbiter counts a seat more than a group has"
    MembersOwn "members-own" "whoever is put into a group has an owner's role for the arbiter"
    OlderMessagesShown "older-messages-shown" "a new member sees what was written before it came"
    LateEditWins "late-edit-wins" "an edit that came too late counts"
    UnsentUnread "unsent-unread" "unread numbers count messages that were unsent"
    UnsentStaysInInbox "unsent-stays-in-inbox" "what was unsent is still an inbox's last message"
    PrivateMarkerTold "private-marker-told" "a private read marker is shown to the others"
    DropsDeletes "drops-deletes" "feeds do not hear of deleted posts"
    NoBlockFilter "no-block-filter" "reads do not ask who blocks whom"
    AbsentShown "absent-shown" "reads do not ask who is away"
    LeaverStays "leaver-stays" "the sessions of an account that leaves go on"
    LastClaimWins "last-claim-wins" "of two who want a handle the later gets it"
    TakenHandleGiven "taken-handle-given" "a change gets a handle that another account has"
    HeldHandleGiven "held-handle-given" "a handle that was given up is not held back"
    OldHandleStays "old-handle-stays" "an account is shown with the handle that it had before"
    AnswerBeforeClaim "answer-before-claim" "an account is answered before its claim is folded"
    RebuildAppends "rebuild-appends" "a fold anew appends facts without looking whether they are there"
    ReuseForgiven "reuse-forgiven" "the use of an old refresh token does not end its session"
    RotationDoubled "rotation-doubled" "the use of a refresh token counts twice"
    RevocationUntold "revocation-untold" "processes are not told which sessions were ended"
    PageSkips "page-skips" "a page starts one row too far"
    TokenIgnored "token-ignored" "reads do not wait for their token"
    RequestIdIgnored "request-id-ignored" "a command asked for again is another command"
    UnknownIsNo "unknown-is-no" "an unknown outcome is told as a definite no"
    OkBeforeDurable "ok-before-durable" "an append is answered before it is made"
    ReaderSkips "reader-skips" "a fold misses a record now and then"
    SameVersion "same-version" "a release with one more view has the version of the folds before it"
    OldFoldsNew "old-folds-new" "processes of a release fold the generation of a later one"
    LaterRules "later-rules" "a later release judges intents that were judged before by other rules"
    OpensEarly "opens-early" "later events are opened while a release that does not read them may come back"
    NewerFolded "newer-folded" "a release folds events that only a later one reads"
    ServicesAreOne "services-are-one" "two calling services count as one"
    AccountsOfAll "accounts-of-all" "a calling service acts for accounts of other issuers"
    CursorIsNow "cursor-is-now" "a stream goes on from now, not from its cursor"
    AmendsUntold "amends-untold" "a stream does not tell of edits and of what was unsent"
    BlockedFound "blocked-found" "a search does not ask who searches, and finds accounts in a block with it"
    DeclinedSuggested "declined-suggested" "who was declined is suggested again"
    RulesUnopened "rules-unopened" "processes of a later release append what only it reads before that is opened"
}

impl std::str::FromStr for Planted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, anyhow::Error> {
        let found = Self::ALL.iter().copied().find(|planted| planted.to_string() == text);
        found.ok_or_else(|| anyhow::anyhow!("no planted defect is called {text}"))
    }
}

impl std::fmt::Display for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Planted {
    /// A plan under which the defect can show.
    #[allow(clippy::too_many_lines, reason = "one arm for each plan")]
    pub fn plan(self, mut plan: Plan) -> Plan {
        match self {
            Self::RestartAtWatermark => {
                (plan.shape.replicas, plan.shape.forgets) = (1, Forgets::Server);
                plan.strike_every_ms = plan.strike_every_ms.or(Some((40, 400)));
            }
            Self::OneReplica => {
                (plan.shape.replicas, plan.shape.forgets, plan.shape.quorum) = (3, Forgets::Never, Some(1));
                plan.rates.tables = 20;
            }
            Self::RowWiseRepair => {
                (plan.shape.replicas, plan.shape.forgets, plan.shape.repairs_rows) = (3, Forgets::Never, true);
                (plan.rates.tables, plan.strike_every_ms) = (100, Some((20, 120)));
                plan.steps = 48;
            }
            Self::ZombieWithoutTimestamp => {
                (plan.processes, plan.hot, plan.strike_every_ms) = (3, true, Some((20, 120)));
                plan.rates.slow = 300;
            }
            Self::CacheOverForeignMark | Self::WatermarkReadAhead => {
                plan.processes = plan.processes.max(2);
            }
            // Few people have few conversations, which move often, and few sessions, whose old tokens are met again.
            Self::OldPlaceStays
            | Self::PlaceOfNow
            | Self::AcceptedStillWaits
            | Self::DeclinedComesBack
            | Self::UnreadOfRequests
            | Self::LateEditWins
            | Self::UnsentUnread
            | Self::UnsentStaysInInbox
            | Self::PrivateMarkerTold
            | Self::CursorIsNow
            | Self::AmendsUntold
            | Self::SeatGivenTwice
            | Self::MembersOwn
            | Self::OlderMessagesShown => {
                (plan.people, plan.clients, plan.steps, plan.draws) = (3, 5, 60, Draws::Talks);
            }
            Self::TakenHandleGiven | Self::HeldHandleGiven | Self::OldHandleStays => {
                (plan.people, plan.clients, plan.steps, plan.draws) = (3, 4, 40, Draws::Handles);
            }
            Self::ReuseForgiven | Self::ConsentOfNow => (plan.people, plan.clients, plan.steps) = (3, 5, 60),
            Self::RotationDoubled => {
                (plan.people, plan.clients, plan.steps, plan.draws) = (3, 5, 60, Draws::Sessions);
            }
            Self::AcceptedTwice | Self::PrivateShown | Self::RequestOpens => {
                (plan.people, plan.clients, plan.steps, plan.draws) = (3, 5, 60, Draws::Circles);
            }
            Self::DeclinedSuggested => {
                (plan.people, plan.clients, plan.steps, plan.draws) = (5, 5, 60, Draws::Suggestions);
            }
            Self::NoAppliedIds => (plan.hot, plan.rates.log) = (true, 200),
            Self::CutFromOneSide | Self::CutUncounted => {
                (plan.hot, plan.partitions) = (true, 3);
                (plan.rates.slow, plan.strike_every_ms) = (100, Some((20, 120)));
            }
            Self::FollowersBeforePost | Self::BackfillNewest => {
                (plan.push_threshold, plan.backfill_window_seconds, plan.rates.slow) = (10_000, 3_600, 300);
            }
            Self::SameVersion | Self::LaterRules => (plan.upgrades, plan.later_views) = (true, true),
            Self::OpensEarly => plan.upgrades = true,
            Self::OldFoldsNew => {
                (plan.upgrades, plan.later_views, plan.processes) = (true, true, plan.processes.max(2));
            }
            // Both releases fold one generation; there is time for edits after the opening.
            Self::NewerFolded | Self::RulesUnopened => {
                (plan.upgrades, plan.later_views, plan.processes) = (true, false, plan.processes.max(2));
                (plan.people, plan.clients, plan.steps, plan.draws) = (3, 5, 80, Draws::Posts);
            }
            _ => {}
        }
        if plan.processes > 1 && plan.shape.forgets == Forgets::WithTheProcess {
            plan.shape.forgets = Forgets::Never;
        }
        plan
    }

    /// The groups of a release. A defect of the later one alone leaves those of this one alone.
    pub fn groups(self, groups: Vec<Group>, release: Release, runtime: &Runtime) -> Vec<Group> {
        let wrap = |group: Group| {
            let known = consent::Follows::default();
            let folds = group.folds.iter().map(|fold| folds::wrap(self, Arc::clone(fold), &known, runtime)).collect();
            let folds_version = if self == Self::SameVersion { 1 } else { group.folds_version };
            Group { folds, folds_version, ..group }
        };
        match (self, release) {
            (Self::LaterRules, Release::This) => groups,
            _ => groups.into_iter().map(wrap).collect(),
        }
    }

    /// Whether operators open later events as soon as one process reads them.
    pub fn opens_early(self) -> bool {
        matches!(self, Self::OpensEarly | Self::RulesUnopened)
    }

    /// Tables that are there from the beginning, beside those of this release.
    pub fn founds_later(self) -> bool {
        self == Self::SameVersion
    }

    /// What a process of that release runs on.
    pub fn ports(self, ports: Ports, release: Release) -> Ports {
        let runtime = ports.runtime.clone();
        let tables = match self {
            Self::CacheOverForeignMark
            | Self::WatermarkBeforeWrite
            | Self::HalfBatches
            | Self::WallClockWriteTime
            | Self::ZombieWithoutTimestamp
            | Self::RestartAtWatermark
            | Self::WatermarkReadAhead
            | Self::FollowersBeforePost
            | Self::NoBlockFilter
            | Self::AbsentShown
            | Self::PrivateShown
            | Self::RequestOpens
            | Self::PlaceBelieved
            | Self::PlaceOfNow
            | Self::PageSkips => tables::wrap(self, ports.tables, runtime.clone()),
            _ => ports.tables,
        };
        let log = match self {
            Self::OkBeforeDurable | Self::ReaderSkips => log::wrap(self, ports.log, runtime),
            Self::OldFoldsNew | Self::NewerFolded | Self::RulesUnopened if release == Release::This => {
                log::wrap(self, ports.log, runtime)
            }
            _ => ports.log,
        };
        Ports { tables, log, ..ports }
    }

    /// What a fold anew runs on.
    pub fn rebuild_ports(self, ports: Ports) -> Ports {
        match self {
            Self::RebuildAppends => {
                let runtime = ports.runtime.clone();
                Ports { tables: tables::wrap(self, ports.tables, runtime), ..ports }
            }
            _ => ports,
        }
    }

    /// What is asked instead.
    pub fn ask(self, ask: Ask, attempt: u32) -> Ask {
        match self {
            Self::TokenIgnored => Ask { at_least: Vec::new(), ..ask },
            Self::ServicesAreOne => Ask { confusion: Some(Confusion::ServicesAreOne), ..ask },
            Self::AccountsOfAll => Ask { confusion: Some(Confusion::AccountsOfAll), ..ask },
            Self::BlockedFound => Ask { confusion: Some(Confusion::NobodyAsks), ..ask },
            Self::CursorIsNow => Ask { confusion: Some(Confusion::CursorIsNow), ..ask },
            Self::AmendsUntold => Ask { confusion: Some(Confusion::AmendsUntold), ..ask },
            Self::RequestIdIgnored => Ask { request_id: format!("{} {attempt}", ask.request_id), ..ask },
            _ => ask,
        }
    }

    /// The answer that is given while the handler is still at work.
    pub fn answers_early(self, op: &Op, ask: &Ask) -> Option<Reply<Answer>> {
        let create: &CreateAccount = op.as_any().downcast_ref().filter(|_| self == Self::AnswerBeforeClaim)?;
        Some(Reply::new(Answer::new(create.account_id(&ask.request_id)?), String::new()))
    }

    pub fn calls_unknown_a_no(self) -> bool {
        self == Self::UnknownIsNo
    }
}
