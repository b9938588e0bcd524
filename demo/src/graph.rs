//! The friendship graph that the demo loads; see `data/README.md` for its source.

use std::collections::BTreeSet;

/// How many people it has.
pub const PEOPLE: u64 = 962;
const EDGES: &str = include_str!("../data/socfb-Reed98.edges");

/// People by number, and who is whose friend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// For each person their friends, ascending.
    pub friends: Vec<Vec<usize>>,
}

impl Graph {
    /// The whole graph, or the subgraph that as many people induce, below the upper eighth by number of friends:
    /// those above all know each other, those far below know nobody.
    pub fn load(accounts: Option<usize>) -> anyhow::Result<Self> {
        let mut pairs = BTreeSet::new();
        for line in EDGES.lines().filter(|line| !line.trim().is_empty()) {
            let mut ends = line.split_whitespace().map(str::parse::<usize>);
            match (ends.next(), ends.next()) {
                (Some(Ok(a)), Some(Ok(b))) if a != b => _ = pairs.insert((a.min(b), a.max(b))),
                _ => anyhow::bail!("not an edge: `{line}`"),
            }
        }
        let people = pairs.iter().map(|(_, b)| b + 1).max().unwrap_or(0);
        let chosen = choose(&pairs, people, accounts.unwrap_or(people).min(people));
        let mut friends = vec![Vec::new(); chosen.len()];
        for (a, b) in pairs {
            if let (Ok(a), Ok(b)) = (chosen.binary_search(&a), chosen.binary_search(&b)) {
                friends[a].push(b);
                friends[b].push(a);
            }
        }
        friends.iter_mut().for_each(|of_one| of_one.sort_unstable());
        Ok(Self { friends })
    }

    pub fn people(&self) -> usize {
        self.friends.len()
    }
}

/// `accounts` people, ascending: below the upper eighth by number of friends.
fn choose(pairs: &BTreeSet<(usize, usize)>, people: usize, accounts: usize) -> Vec<usize> {
    let mut friends = vec![0_usize; people];
    for &(a, b) in pairs {
        friends[a] += 1;
        friends[b] += 1;
    }
    let mut by_friends: Vec<usize> = (0..people).collect();
    by_friends.sort_by_key(|&person| (std::cmp::Reverse(friends[person]), person));
    let first = (people / 8).min(people - accounts);
    let mut chosen = by_friends[first..first + accounts].to_vec();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_has_the_size_that_its_authors_state() {
        let graph = Graph::load(None).unwrap();
        assert_eq!(graph.people() as u64, PEOPLE);
        assert_eq!(graph.friends.iter().map(Vec::len).sum::<usize>(), 2 * 18_812);
    }

    #[test]
    fn a_part_keeps_only_its_own_friendships() {
        let graph = Graph::load(Some(120)).unwrap();
        assert_eq!(graph.people(), 120);
        assert!(graph.friends.iter().flatten().all(|&friend| friend < 120));
    }
}
