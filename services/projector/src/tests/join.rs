//! The property that the projector stands on: whatever met when, every home feed is the naive join of the final states.

use std::collections::BTreeMap;

use kith_proto::feeds::v1::GetHomeFeedRequest;
use proptest::prelude::*;

use super::history::{Op, Writer, person};
use super::naive::{Naive, Shown, kinds};
use super::suite::Suite;

const PEOPLE: usize = 6;
const CASES: u32 = 40;

fn op() -> impl Strategy<Value = Op> {
    let (who, thing) = (|| 0..4_usize, || 0..32_usize);
    prop_oneof![
        8 => (who(), who(), any::<bool>(), prop_oneof![Just(0), 0..200_u32, Just(10_000)], 0..4_u64).prop_map(
            |(who, whom, shows_shares, window_hours, seen)| Op::Follow { who, whom, shows_shares, window_hours, seen }
        ),
        2 => (who(), who()).prop_map(|(who, whom)| Op::Unfollow { who, whom }),
        1 => (who(), who(), 0..4_u64).prop_map(|(who, whom, block_offset)| Op::Cut { who, whom, block_offset }),
        1 => (who(), who()).prop_map(|(who, whom)| Op::Block { who, whom }),
        1 => (who(), who()).prop_map(|(who, whom)| Op::Unblock { who, whom }),
        3 => (who(), who(), any::<bool>(), any::<bool>(), any::<Option<bool>>()).prop_map(
            |(who, whom, posts, shares, ended)| Op::Mute { who, whom, posts, shares, ended }
        ),
        1 => (who(), who()).prop_map(|(who, whom)| Op::Unmute { who, whom }),
        1 => (who(), who()).prop_map(|(who, whom)| Op::Remove { who, whom }),
        8 => who().prop_map(|who| Op::Post { who }),
        1 => thing().prop_map(|post| Op::Edit { post }),
        1 => thing().prop_map(|post| Op::Delete { post }),
        4 => (who(), thing()).prop_map(|(who, post)| Op::Share { who, post }),
        1 => thing().prop_map(|share| Op::Unshare { share }),
        1 => (who(), thing(), kinds()).prop_map(|(who, post, kind)| Op::React { who, post, kind }),
        1 => (who(), thing()).prop_map(|(who, post)| Op::Comment { who, post }),
        2 => thing().prop_map(|back| Op::Repeat { back }),
        6 => (0..60_usize).prop_map(|yields| Op::Lull { yields }),
        1 => Just(Op::Crash),
    ]
}

/// Everyone comes to follow one author, who posts all the while, and becomes one that is pulled.
fn rise_of_an_author() -> impl Strategy<Value = Vec<Op>> {
    let follow = |who| Op::Follow { who, whom: 0, shows_shares: true, window_hours: 10_000, seen: 0 };
    let op = prop_oneof![
        8 => Just(Op::Post { who: 0 }),
        1 => (0..32_usize).prop_map(|post| Op::Share { who: 0, post }),
        1 => (1..PEOPLE).prop_map(|who| Op::Unfollow { who, whom: 0 }),
        6 => (0..60_usize).prop_map(|yields| Op::Lull { yields }),
        2 => Just(Op::Crash),
    ];
    let others = prop::collection::vec(op, 5..30);
    others.prop_flat_map(move |ops| Just((1..PEOPLE).map(follow).chain(ops).collect::<Vec<_>>()).prop_shuffle())
}

/// Appends the history while it is folded; gives what it was.
async fn happen(suite: &mut Suite, ops: &[Op]) -> Naive {
    let mut writer = Writer::new(PEOPLE);
    let mut log = writer.records.clone();
    for (id, event) in &log {
        suite.append(*id, event.clone()).await;
    }
    for op in ops {
        match op {
            Op::Lull { yields } => {
                for _ in 0..*yields {
                    tokio::task::yield_now().await;
                }
                // A page read now may be remembered: it must not outlast what it was read from.
                let (include_shares, page_size) = (yields % 2 == 0, 100);
                let ask = GetHomeFeedRequest { include_shares, page_size, ..GetHomeFeedRequest::default() };
                let _shown_or_not = suite.home_page(person(yields % PEOPLE), ask).await;
            }
            Op::Crash => {
                suite.kill();
                suite.resume().await;
            }
            op => {
                if let Some((id, event)) = writer.write(op) {
                    suite.append(id, event.clone()).await;
                    log.push((id, event));
                }
            }
        }
    }
    Naive::of(&log)
}

async fn pages(suite: &Suite, reader: usize, include_shares: bool, page_size: i32) -> Vec<(Vec<Shown>, usize)> {
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let ask = GetHomeFeedRequest { include_shares, page_size, page_token, at_least: Vec::new() };
        let page = suite.home_page(person(reader), ask).await.unwrap();
        assert!(!page.incomplete && page.items.len() <= page_size as usize);
        pages.push((page.items.iter().map(Shown::of).collect(), page.omitted_count as usize));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return pages;
        }
    }
}

/// One large page is the join; small ones hold the same posts, in order, each once: in the place of its strongest reason, or
/// of a share that comes before it in another page.
async fn compare(suite: &Suite, naive: &Naive) {
    for (reader, include_shares) in (0..PEOPLE).flat_map(|reader| [(reader, true), (reader, false)]) {
        let (expected, omitted) = naive.home(person(reader), include_shares);
        let whole = pages(suite, reader, include_shares, 100).await;
        assert_eq!(by_time(whole.concat_items()), by_time(expected.clone()), "home feed of {reader}");
        assert_eq!(whole.iter().map(|page| page.1).sum::<usize>(), omitted, "left out for {reader}");
        let small = pages(suite, reader, include_shares, 3).await;
        let all = small.concat_items();
        assert!(all.is_sorted_by(|a, b| a.at_ms >= b.at_ms), "order for {reader}");
        // What is gone or hidden of a post that was shown before is passed over.
        assert!(small.iter().map(|page| page.1).sum::<usize>() <= omitted);
        let posts: BTreeMap<&str, &Shown> = all.iter().map(|shown| (&*shown.post_id, shown)).collect();
        assert_eq!((all.len(), posts.len()), (expected.len(), expected.len()), "small pages of {reader}: {all:?}");
        for strongest in &expected {
            let shown = posts.get(&*strongest.post_id).unwrap();
            assert!(*shown == strongest || shown.at_ms >= strongest.at_ms, "{shown:?} for {reader}, not {strongest:?}");
        }
        for post in naive.posts() {
            let explained = suite.explain(person(reader), post, include_shares).await;
            assert_eq!(explained.is_some(), naive.is_told(person(reader), post), "{post} for {reader}");
            let (is_shown, why) = explained.map_or((false, String::new()), |why| (why.shown, format!("{why:?}")));
            assert_eq!(is_shown, posts.contains_key(&**post), "{post} for {reader}: {why}");
        }
    }
}

/// Entries of one moment stand in the order of ids that the naive join does not know.
fn by_time(shown: Vec<Shown>) -> BTreeMap<std::cmp::Reverse<i64>, Vec<Shown>> {
    assert!(shown.is_sorted_by(|a, b| a.at_ms >= b.at_ms));
    let mut by_time: BTreeMap<_, Vec<Shown>> = BTreeMap::new();
    for one in shown {
        by_time.entry(std::cmp::Reverse(one.at_ms)).or_default().push(one);
    }
    by_time.values_mut().for_each(|moment| moment.sort_by(|a, b| a.post_id.cmp(&b.post_id)));
    by_time
}

trait Items {
    fn concat_items(&self) -> Vec<Shown>;
}

impl Items for Vec<(Vec<Shown>, usize)> {
    fn concat_items(&self) -> Vec<Shown> {
        self.iter().flat_map(|(items, _)| items.clone()).collect()
    }
}

async fn holds(ops: &[Op], push_threshold: u64, seed: u64) {
    let mut suite = Suite::start(push_threshold, seed).await;
    let naive = happen(&mut suite, ops).await;
    suite.settle().await;
    suite.store.rest();
    compare(&suite, &naive).await;
    let before = suite.digest().await;
    suite.store.stir();
    suite.rebuild().await;
    suite.settle().await;
    suite.store.rest();
    compare(&suite, &naive).await;
    assert_eq!(suite.digest().await, before, "after a rebuild");
}

fn run(ops: &[Op], push_threshold: u64, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(holds(ops, push_threshold, seed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_home_feed_is_the_join_of_the_final_states(
        ops in prop::collection::vec(op(), 10..90),
        push_threshold in prop_oneof![Just(0_u64), Just(1), Just(2), Just(10_000)],
        seed in any::<u64>(),
    ) {
        run(&ops, push_threshold, seed);
    }

    #[test]
    fn an_author_who_becomes_pulled_is_missed_by_nobody(
        ops in rise_of_an_author(),
        push_threshold in 1_u64..4,
        seed in any::<u64>(),
    ) {
        run(&ops, push_threshold, seed);
    }
}
