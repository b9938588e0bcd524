//! What clients do: a function of what they know and of the seed. Pure.

use crate::simulated::Chance;

use super::history::{List, Op, Page};

/// What clients know of the world: what they were told.
#[derive(Debug, Clone, Default)]
pub struct Board {
    pub people: Vec<String>,
    /// With author and latest revision known.
    pub posts: Vec<(String, String, u32)>,
    /// With its two members.
    pub talks: Vec<(String, [String; 2])>,
    pub handles: Vec<String>,
}

/// How often each thing is done.
const WEIGHTS: [(Kind, u64); 27] = [
    (Kind::Follow, 12),
    (Kind::Unfollow, 3),
    (Kind::Block, 2),
    (Kind::Unblock, 2),
    (Kind::CreatePost, 10),
    (Kind::EditPost, 4),
    (Kind::DeletePost, 2),
    (Kind::React, 10),
    (Kind::Unreact, 4),
    (Kind::Comment, 6),
    (Kind::Share, 5),
    (Kind::Unshare, 3),
    (Kind::OpenTalk, 2),
    (Kind::Send, 7),
    (Kind::MarkRead, 3),
    (Kind::Contend, 1),
    (Kind::GetPost, 3),
    (Kind::Counts, 4),
    (Kind::Unread, 3),
    (Kind::Resolve, 1),
    (Kind::Home, 7),
    (Kind::Author, 2),
    (Kind::Followers, 2),
    (Kind::Following, 1),
    (Kind::Comments, 1),
    (Kind::Messages, 1),
    (Kind::Walk, 4),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Follow,
    Unfollow,
    Block,
    Unblock,
    CreatePost,
    EditPost,
    DeletePost,
    React,
    Unreact,
    Comment,
    Share,
    Unshare,
    OpenTalk,
    Send,
    MarkRead,
    Contend,
    GetPost,
    Counts,
    Unread,
    Resolve,
    Home,
    Author,
    Followers,
    Following,
    Comments,
    Messages,
    Walk,
}

/// The most that a page holds.
pub const WHOLE: i32 = 100;
/// Handles that more than one client wants.
pub const CONTENDED: [&str; 3] = ["star", "moon", "sun"];

/// What `actor` does next; `None`: nothing that could be done. `name` is of this step alone.
pub fn next(board: &Board, actor: &str, name: &str, chance: &Chance) -> Option<Op> {
    let total: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut left = chance.between(0, total - 1);
    let kind = WEIGHTS.iter().find_map(|&(kind, weight)| {
        let found = (left < weight).then_some(kind);
        left = left.saturating_sub(weight);
        found
    })?;
    op(kind, board, actor, name, chance)
}

/// One and the same rows again and again, changed from both sides: person 0 follows person 1, who blocks person 0.
pub fn hot(board: &Board, client: usize, chance: &Chance) -> Option<(String, Op)> {
    let post_id = board.posts.first().map(|(post_id, ..)| post_id.clone());
    let person = |number: usize| {
        let at = board.handles.iter().position(|handle| *handle == format!("person_{number}"))?;
        board.people.get(at).cloned()
    };
    let op = match (client, chance.below(6)) {
        (0, 0) => Op::React { post_id: post_id?, kind: 1 },
        (0, 1) => Op::React { post_id: post_id?, kind: 2 },
        (0, 2) => Op::Unreact { post_id: post_id? },
        (0, 3 | 4) => Op::Follow { target: person(1)?, shows_shares: chance.per_mille(500) },
        (0, _) => Op::Unfollow { target: person(1)? },
        (_, 0..3) => Op::Block { target: person(0)? },
        (_, _) => Op::Unblock { target: person(0)? },
    };
    Some((person(client)?, op))
}

fn op(kind: Kind, board: &Board, actor: &str, name: &str, chance: &Chance) -> Option<Op> {
    let someone = || chance.pick(&board.people).cloned();
    let another = || someone().filter(|other| other != actor);
    let post = || chance.pick(&board.posts).map(|(post_id, ..)| post_id.clone());
    let own_post = || {
        let own: Vec<_> = board.posts.iter().filter(|(_, author, _)| author == actor).collect();
        chance.pick(&own).map(|(post_id, _, revision)| (post_id.clone(), *revision))
    };
    let talk = || {
        let own: Vec<_> = board.talks.iter().filter(|(_, members)| members.iter().any(|m| m == actor)).collect();
        chance.pick(&own).map(|(talk, _)| talk.clone())
    };
    let text = || format!("text {name}");
    let whole = |list| Op::List { list, page: Page { size: WHOLE, token: String::new() } };
    Some(match kind {
        Kind::Follow => Op::Follow { target: another()?, shows_shares: chance.per_mille(700) },
        Kind::Unfollow => Op::Unfollow { target: another()? },
        Kind::Block => Op::Block { target: another()? },
        Kind::Unblock => Op::Unblock { target: another()? },
        Kind::CreatePost => Op::CreatePost { text: text() },
        Kind::EditPost => {
            let (post_id, revision) = own_post()?;
            let expected_revision = if chance.per_mille(700) { revision } else { 0 };
            Op::EditPost { post_id, text: text(), expected_revision }
        }
        Kind::DeletePost => Op::DeletePost { post_id: own_post()?.0 },
        Kind::React => Op::React { post_id: post()?, kind: chance.between(1, 6) as i32 },
        Kind::Unreact => Op::Unreact { post_id: post()? },
        Kind::Comment => Op::Comment { post_id: post()?, text: text() },
        Kind::Share => Op::Share { post_id: post()? },
        Kind::Unshare => Op::Unshare { post_id: post()? },
        Kind::OpenTalk => Op::OpenTalk { other: another()? },
        Kind::Send => Op::Send { talk: talk()?, text: text() },
        Kind::MarkRead => Op::MarkRead { talk: talk()?, up_to: chance.between(1, 4) },
        Kind::Contend => Op::CreateAccount { handle: (*chance.pick(&CONTENDED)?).to_owned() },
        Kind::GetPost => Op::GetPost { post_id: post()? },
        Kind::Counts => Op::Counts { post_id: post()? },
        Kind::Unread => Op::Unread { talk: talk()? },
        Kind::Resolve => Op::Resolve { handle: chance.pick(&board.handles)?.clone() },
        Kind::Home => whole(List::Home { include_shares: chance.per_mille(700) }),
        Kind::Author => whole(List::Author { account: someone()? }),
        Kind::Followers => whole(List::Followers { account: someone()? }),
        Kind::Following => whole(List::Following { account: someone()? }),
        Kind::Comments => whole(List::Comments { post_id: post()? }),
        Kind::Messages => whole(List::Messages { talk: talk()? }),
        Kind::Walk => {
            let list = match chance.below(5) {
                0 => List::Home { include_shares: true },
                1 => List::Followers { account: someone()? },
                2 => List::Following { account: someone()? },
                3 => List::Comments { post_id: post()? },
                _ => List::Messages { talk: talk()? },
            };
            Op::Walk { list, page_size: chance.between(1, 3) as i32 }
        }
    })
}
