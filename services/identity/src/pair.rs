//! What two accounts are to each other, from both sides, and as one of them is told.

use futures::try_join;
use kith_fold::{Found, State};
use kith_proto::identity::v1::Relationship;
use kith_proto::time;
use kith_relations::mute::{MUTES, MuteRow, of_target};
use kith_relations::sight::Sight;
use kith_tables::{Key, StoreError, Timestamp};

use crate::edge::{EdgeRow, of_other};
use crate::followers::FOLLOWERS;
use crate::graph::EDGES;

/// Both edges between an account, "I", and another.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    pub mine: EdgeRow,
    /// The offset of the record that last changed it.
    pub mine_position: Option<u64>,
    pub theirs: EdgeRow,
    pub theirs_position: Option<u64>,
    /// What I mute of the other.
    pub mute: MuteRow,
}

/// What an actor and a target are to each other.
pub async fn pair(state: &State, actor: &str, target: &str) -> Result<Pair, StoreError> {
    Ok(pairs(state, actor, &[target]).await?.pop().unwrap_or_default())
}

/// What `actor` and each of `others`, at most a batch, are to each other; aligned with `others`.
pub async fn pairs(state: &State, actor: &str, others: &[&str]) -> Result<Vec<Pair>, StoreError> {
    let key = Key::text(actor);
    let clusterings = || others.iter().map(|&other| of_other(other).to_vec());
    let mine = state.rows::<EdgeRow>(&EDGES, &key, clusterings());
    let theirs = state.rows::<EdgeRow>(&FOLLOWERS, &key, clusterings());
    let mutes = state.rows::<MuteRow>(&MUTES, &key, others.iter().map(|&other| of_target(other).to_vec()));
    let (mine, theirs, mutes) = try_join!(mine, theirs, mutes)?;
    let edges = mine.into_iter().zip(theirs);
    Ok(edges.zip(mutes).map(|((mine, theirs), mute)| Pair::of(mine, theirs, mute)).collect())
}

impl Pair {
    fn of(mine: Option<Found<EdgeRow>>, theirs: Option<Found<EdgeRow>>, mute: Option<Found<MuteRow>>) -> Self {
        let (mine_position, mine) = mine.map_or_else(Default::default, |found| (Some(found.position), found.row));
        let (theirs_position, theirs) = theirs.map_or_else(Default::default, |found| (Some(found.position), found.row));
        let mute = mute.map(|found| found.row).unwrap_or_default();
        Self { mine, mine_position, theirs, theirs_position, mute }
    }

    /// How I see the other, by the rows that also say how much of the other's partition was seen: a block that another
    /// table does not have yet would count as seen.
    pub fn sight(&self) -> Sight {
        Sight::of(self.mine.blocking, self.theirs.blocking)
    }

    /// As callers see it at that time: of an account that is not there, or away, only that I block it, which is no news to me.
    pub fn shown(&self, is_hidden: bool, target_id: String, now: Timestamp) -> Relationship {
        match is_hidden && !self.mine.blocking {
            true => Relationship { target_id, ..Relationship::default() },
            false => self.present(target_id, now),
        }
    }

    /// As callers see it at that time. A follow that cannot last is over; of whoever blocks me I see what I did alone.
    pub fn present(&self, target_id: String, now: Timestamp) -> Relationship {
        let (mine, theirs) = (&self.mine, &self.theirs);
        let mute = Some(&self.mute).filter(|mute| mute.is_in_effect(now));
        let (following, followed_by) = (mine.follows(theirs), theirs.follows(mine));
        let (requested, requested_by) = (mine.waits(theirs), theirs.waits(mine));
        let since = |stands: bool, Timestamp(at)| stands.then(|| time::of_us(at));
        Relationship {
            target_id,
            following,
            shows_shares: following && mine.shows_shares,
            notify: following && mine.notify,
            follow_time: since(following, mine.follow_time),
            followed_by,
            followed_by_time: since(followed_by, theirs.follow_time),
            blocking: mine.blocking,
            block_time: since(mine.blocking, mine.block_time),
            blocked_by: false,
            muting: mute.is_some(),
            mute_scopes: mute.map(MuteRow::scopes),
            mute_time: mute.map(|mute| time::of_us(mute.mute_time.0)),
            mute_end_time: mute.and_then(MuteRow::ends_us).map(time::of_us),
            requested,
            request_time: since(requested, mine.request_time),
            requested_by,
            requested_by_time: since(requested_by, theirs.request_time),
        }
    }
}
