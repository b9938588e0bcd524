//! Repeated changes of the same rows, from both sides: person 0 follows person 1, who blocks or removes person 0. Pure.

use super::board::Board;
use super::nouns::{ACCOUNTS, Block, Follow, POSTS, React, RemoveFollower, Subject, Unblock, Unfollow, Unreact};
use super::operation::{Op, op};
use crate::simulated::Chance;

pub fn handle(person: usize) -> String {
    format!("person_{person}")
}

pub fn next(board: &Board, client: usize, chance: &Chance) -> Option<(String, Op)> {
    let subject = || board.all(POSTS).first().map(|post| Subject::post(&post.id));
    let person = |number: usize| {
        let found = board.all(ACCOUNTS).iter().find(|account| account.on == handle(number));
        found.map(|account| account.id.clone())
    };
    let op = match (client, chance.below(6)) {
        (0, 0) => op(React { subject: subject()?, kind: 1 }),
        (0, 1) => op(React { subject: subject()?, kind: 2 }),
        (0, 2) => op(Unreact { subject: subject()? }),
        (0, 3 | 4) => op(Follow { target: person(1)?, shows_shares: chance.per_mille(500) }),
        (0, _) => op(Unfollow { target: person(1)? }),
        (_, 0..2) => op(Block { target: person(0)? }),
        (_, 2) => op(RemoveFollower { follower: person(0)? }),
        (_, _) => op(Unblock { target: person(0)? }),
    };
    Some((person(client)?, op))
}
