//! What everybody does in the demo: a pure function of the graph and a seed.

use std::collections::BTreeSet;

use kith_proto::engagement::v1::ReactionKind;

use crate::graph::Graph;
use crate::groups::Group;

const KINDS: [ReactionKind; 6] = [
    ReactionKind::Like,
    ReactionKind::Love,
    ReactionKind::Laugh,
    ReactionKind::Wow,
    ReactionKind::Sad,
    ReactionKind::Support,
];
const POSTS_PER_PERSON_MAX: usize = 3;
/// In a thousand chances.
const REACTS: u64 = 200;
const COMMENTS: u64 = 40;
const SHARES: u64 = 25;
const CHANGES_REACTION: u64 = 60;
const UNREACTS: u64 = 40;
const UNSHARES: u64 = 150;
const UNFOLLOWS: u64 = 15;
const BLOCKS: u64 = 4;
const DELETES: u64 = 40;
const EDITS: u64 = 60;
const WRITES_TO: u64 = 30;
const WRITES_TO_A_STRANGER: u64 = 300;
const REMOVES: u64 = 6;
const MUTES: u64 = 12;
const AMENDS: u64 = 250;
const SILENCES: u64 = 150;
const MAKES_A_GROUP: u64 = 100;

/// The handle of person `number`.
pub fn handle(number: usize) -> String {
    format!("reed_{number:03}")
}

/// Everything, in phases: what stands in one phase depends on those before it only.
#[derive(Debug, Default)]
pub struct Plan {
    pub people: usize,
    /// (follower, followed).
    pub follows: Vec<(usize, usize)>,
    pub posts: Vec<Post>,
    pub reactions: Vec<(usize, usize, ReactionKind)>,
    pub comments: Vec<(usize, usize, String)>,
    pub shares: Vec<(usize, usize)>,
    pub conversations: Vec<Conversation>,
    pub groups: Vec<Group>,
    pub second_reactions: Vec<(usize, usize, ReactionKind)>,
    pub unreactions: Vec<(usize, usize)>,
    pub unshares: Vec<(usize, usize)>,
    pub edits: Vec<(usize, String)>,
    pub unfollows: Vec<(usize, usize)>,
    pub blocks: Vec<(usize, usize)>,
    pub deletes: Vec<usize>,
    /// (follower, who removes it).
    pub removals: Vec<(usize, usize)>,
    pub mutes: Vec<Mute>,
}

/// What `who` mutes of `whom`; at least one of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mute {
    pub who: usize,
    pub whom: usize,
    pub posts: bool,
    pub shares: bool,
}

#[derive(Debug)]
pub struct Post {
    pub author: usize,
    pub text: String,
}

/// What two people write to each other, in order.
#[derive(Debug)]
pub struct Conversation {
    /// The first one opens it.
    pub between: (usize, usize),
    /// Whether the second one does not follow the first: then it waits among the requests.
    pub is_request: bool,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    Says {
        by: usize,
        text: String,
    },
    /// Reads everything up to this message number.
    Reads {
        by: usize,
        up_to: u64,
    },
    Accepts {
        by: usize,
    },
    Declines {
        by: usize,
    },
    /// Does something to the message of this number; to each at most once.
    Amends {
        by: usize,
        number: u64,
        how: Amend,
    },
    /// Wants no noise of it, without an end.
    Mutes {
        by: usize,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Amend {
    Edits(String),
    Unsends,
    Reacts,
}

impl Conversation {
    /// What the second one makes of it.
    pub fn fate(&self) -> Fate {
        let mut fates = self.lines.iter().filter_map(|line| match line {
            Line::Accepts { .. } => Some(Fate::Accepted),
            Line::Says { by, .. } if *by == self.between.1 => Some(Fate::Accepted),
            Line::Declines { .. } => Some(Fate::Declined),
            Line::Says { .. } | Line::Reads { .. } | Line::Amends { .. } | Line::Mutes { .. } => None,
        });
        if self.is_request { fates.next_back().unwrap_or(Fate::Waits) } else { Fate::Accepted }
    }
}

/// Of a conversation, for the one with whom it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Accepted,
    Waits,
    Declined,
}

impl Plan {
    pub fn new(graph: &Graph, seed: u64) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let mut plan = Self { people: graph.people(), ..Self::default() };
        for (person, friends) in graph.friends.iter().enumerate() {
            plan.follows.extend(friends.iter().map(|&friend| (person, friend)));
            for _ in 0..=dice.below(POSTS_PER_PERSON_MAX) {
                let text = post_text(friends, plan.posts.len(), &mut dice);
                plan.posts.push(Post { author: person, text });
            }
        }
        plan.engage(graph, &mut dice);
        plan.converse(graph, &mut dice);
        plan.change(graph, &mut dice);
        plan.ask_strangers(graph, &mut dice);
        plan.withdraw(&mut dice);
        plan.gather(graph, &mut dice);
        plan
    }

    /// Steps in all phases together.
    pub fn steps(&self) -> usize {
        let lines: usize = self.conversations.iter().map(|conversation| conversation.lines.len() + 1).sum();
        let groups: usize = self.groups.iter().map(Group::steps).sum();
        let engagement = self.reactions.len() + self.comments.len() + self.shares.len() + self.second_reactions.len();
        let undone = self.unreactions.len() + self.unshares.len() + self.unfollows.len() + self.deletes.len();
        self.people * 2
            + self.follows.len()
            + self.posts.len()
            + engagement
            + undone
            + lines
            + groups
            + self.edits.len()
            + self.blocks.len()
            + self.removals.len()
            + self.mutes.len()
    }

    fn engage(&mut self, graph: &Graph, dice: &mut Dice) {
        for post in 0..self.posts.len() {
            for &friend in &graph.friends[self.posts[post].author] {
                if dice.hits(REACTS) {
                    self.reactions.push((friend, post, KINDS[dice.below(KINDS.len())]));
                }
                if dice.hits(COMMENTS) {
                    self.comments.push((friend, post, format!("comment {} of the demo", self.comments.len())));
                }
                if dice.hits(SHARES) {
                    self.shares.push((friend, post));
                }
            }
        }
    }

    fn converse(&mut self, graph: &Graph, dice: &mut Dice) {
        for (person, friends) in graph.friends.iter().enumerate() {
            for &friend in friends.iter().filter(|&&friend| friend > person) {
                if dice.hits(WRITES_TO) {
                    self.conversations.push(conversation(person, friend, dice));
                }
            }
        }
    }

    /// Once each, to somebody who is no friend.
    fn ask_strangers(&mut self, graph: &Graph, dice: &mut Dice) {
        let mut asked = BTreeSet::new();
        for (person, friends) in graph.friends.iter().enumerate() {
            let stranger = dice.below(self.people.max(1));
            let pair = (person.min(stranger), person.max(stranger));
            let knows = stranger == person || friends.contains(&stranger);
            if dice.hits(WRITES_TO_A_STRANGER) && !knows && asked.insert(pair) {
                self.conversations.push(request(person, stranger, dice));
            }
        }
    }

    fn gather(&mut self, graph: &Graph, dice: &mut Dice) {
        for (person, friends) in graph.friends.iter().enumerate() {
            let group = Group::of(person, friends, self.groups.len()).filter(|_| dice.hits(MAKES_A_GROUP));
            self.groups.extend(group);
        }
    }

    fn change(&mut self, graph: &Graph, dice: &mut Dice) {
        for &(actor, post, _) in &self.reactions {
            if dice.hits(CHANGES_REACTION) {
                self.second_reactions.push((actor, post, KINDS[dice.below(KINDS.len())]));
            } else if dice.hits(UNREACTS) {
                self.unreactions.push((actor, post));
            }
        }
        self.unshares = self.shares.iter().copied().filter(|_| dice.hits(UNSHARES)).collect();
        for post in 0..self.posts.len() {
            if dice.hits(DELETES) {
                self.deletes.push(post);
            } else if dice.hits(EDITS) {
                self.edits.push((post, format!("edited: {}", self.posts[post].text)));
            }
        }
        let mut blocked = BTreeSet::new();
        for (person, friends) in graph.friends.iter().enumerate() {
            for &friend in friends {
                if dice.hits(BLOCKS) && blocked.insert((person.min(friend), person.max(friend))) {
                    self.blocks.push((person, friend));
                }
            }
        }
        let parted = |a: usize, b: usize| blocked.contains(&(a.min(b), a.max(b)));
        self.unfollows = self.follows.iter().copied().filter(|&(a, b)| !parted(a, b) && dice.hits(UNFOLLOWS)).collect();
        // Who was blocked could no longer write: such conversations come before the blocks, as all of them do.
    }
}

impl Plan {
    /// Follows that end by whom is followed, and follows that stand and are muted.
    fn withdraw(&mut self, dice: &mut Dice) {
        let parted = |a: usize, b: usize| self.blocks.contains(&(a, b)) || self.blocks.contains(&(b, a));
        let stands = |&(a, b): &(usize, usize)| !self.unfollows.contains(&(a, b)) && !parted(a, b);
        for (who, whom) in self.follows.iter().copied().filter(stands) {
            if dice.hits(REMOVES) {
                self.removals.push((who, whom));
            } else if dice.hits(MUTES) {
                let posts = dice.hits(600);
                self.mutes.push(Mute { who, whom, posts, shares: !posts || dice.hits(500) });
            }
        }
    }
}

fn conversation(a: usize, b: usize, dice: &mut Dice) -> Conversation {
    let mut lines = Vec::new();
    let mut said = 0;
    let mut amends = Vec::new();
    for _ in 0..2 + dice.below(6) {
        let by = if dice.hits(500) { a } else { b };
        said += 1;
        lines.push(Line::Says { by, text: format!("line {said} from {by}") });
        if dice.hits(AMENDS) {
            let other = if by == a { b } else { a };
            let (by, how) = match dice.below(3) {
                0 => (by, Amend::Edits(format!("line {said}, edited"))),
                1 => (by, Amend::Unsends),
                _ => (other, Amend::Reacts),
            };
            amends.push(Line::Amends { by, number: said, how });
        }
        if dice.hits(300) {
            let reader = if by == a { b } else { a };
            let up_to = said - u64::from(dice.hits(300) && said > 1);
            lines.push(Line::Reads { by: reader, up_to });
        }
    }
    lines.extend(amends);
    if dice.hits(SILENCES) {
        lines.push(Line::Mutes { by: a });
    }
    Conversation { between: (a, b), is_request: false, lines }
}

fn request(a: usize, b: usize, dice: &mut Dice) -> Conversation {
    let said = |line| Line::Says { by: a, text: format!("hello {line} from {a}, whom you do not know") };
    let mut lines: Vec<Line> = (0..=dice.below(2)).map(said).collect();
    match dice.below(4) {
        0 => lines.push(Line::Accepts { by: b }),
        1 => lines.extend([Line::Declines { by: b }, said(2)]),
        2 => lines.push(Line::Says { by: b, text: format!("hello from {b}") }),
        _ => {}
    }
    Conversation { between: (a, b), is_request: true, lines }
}

fn post_text(friends: &[usize], number: usize, dice: &mut Dice) -> String {
    let tag = ["reading", "music", "gardens", "code", "cooking", "maps"][dice.below(6)];
    match friends.get(dice.below(friends.len().max(1))) {
        Some(&friend) if dice.hits(300) => format!("post {number} with @{} about #{tag}", handle(friend)),
        _ if dice.hits(200) => format!("post {number} about #{tag}: https://example.org/{number}"),
        _ => format!("post {number} about #{tag}"),
    }
}

/// What everybody does is a function of the seed.
struct Dice(fastrand::Rng);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    fn hits(&mut self, in_a_thousand: u64) -> bool {
        self.0.u64(..1_000) < in_a_thousand
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_a_function_of_its_seed() {
        let graph = Graph::load(Some(60)).unwrap();
        let (one, same, other) = (Plan::new(&graph, 1), Plan::new(&graph, 1), Plan::new(&graph, 2));
        assert_eq!(format!("{one:?}"), format!("{same:?}"));
        assert_ne!(format!("{one:?}"), format!("{other:?}"));
    }

    fn fates(plan: &Plan, fate: Fate) -> usize {
        plan.conversations.iter().filter(|talk| talk.is_request && talk.fate() == fate).count()
    }

    fn lines(plan: &Plan, is: impl Fn(&Line) -> bool) -> usize {
        plan.conversations.iter().flat_map(|talk| &talk.lines).filter(|line| is(line)).count()
    }

    #[test]
    fn something_of_every_kind_happens() {
        let plan = Plan::new(&Graph::load(Some(120)).unwrap(), 98);
        for (what, count) in [
            ("follows", plan.follows.len()),
            ("reactions", plan.reactions.len()),
            ("comments", plan.comments.len()),
            ("shares", plan.shares.len()),
            ("unshares", plan.unshares.len()),
            ("conversations", plan.conversations.len()),
            ("requests that wait", fates(&plan, Fate::Waits)),
            ("requests that are accepted", fates(&plan, Fate::Accepted)),
            ("requests that are declined", fates(&plan, Fate::Declined)),
            ("groups", plan.groups.len()),
            ("unfollows", plan.unfollows.len()),
            ("blocks", plan.blocks.len()),
            ("deletes", plan.deletes.len()),
            ("edits", plan.edits.len()),
            ("edited messages", lines(&plan, |line| matches!(line, Line::Amends { how: Amend::Edits(_), .. }))),
            ("unsent messages", lines(&plan, |line| matches!(line, Line::Amends { how: Amend::Unsends, .. }))),
            ("reactions to messages", lines(&plan, |line| matches!(line, Line::Amends { how: Amend::Reacts, .. }))),
            ("silenced talks", lines(&plan, |line| matches!(line, Line::Mutes { .. }))),
            ("removals", plan.removals.len()),
            ("mutes of posts", plan.mutes.iter().filter(|mute| mute.posts).count()),
            ("mutes of shares", plan.mutes.iter().filter(|mute| mute.shares).count()),
        ] {
            assert!(count > 0, "{what}");
        }
    }
}
