//! Step three of a read: which entries the caller is shown, as of now. Pure.

use std::collections::BTreeMap;

use kith_log::Offset;
use kith_relations::mute::Muting;
use kith_relations::sight::Sights;

use crate::entry::{Entry, Kind};
use crate::views::cards::Card;
use crate::views::follows::FollowRow;

/// What becomes of an entry of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Shown,
    /// Deleted, or taken back.
    Gone,
    /// By an account in a block with the caller.
    Blocked,
}

/// Whether an entry is one of the reader's home feed at all. `follow`: that of the entry's author, if it stands.
pub fn belongs(entry: &Entry, follow: Option<&FollowRow>, include_shares: bool) -> bool {
    let Some(follow) = follow.filter(|follow| follow.following && entry.place.at_us >= follow.since_us()) else {
        return false;
    };
    match entry.kind {
        Kind::Post => true,
        Kind::Share => include_shares && follow.shows_shares,
    }
}

/// The reader's mute that keeps an entry out of the home feed, by its offset under the reader's key: of the posts of whoever wrote
/// it, also where another shares it, or of what its sharer shares.
pub fn muted_by(entry: &Entry, muting: &Muting) -> Option<Offset> {
    let by_share = || muting.shares_of(&entry.author_id).filter(|_| entry.kind == Kind::Share);
    muting.posts_of(&entry.post_author_id).or_else(by_share)
}

/// Whether the caller is shown the entry. `sights`: how the caller sees who wrote it and who shared it.
pub fn judge(entry: &Entry, card: &Card, sights: &Sights) -> Verdict {
    let stands = card.post.as_ref().is_some_and(|post| !post.deleted && post.author_id == entry.post_author_id);
    let shared = || card.actors.get(&entry.author_id).is_some_and(|a| a.shared && a.share_id == entry.place.item_id);
    if entry.over || !stands || entry.kind == Kind::Share && !shared() {
        return Verdict::Gone;
    }
    if ![&entry.author_id, &entry.post_author_id].into_iter().all(|account| sights.of(account).is_clear()) {
        return Verdict::Blocked;
    }
    Verdict::Shown
}

/// One entry a post: the strongest reason, which is to follow its author, else the newest share. Newest first.
pub fn strongest(entries: Vec<Entry>) -> Vec<Entry> {
    let mut best: BTreeMap<String, Entry> = BTreeMap::new();
    let strength = |entry: &Entry| (entry.kind == Kind::Post, entry.place.clone());
    for entry in entries {
        match best.get(&entry.post_id) {
            Some(known) if strength(known) >= strength(&entry) => {}
            _ => {
                best.insert(entry.post_id.clone(), entry);
            }
        }
    }
    let mut one_each: Vec<Entry> = best.into_values().collect();
    one_each.sort_by(|a, b| b.place.cmp(&a.place));
    one_each
}

#[cfg(test)]
mod tests {
    use kith_relations::sight::Sight;
    use kith_tables::Timestamp;

    use super::*;
    use crate::entry::Place;
    use crate::views::cards::{ActorRow, PostRow};

    fn post(at_us: i64) -> Entry {
        Entry {
            place: Place { at_us, item_id: "post".into() },
            kind: Kind::Post,
            post_id: "post".into(),
            author_id: "ada".into(),
            post_author_id: "ada".into(),
            over: false,
        }
    }

    fn share(at_us: i64, share_id: &str) -> Entry {
        let place = Place { at_us, item_id: share_id.into() };
        Entry { place, kind: Kind::Share, author_id: "bob".into(), ..post(at_us) }
    }

    fn card(deleted: bool, shared: bool) -> Card {
        let post = PostRow { author_id: "ada".into(), deleted, ..PostRow::default() };
        let sharer = ActorRow { shared, share_id: "s1".into(), ..ActorRow::default() };
        Card { post: Some(post), actors: [("bob".to_owned(), sharer)].into(), ..Card::default() }
    }

    /// Ada, Bob and Eve, of whom some are in a block with the caller.
    fn sights(blocked: &[&str]) -> Sights {
        let sight = |account: &str| Sight::of(false, blocked.contains(&account));
        Sights::new("me", ["ada", "bob", "eve"].map(|account| (account, sight(account))))
    }

    #[test]
    fn an_entry_belongs_while_the_follow_stands_and_reaches_back_to_it() {
        let follow = |following, shows_shares| FollowRow {
            following,
            shows_shares,
            follow_time: Timestamp(10_000_000),
            backfill_window_seconds: 2,
            ..FollowRow::default()
        };
        assert!(!belongs(&post(9_000_000), None, true));
        assert!(!belongs(&post(9_000_000), Some(&follow(false, true)), true));
        assert!(belongs(&post(8_000_000), Some(&follow(true, false)), false));
        assert!(!belongs(&post(7_999_999), Some(&follow(true, false)), false));
        for (include, shows) in [(true, false), (false, true), (false, false)] {
            assert!(!belongs(&share(9_000_000, "s1"), Some(&follow(true, shows)), include));
        }
        assert!(belongs(&share(9_000_000, "s1"), Some(&follow(true, true)), true));
    }

    #[test]
    fn what_is_gone_is_not_shown() {
        let nobody = sights(&[]);
        assert_eq!(judge(&post(1), &card(false, false), &nobody), Verdict::Shown);
        assert_eq!(judge(&post(1), &card(true, false), &nobody), Verdict::Gone);
        assert_eq!(judge(&post(1), &Card::default(), &nobody), Verdict::Gone);
        assert_eq!(judge(&Entry { over: true, ..post(1) }, &card(false, false), &nobody), Verdict::Gone);
        let of_another = Entry { post_author_id: "eve".into(), ..post(1) };
        assert_eq!(judge(&of_another, &card(false, false), &nobody), Verdict::Gone);
        assert_eq!(judge(&share(1, "s1"), &card(false, true), &nobody), Verdict::Shown);
        assert_eq!(judge(&share(1, "s1"), &card(false, false), &nobody), Verdict::Gone);
        assert_eq!(judge(&share(1, "s2"), &card(false, true), &nobody), Verdict::Gone);
        assert_eq!(judge(&share(1, "s1"), &card(true, true), &nobody), Verdict::Gone);
    }

    #[test]
    fn a_block_with_the_author_or_with_the_sharer_hides_a_share() {
        for (blocked, post_is, share_is) in [
            ("ada", Verdict::Blocked, Verdict::Blocked),
            ("bob", Verdict::Shown, Verdict::Blocked),
            ("eve", Verdict::Shown, Verdict::Shown),
        ] {
            let blocked = sights(&[blocked]);
            assert_eq!(judge(&post(1), &card(false, true), &blocked), post_is);
            assert_eq!(judge(&share(1, "s1"), &card(false, true), &blocked), share_is);
        }
    }

    #[test]
    fn a_post_appears_once_with_its_strongest_reason_in_that_reasons_place() {
        let other = Entry { post_id: "other".into(), ..share(2, "s2") };
        let all = vec![share(4, "s4"), share(3, "s3"), other.clone(), post(1)];
        assert_eq!(strongest(all.clone()), [other.clone(), post(1)]);
        assert_eq!(strongest(all[..3].to_vec()), [share(4, "s4"), other]);
    }
}
