//! The nouns: operations, model and checks, one file per noun. To add one, add a file, and a line here.

mod accounts;
mod amends;
mod bookmarks;
mod circles;
mod comments;
mod consents;
mod conversations;
mod counts;
mod edits;
mod feeds;
mod follows;
mod groups;
mod handles;
mod identities;
mod lists;
mod messages;
mod mutes;
mod posts;
mod presences;
mod profiles;
mod reactions;
mod requests;
mod search;
mod services;
mod sessions;
mod shares;
mod shown;
mod suggestions;
mod tags;
mod talk;
mod updates;
mod views;

use kith_tables::{Key, Row, Table};

use super::board::Scene;
use super::checks::Finding;
use super::model::{Fact, Model};
use super::operation::Op;
use super::plan::Draws;

pub use accounts::{ACCOUNTS, CONTENDED, CreateAccount, create};
pub use follows::{Block, Follow, RemoveFollower, Unblock, Unfollow};
pub use posts::POSTS;
pub use reactions::{React, Subject, Unreact};
pub use services::SERVICES;

/// The registry.
pub const ALL: [&dyn Noun; 29] = [
    &accounts::Accounts,
    &handles::Changes,
    &profiles::Profiles,
    &search::Search,
    &presences::Presences,
    &sessions::Sessions,
    &requests::Requests,
    &follows::Follows,
    &circles::Circles,
    &mutes::Mutes,
    &tags::Tags,
    &suggestions::Suggestions,
    &posts::Posts,
    &edits::Edits,
    &reactions::Reactions,
    &comments::Comments,
    &shares::Shares,
    &bookmarks::Bookmarks,
    &counts::Counts,
    &feeds::Feeds,
    &conversations::Conversations,
    &messages::Messages,
    &consents::Consents,
    &updates::Updates,
    &groups::Groups,
    &amends::Amends,
    &views::Views,
    &services::Services,
    &identities::Identities,
];

/// What people do.
pub fn of(draws: Draws) -> &'static [&'static dyn Noun] {
    match draws {
        Draws::All => &ALL,
        Draws::Talks => &TALKS,
        Draws::Posts => &POSTING,
        Draws::Sessions => &SIGNING_IN,
        Draws::Handles => &NAMING,
        Draws::Circles => &CIRCLES,
        Draws::Suggestions => &SUGGESTING,
    }
}

const SIGNING_IN: [&dyn Noun; 2] = [&accounts::Accounts, &sessions::Sessions];

const NAMING: [&dyn Noun; 3] = [&accounts::Accounts, &handles::Changes, &profiles::Profiles];

const POSTING: [&dyn Noun; 3] = [&posts::Posts, &edits::Edits, &reactions::Reactions];

const CIRCLES: [&dyn Noun; 6] =
    [&profiles::Profiles, &requests::Requests, &follows::Follows, &circles::Circles, &posts::Posts, &feeds::Feeds];

const SUGGESTING: [&dyn Noun; 5] =
    [&profiles::Profiles, &requests::Requests, &follows::Follows, &mutes::Mutes, &suggestions::Suggestions];

const TALKS: [&dyn Noun; 7] = [
    &conversations::Conversations,
    &messages::Messages,
    &consents::Consents,
    &updates::Updates,
    &groups::Groups,
    &amends::Amends,
    &views::Views,
];

/// A noun of the suite, for clients and checks.
pub trait Noun: Sync {
    /// What is drawn, and how often.
    fn draws(&self) -> &'static [Draw];

    /// Makes the place for what it reads of the log.
    fn begin(&self, _model: &mut Model) {}

    /// Takes a record of the log into the model.
    fn read(&self, _model: &mut Model, _fact: &Fact) {}

    /// What must hold of the log itself.
    fn check(&self, _model: &Model) -> Vec<Finding> {
        Vec::new()
    }

    /// What is read at the end, and by whom.
    fn questions(&self, _model: &Model) -> Vec<(String, Op)> {
        Vec::new()
    }

    /// What must hold of all rows of one of its tables.
    fn check_rows(&self, _model: &Model, _table: &'static Table, _all: &[(Key, Row)]) -> Vec<Finding> {
        Vec::new()
    }

    /// Counts that its tables keep.
    fn counted(&self) -> &'static [Counted] {
        &[]
    }
}

/// One way to draw an operation. `None`: nothing of that kind can be done now.
pub struct Draw {
    pub weight: u64,
    pub draw: fn(&Scene<'_>) -> Option<Op>,
}

/// A count in the summary rows of a table partition, and which of its rows it counts.
pub struct Counted {
    pub table: &'static str,
    pub column: usize,
    pub counts: fn(&Row) -> bool,
}

/// What an actor does next with these nouns; `None`: nothing that could be done.
pub fn draw(scene: &Scene<'_>, nouns: &[&dyn Noun]) -> Option<Op> {
    let all = || nouns.iter().flat_map(|noun| noun.draws());
    let total: u64 = all().map(|draw| draw.weight).sum();
    let mut left = scene.chance.between(0, total - 1);
    for draw in all() {
        if left < draw.weight {
            return (draw.draw)(scene);
        }
        left -= draw.weight;
    }
    None
}
