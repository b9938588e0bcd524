//! What must be there after the plan, computed naively from the plan alone.

use std::collections::{BTreeMap, BTreeSet};

use kith_proto::engagement::v1::ReactionKind;

use crate::plan::{Amend, Conversation, Fate, Line, Mute, Plan};

/// Counts of one post.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub reactions: BTreeMap<i32, u64>,
    pub comments: u64,
    pub shares: u64,
}

/// Why a post is in a home feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Followed,
    Shared,
}

/// The state that the inputs add up to.
pub struct Expected {
    pub follows: BTreeSet<(usize, usize)>,
    pub counts: Vec<Counts>,
    pub deleted: BTreeSet<usize>,
    pub edited: BTreeMap<usize, String>,
    /// For each person the posts of their home feed, with every reason there is.
    pub feeds: Vec<BTreeMap<usize, BTreeSet<Reason>>>,
    /// For each conversation the unread messages of its two people, in their order.
    pub unread: Vec<(u64, u64)>,
    /// For each person how many requests wait.
    pub requests: Vec<u32>,
    /// For each person the unread messages of all conversations in the inbox: of those that are not muted, and of those that are.
    pub unread_in_all: Vec<(u64, u64)>,
    /// For each conversation its messages, in their order.
    pub messages: Vec<Vec<Said>>,
}

/// A message as it is in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub by: usize,
    /// Empty: it was unsent.
    pub text: String,
    pub edited: bool,
    pub unsent: bool,
    pub reactions: u64,
}

impl Expected {
    pub fn of(plan: &Plan) -> Self {
        let deleted: BTreeSet<usize> = plan.deletes.iter().copied().collect();
        let follows = follows(plan);
        let shares: BTreeSet<(usize, usize)> =
            plan.shares.iter().filter(|share| !plan.unshares.contains(share)).copied().collect();
        let feeds = feeds(plan, &follows, &shares, &deleted);
        Self {
            follows,
            counts: counts(plan, &shares),
            deleted,
            edited: plan.edits.iter().cloned().collect(),
            feeds,
            unread: plan.conversations.iter().map(unread_in_inbox).collect(),
            requests: requests(plan),
            unread_in_all: unread_in_all(plan),
            messages: plan.conversations.iter().map(|talk| messages(&talk.lines)).collect(),
        }
    }
}

fn follows(plan: &Plan) -> BTreeSet<(usize, usize)> {
    let mut follows: BTreeSet<(usize, usize)> = plan.follows.iter().copied().collect();
    for pair in plan.unfollows.iter().chain(&plan.removals) {
        follows.remove(pair);
    }
    for &(a, b) in &plan.blocks {
        follows.remove(&(a, b));
        follows.remove(&(b, a));
    }
    follows
}

fn counts(plan: &Plan, shares: &BTreeSet<(usize, usize)>) -> Vec<Counts> {
    let mut standing: BTreeMap<(usize, usize), ReactionKind> = BTreeMap::new();
    for &(actor, post, kind) in plan.reactions.iter().chain(&plan.second_reactions) {
        standing.insert((actor, post), kind);
    }
    for &(actor, post) in &plan.unreactions {
        standing.remove(&(actor, post));
    }
    let mut counts = vec![Counts::default(); plan.posts.len()];
    for ((_, post), kind) in standing {
        *counts[post].reactions.entry(kind as i32).or_default() += 1;
    }
    for (_, post, _) in &plan.comments {
        counts[*post].comments += 1;
    }
    for (_, post) in shares {
        counts[*post].shares += 1;
    }
    counts
}

fn feeds(
    plan: &Plan,
    follows: &BTreeSet<(usize, usize)>,
    shares: &BTreeSet<(usize, usize)>,
    deleted: &BTreeSet<usize>,
) -> Vec<BTreeMap<usize, BTreeSet<Reason>>> {
    let blocked: BTreeSet<(usize, usize)> = plan.blocks.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
    let muted = |of: fn(&Mute) -> bool| {
        let mutes = plan.mutes.iter().filter(move |mute| of(mute));
        mutes.map(|mute| (mute.who, mute.whom)).collect::<BTreeSet<(usize, usize)>>()
    };
    let (posts_muted, shares_muted) = (muted(|mute| mute.posts), muted(|mute| mute.shares));
    let mut feeds: Vec<BTreeMap<usize, BTreeSet<Reason>>> = vec![BTreeMap::new(); plan.people];
    let mut add = |reader: usize, post: usize, reason: Reason| {
        let pair = (reader, plan.posts[post].author);
        if !deleted.contains(&post) && !blocked.contains(&pair) && !posts_muted.contains(&pair) {
            feeds[reader].entry(post).or_default().insert(reason);
        }
    };
    let mut posts_of = vec![Vec::new(); plan.people];
    for (post, of) in plan.posts.iter().enumerate() {
        posts_of[of.author].push(post);
    }
    let mut shares_of = vec![Vec::new(); plan.people];
    for &(actor, post) in shares {
        shares_of[actor].push(post);
    }
    for &(reader, followed) in follows {
        posts_of[followed].iter().for_each(|&post| add(reader, post, Reason::Followed));
        if !shares_muted.contains(&(reader, followed)) {
            shares_of[followed].iter().for_each(|&post| add(reader, post, Reason::Shared));
        }
    }
    feeds
}

fn requests(plan: &Plan) -> Vec<u32> {
    let mut requests = vec![0; plan.people];
    for talk in plan.conversations.iter().filter(|talk| talk.fate() == Fate::Waits) {
        requests[talk.between.1] += 1;
    }
    requests
}

/// Who muted a conversation.
pub fn muted(talk: &Conversation) -> BTreeSet<usize> {
    let mutes = |line: &Line| if let Line::Mutes { by } = line { Some(*by) } else { None };
    talk.lines.iter().filter_map(mutes).collect()
}

fn unread_in_all(plan: &Plan) -> Vec<(u64, u64)> {
    let mut all = vec![(0, 0); plan.people];
    for talk in &plan.conversations {
        let (first, second) = unread_in_inbox(talk);
        for (person, unread) in [(talk.between.0, first), (talk.between.1, second)] {
            let sum = if muted(talk).contains(&person) { &mut all[person].1 } else { &mut all[person].0 };
            *sum += unread;
        }
    }
    // Nobody mutes a group, and who is added knows who adds: its messages are in the inbox.
    for group in &plan.groups {
        group.stands().into_iter().for_each(|person| all[person].0 += group.seen_by(person).1);
    }
    all
}

fn messages(lines: &[Line]) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    for line in lines {
        match line {
            Line::Says { by, text } => {
                all.push(Said { by: *by, text: text.clone(), edited: false, unsent: false, reactions: 0 });
            }
            Line::Amends { number, how, .. } => {
                let Some(said) = usize::try_from(*number).ok().and_then(|number| all.get_mut(number - 1)) else {
                    continue;
                };
                match how {
                    Amend::Edits(text) => (said.text, said.edited) = (text.clone(), true),
                    Amend::Unsends => (said.text, said.unsent) = (String::new(), true),
                    Amend::Reacts => said.reactions += 1,
                }
            }
            Line::Reads { .. } | Line::Accepts { .. } | Line::Declines { .. } | Line::Mutes { .. } => {}
        }
    }
    all
}

/// What waits or was declined is in no number of an inbox.
fn unread_in_inbox(talk: &Conversation) -> (u64, u64) {
    let (first, second) = unread(talk.between, &talk.lines);
    (first, if talk.fate() == Fate::Accepted { second } else { 0 })
}

/// What the other one said after the last line that one has read. Sending reads nothing.
///
/// The suite moves the marker of one who has written in more than 64 places above it; no talk of the plan is that long.
fn unread((first, second): (usize, usize), lines: &[Line]) -> (u64, u64) {
    let of = |reader: usize| {
        let reads = lines.iter().map(|line| match line {
            Line::Reads { by, up_to } if *by == reader => *up_to,
            _ => 0,
        });
        let marker = reads.max().unwrap_or(0);
        let unread = |(number, said): &(u64, Said)| *number > marker && said.by != reader && !said.unsent;
        (1_u64..).zip(messages(lines)).filter(unread).count() as u64
    };
    (of(first), of(second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Post;

    fn says(by: usize) -> Line {
        Line::Says { by, text: String::new() }
    }

    #[test]
    fn unread_is_what_came_after_the_marker() {
        let lines = [says(1), says(2), says(1), Line::Reads { by: 2, up_to: 1 }, says(1)];
        assert_eq!(unread((1, 2), &lines), (1, 2));
        assert_eq!(unread((1, 2), &[says(2), says(2), says(1)]), (2, 1), "an answer reads nothing");
        assert_eq!(unread((1, 2), &[says(1), Line::Reads { by: 2, up_to: 1 }]), (0, 0));
    }

    #[test]
    fn what_was_unsent_is_unread_by_nobody() {
        let unsends = |by, number| Line::Amends { by, number, how: Amend::Unsends };
        let lines = [says(1), says(1), says(2), unsends(1, 2)];
        assert_eq!(unread((1, 2), &lines), (1, 1));
        assert_eq!(messages(&lines).iter().map(|said| said.unsent).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn a_request_counts_as_one_until_it_is_answered() {
        let after = |answer: Option<Line>| {
            let lines = [says(1), says(1)].into_iter().chain(answer).collect();
            let talk = Conversation { between: (1, 2), is_request: true, lines };
            let plan = Plan { people: 3, conversations: vec![talk], ..Plan::default() };
            let expected = Expected::of(&plan);
            (expected.requests[2], expected.unread[0])
        };
        assert_eq!(after(None), (1, (0, 0)));
        assert_eq!(after(Some(Line::Accepts { by: 2 })), (0, (0, 2)));
        assert_eq!(after(Some(says(2))), (0, (1, 2)));
        assert_eq!(after(Some(Line::Declines { by: 2 })), (0, (0, 0)));
    }

    #[test]
    fn a_feed_is_the_join_of_final_states() {
        let post = |author| Post { author, text: String::new() };
        let plan = Plan {
            people: 4,
            follows: vec![(0, 1), (0, 2), (3, 1)],
            posts: vec![post(1), post(1), post(3)],
            shares: vec![(2, 0), (2, 2), (1, 2)],
            unshares: vec![(1, 2)],
            deletes: vec![1],
            blocks: vec![(3, 0)],
            ..Plan::default()
        };
        let expected = Expected::of(&plan);
        let both = BTreeSet::from([Reason::Followed, Reason::Shared]);
        assert_eq!(expected.feeds[0], BTreeMap::from([(0, both)]), "shared by 2, but 3 blocks 0");
        assert_eq!(expected.feeds[3], BTreeMap::from([(0, BTreeSet::from([Reason::Followed]))]));
        assert_eq!(expected.counts[2].shares, 1);
    }

    #[test]
    fn a_mute_keeps_posts_away_whoever_shares_them_and_shares_of_one_alone() {
        let post = |author| Post { author, text: String::new() };
        let feed = |posts: bool, shares: bool| {
            let plan = Plan {
                people: 3,
                follows: vec![(0, 1), (0, 2)],
                posts: vec![post(1), post(2)],
                shares: vec![(2, 0), (1, 1)],
                mutes: vec![Mute { who: 0, whom: 1, posts, shares }],
                ..Plan::default()
            };
            Expected::of(&plan).feeds.remove(0)
        };
        let reasons = |of: &[Reason]| of.iter().copied().collect::<BTreeSet<_>>();
        let both = || reasons(&[Reason::Followed, Reason::Shared]);
        assert_eq!(feed(true, false), BTreeMap::from([(1, both())]));
        assert_eq!(feed(false, true), BTreeMap::from([(0, both()), (1, reasons(&[Reason::Followed]))]));
    }
}
