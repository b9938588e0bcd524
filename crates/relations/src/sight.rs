//! Who sees whom. Every service and the projector ask here, in batches, at the command and again at every read; no other
//! place decides it.

use std::collections::{BTreeMap, BTreeSet};

use futures::try_join;
use kith_fold::{Found, State, Token};
use kith_log::{LogPartition, Offset, topics};
use kith_tables::{Key, MAX_SLICE_ROWS, RowRange, StoreError};

use crate::away;
use crate::block::{BLOCKED_BY, BLOCKS, BlockRow};
use crate::follow;

/// How a viewer sees an account, and with it what the account says and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Clear,
    /// The viewer blocks the account: it knows of it, and sees nothing that it says or does.
    Blocks,
    /// The account blocks the viewer, who may do the same: it looks as if it were not there.
    BlockedBy,
    /// The account is away: to everybody it looks as if it were not there.
    Away,
    /// The account is private, and the viewer does not follow it: it knows of it and may meet it, and sees nothing that it says or
    /// does.
    Private,
}

impl Sight {
    pub fn of(blocks: bool, blocked_by: bool) -> Self {
        match (blocks, blocked_by) {
            (_, true) => Self::BlockedBy,
            (true, false) => Self::Blocks,
            (false, false) => Self::Clear,
        }
    }

    /// Whether the viewer is shown what the account says and does; of sights by [`Viewer::meetings`], whether the two may meet: write
    /// to each other, mention each other, be listed together.
    pub fn is_clear(self) -> bool {
        self == Self::Clear
    }

    /// Whether the viewer is shown that the account is there.
    pub fn shows_account(self) -> bool {
        match self {
            Self::Clear | Self::Blocks | Self::Private => true,
            Self::BlockedBy | Self::Away => false,
        }
    }
}

/// Who looks.
#[derive(Clone, Copy)]
pub struct Viewer<'a> {
    state: &'a State,
    account_id: &'a str,
}

impl<'a> Viewer<'a> {
    pub fn new(state: &'a State, account_id: &'a str) -> Self {
        Self { state, account_id }
    }

    /// How the viewer sees each of these accounts, at most 512 of them: two reads of blocks, and one for each table partition of `away`
    /// that they lie in, at most [`away::AWAY_BUCKETS`], side by side, however many accounts there are; one more, of the viewer's
    /// follows in the table of [`follow`], if some are private. None for the viewer alone, who sees itself.
    pub async fn sights(&self, accounts: impl IntoIterator<Item = &str>) -> Result<Sights, StoreError> {
        let (sights, private) = self.apart(accounts).await?;
        if private.is_empty() {
            return Ok(sights);
        }
        let followed = match self.account_id {
            // Nobody in particular follows nobody.
            "" => BTreeSet::new(),
            viewer => follow::among(self.state, viewer, &private).await?,
        };
        Ok(sights.veiled(|account| private.contains(account) && !followed.contains(account)))
    }

    /// As [`Self::sights`], as if no account were private: whom the viewer may meet.
    pub async fn meetings(&self, accounts: impl IntoIterator<Item = &str>) -> Result<Sights, StoreError> {
        Ok(self.apart(accounts).await?.0)
    }

    /// How the viewer may meet each of these accounts, and which are private.
    pub async fn apart(
        &self,
        accounts: impl IntoIterator<Item = &str>,
    ) -> Result<(Sights, BTreeSet<String>), StoreError> {
        let others: BTreeSet<&str> = accounts.into_iter().filter(|&id| id != self.account_id).collect();
        let blocks = self.blocks(others.iter().copied());
        let (sights, apart) = try_join!(blocks, away::among(self.state, others.iter().copied()))?;
        Ok((sights.without(|account| apart.away.contains(account)), apart.private))
    }

    /// As [`Self::meetings`], but for who is away: for whoever reads the accounts' rows beside it, and says so by [`Sights::without`].
    pub async fn blocks(&self, accounts: impl IntoIterator<Item = &str>) -> Result<Sights, StoreError> {
        let others: BTreeSet<&str> = accounts.into_iter().filter(|&id| id != self.account_id).collect();
        let viewer = self.account_id.to_owned();
        if others.is_empty() {
            return Ok(Sights { viewer, others: BTreeMap::new() });
        }
        if viewer.is_empty() {
            // Nobody in particular is in no block.
            return Ok(Sights::new("", others.into_iter().map(|other| (other, Sight::Clear))));
        }
        let key = Key::text(self.account_id);
        let clusterings = || others.iter().map(|&other| vec![other.into()]);
        let mine = self.state.rows::<BlockRow>(&BLOCKS, &key, clusterings());
        let theirs = self.state.rows::<BlockRow>(&BLOCKED_BY, &key, clusterings());
        let (mine, theirs) = futures::try_join!(mine, theirs)?;
        let standing =
            |row: Option<Found<BlockRow>>| row.filter(|found| found.row.blocking).map(|found| found.position);
        let seen = mine.into_iter().zip(theirs).map(|(mine, theirs)| {
            let own_block = standing(mine);
            Seen { sight: Sight::of(own_block.is_some(), standing(theirs).is_some()), own_block }
        });
        Ok(Sights { viewer, others: others.iter().map(|&other| other.to_owned()).zip(seen).collect() })
    }

    /// Blocks between the viewer and others, of each side those of the first [`MAX_SLICE_ROWS`] accounts that ever were in one: which
    /// stand, and which have ended by records that `since` does not have. Two reads.
    pub async fn between(&self, since: &Token) -> Result<Between, StoreError> {
        let key = Key::text(self.account_id);
        let slice = |table| {
            let range = RowRange::all::<BlockRow>();
            self.state.slice::<BlockRow>(table, &key, range, MAX_SLICE_ROWS)
        };
        let (mine, theirs) = try_join!(slice(&BLOCKS), slice(&BLOCKED_BY))?;
        let mut between = Between::default();
        let by_me = mine.iter().map(|found| (found, self.account_id));
        for (found, by) in by_me.chain(theirs.iter().map(|found| (found, found.text(0)))) {
            let partition = LogPartition::of_key(topics::IDENTITY, by, self.state.partition_count());
            if found.row.blocking {
                between.standing.insert(found.text(0).to_owned());
            } else if since.offset(partition) < Some(found.position) {
                between.ended.insert(found.text(0).to_owned());
            }
        }
        between.ended.retain(|other| !between.standing.contains(other));
        Ok(between)
    }

    /// How the viewer sees one account.
    pub async fn sight(&self, account: &str) -> Result<Sight, StoreError> {
        Ok(self.sights([account]).await?.of(account))
    }

    /// How the viewer may meet one account.
    pub async fn meeting(&self, account: &str) -> Result<Sight, StoreError> {
        Ok(self.meetings([account]).await?.of(account))
    }
}

/// Blocks between a viewer and others, whoever of the two made them.
#[derive(Debug, Default)]
pub struct Between {
    pub standing: BTreeSet<String>,
    pub ended: BTreeSet<String>,
}

/// How one viewer sees the accounts that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sights {
    viewer: String,
    others: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    sight: Sight,
    own_block: Option<Offset>,
}

impl Sights {
    /// Sights that were found otherwise than by asking the tables.
    pub fn new<'s>(viewer: &str, others: impl IntoIterator<Item = (&'s str, Sight)>) -> Self {
        let seen = |(account, sight): (&str, Sight)| (account.to_owned(), Seen { sight, own_block: None });
        Self { viewer: viewer.to_owned(), others: others.into_iter().map(seen).collect() }
    }

    /// The same, with these accounts away.
    #[must_use]
    pub fn without(mut self, is_away: impl Fn(&str) -> bool) -> Self {
        for (_, seen) in self.others.iter_mut().filter(|(account, _)| is_away(account)) {
            seen.sight = Sight::Away;
        }
        self
    }

    /// The same, with these private accounts not followed by the viewer.
    #[must_use]
    pub fn veiled(mut self, is_veiled: impl Fn(&str) -> bool) -> Self {
        let clear = self.others.iter_mut().filter(|(_, seen)| seen.sight == Sight::Clear);
        for (_, seen) in clear.filter(|(account, _)| is_veiled(account)) {
            seen.sight = Sight::Private;
        }
        self
    }

    /// An account that was not asked for looks as if it were not there; the viewer is always clear.
    pub fn of(&self, account: &str) -> Sight {
        match self.others.get(account) {
            Some(seen) => seen.sight,
            None if account == self.viewer => Sight::Clear,
            None => Sight::BlockedBy,
        }
    }

    /// Where the log has the viewer's own block of the account, to cite it: an offset under the viewer's key.
    pub fn own_block(&self, account: &str) -> Option<Offset> {
        self.others.get(account)?.own_block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_blocks_the_viewer_is_not_there_and_whom_the_viewer_blocks_is_silent() {
        let shown = [(false, false), (true, false), (false, true), (true, true)].map(|(blocks, blocked_by)| {
            let sight = Sight::of(blocks, blocked_by);
            (sight.is_clear(), sight.shows_account())
        });
        assert_eq!(shown, [(true, true), (false, true), (false, false), (false, false)]);
    }

    #[test]
    fn who_is_away_is_there_for_nobody_but_itself() {
        for sight in [Sight::Clear, Sight::Blocks, Sight::BlockedBy] {
            let sights = Sights::new("me", [("ada", sight), ("bob", Sight::Clear)]).without(|id| id == "ada");
            assert_eq!((sights.of("ada"), sights.of("bob")), (Sight::Away, Sight::Clear));
            assert!(!sights.of("ada").shows_account() && !sights.of("ada").is_clear());
        }
        assert_eq!(Sights::new("me", []).without(|id| id == "me").of("me"), Sight::Clear);
    }

    #[test]
    fn who_does_not_follow_a_private_account_knows_of_it_alone() {
        for (sight, veiled) in
            [(Sight::Clear, Sight::Private), (Sight::Blocks, Sight::Blocks), (Sight::BlockedBy, Sight::BlockedBy)]
        {
            let sights = Sights::new("me", [("ada", sight), ("bob", Sight::Clear)]).veiled(|id| id == "ada");
            assert_eq!((sights.of("ada"), sights.of("bob")), (veiled, Sight::Clear));
        }
        assert!(Sight::Private.shows_account() && !Sight::Private.is_clear());
        assert_eq!(Sights::new("me", []).veiled(|id| id == "me").of("me"), Sight::Clear);
    }

    #[test]
    fn an_account_that_was_not_asked_for_is_not_shown() {
        let sights = Sights::new("me", [("ada", Sight::Clear)]);
        assert_eq!(["me", "ada", "bob"].map(|id| sights.of(id).is_clear()), [true, true, false]);
    }
}
