//! Compares what the servers answer with what the inputs add up to.

mod circles;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::engagement_service_client::EngagementServiceClient;
use kith_proto::feeds::v1 as feeds;
use kith_proto::feeds::v1::feed_reason::Reason as WireReason;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;
use kith_proto::posts::v1 as posts;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_proto::time;

use crate::client::{Services, ask};
use crate::expected::{Counts, Expected, Reason};
use crate::load::Loaded;
use crate::plan::Plan;

const TOKENS_PER_CALL: usize = 8;
const BATCH: usize = 100;
const PAGE: i32 = 100;
/// A walk remembers so many posts shown through shares: one of them may come again behind more.
const SHARES_REMEMBERED: usize = 512;

/// What was compared, and what was not as expected.
#[derive(Debug, Default, serde::Serialize)]
pub struct Verdict {
    /// Commands that were answered OK.
    pub steps: u64,
    pub feeds: usize,
    pub feed_entries: usize,
    pub counts: usize,
    pub follow_lists: usize,
    pub follow_counts: usize,
    pub unread_counts: usize,
    pub request_counts: usize,
    pub groups: usize,
    pub posts: usize,
    /// One line each.
    pub differences: Vec<String>,
}

pub struct Checker<'a> {
    pub services: &'a Services,
    pub plan: &'a Plan,
    pub expected: &'a Expected,
    pub loaded: &'a Loaded,
    pub in_flight: usize,
    pub progress: ProgressBar,
}

impl Checker<'_> {
    pub async fn check(&self) -> anyhow::Result<Verdict> {
        self.see_everything().await?;
        let mut verdict = Verdict::default();
        self.progress.set_message("checking home feeds");
        let of_all = self.each(0..self.plan.people, |reader| self.home_feed(reader)).await?;
        for (entries, differences) in of_all {
            verdict.feeds += 1;
            verdict.feed_entries += entries;
            verdict.differences.extend(differences);
        }
        self.progress.set_message("checking counts, lists and unread numbers");
        let standing: Vec<usize> = (0..self.plan.posts.len()).filter(|p| !self.expected.deleted.contains(p)).collect();
        let batches: Vec<&[usize]> = standing.chunks(BATCH).collect();
        verdict.differences.extend(self.each(batches.iter(), |batch| self.counts(batch)).await?.into_iter().flatten());
        verdict.counts = standing.len();
        let all: Vec<usize> = (0..self.plan.posts.len()).collect();
        let batches: Vec<&[usize]> = all.chunks(BATCH).collect();
        verdict.differences.extend(self.each(batches.iter(), |batch| self.posts(batch)).await?.into_iter().flatten());
        verdict.posts = all.len();
        verdict
            .differences
            .extend(self.each(0..self.plan.people, |person| self.lists(person)).await?.into_iter().flatten());
        // Followers, followed, mutuals, mutes; and the two counts.
        verdict.follow_lists = self.plan.people * 4;
        verdict.follow_counts = self.plan.people * 2;
        let talks: Vec<usize> = (0..self.plan.conversations.len()).collect();
        verdict.differences.extend(self.each(talks.iter(), |&talk| self.talk(talk)).await?.into_iter().flatten());
        verdict.unread_counts = talks.len() * 2;
        let requests = self.each(0..self.plan.people, |person| self.requests(person)).await?;
        verdict.differences.extend(requests.into_iter().flatten());
        verdict.request_counts = self.plan.people;
        let groups = self.each(0..self.plan.groups.len(), |group| self.group(group)).await?;
        verdict.differences.extend(groups.into_iter().flatten());
        verdict.groups = self.plan.groups.len();
        Ok(verdict)
    }

    async fn each<I, T, F, Fut>(&self, items: impl Iterator<Item = I>, run: F) -> anyhow::Result<Vec<T>>
    where
        F: Fn(I) -> Fut,
        Fut: Future<Output = anyhow::Result<T>>,
    {
        stream::iter(items.map(run)).buffered(self.in_flight).try_collect().await
    }

    /// Every token that was answered is honoured by the services that serve what is compared.
    async fn see_everything(&self) -> anyhow::Result<()> {
        self.progress.set_message("waiting for tokens");
        let tokens = &self.loaded.tokens;
        let feeds = FeedServiceClient::new(self.services.feeds.clone());
        let of_feeds = [&tokens.identity, &tokens.posts, &tokens.engagement].into_iter().flatten();
        self.each(eights(of_feeds).into_iter(), |at_least| {
            let (feeds, message) = (feeds.clone(), feeds::WaitForRequest { at_least });
            async move { ask!(feeds.wait_for(self.loaded.people[0], message)).await }
        })
        .await?;
        let accounts = AccountServiceClient::new(self.services.identity.clone());
        self.each(eights(tokens.identity.iter()).into_iter(), |at_least| {
            let message =
                identity::GetAccountRequest { account_id: self.loaded.people[0].account_id.clone(), at_least };
            let accounts = accounts.clone();
            async move { ask!(accounts.get_account(self.loaded.people[0], message)).await }
        })
        .await?;
        let counts = EngagementServiceClient::new(self.services.engagement.clone());
        self.each(eights(tokens.engagement.iter()).into_iter(), |at_least| {
            let message = engagement::BatchGetCountsRequest { subjects: vec![self.loaded.subject(0)], at_least };
            let counts = counts.clone();
            async move { ask!(counts.batch_get_counts(self.loaded.people[0], message)).await }
        })
        .await?;
        let post_service = PostServiceClient::new(self.services.posts.clone());
        self.each(eights(tokens.posts.iter()).into_iter(), |at_least| {
            let message = posts::BatchGetPostsRequest { post_ids: vec![self.loaded.posts[0].0.clone()], at_least };
            let post_service = post_service.clone();
            async move { ask!(post_service.batch_get_posts(self.loaded.people[0], message)).await }
        })
        .await?;
        let messages = MessageServiceClient::new(self.services.messaging.clone());
        self.each(eights(tokens.messaging.iter()).into_iter(), |at_least| {
            let message = messaging::GetUnreadCountsRequest { conversation_ids: Vec::new(), at_least };
            let messages = messages.clone();
            async move { ask!(messages.get_unread_counts(self.loaded.people[0], message)).await }
        })
        .await?;
        Ok(())
    }

    /// Walks one home feed to its end.
    async fn home_feed(&self, reader: usize) -> anyhow::Result<(usize, Vec<String>)> {
        let post_numbers: HashMap<&str, usize> =
            self.loaded.posts.iter().enumerate().map(|(n, (id, _))| (id.as_str(), n)).collect();
        let client = FeedServiceClient::new(self.services.feeds.clone());
        let mut seen: BTreeMap<usize, Vec<Seen>> = BTreeMap::new();
        let mut differences = Vec::new();
        let (mut page_token, mut last, mut entries) = (String::new(), i64::MAX, 0);
        loop {
            let message =
                feeds::GetHomeFeedRequest { include_shares: true, page_size: PAGE, page_token, at_least: vec![] };
            let page = ask!(client.get_home_feed(self.loaded.people[reader], message)).await?;
            let is_last = page.next_page_token.is_empty();
            let ends = page.items.last().map(reason_of).transpose()?.map_or(i64::MIN, |(_, at)| at);
            for item in &page.items {
                let post = item.post.as_ref().context("an entry without a post")?;
                let number = *post_numbers.get(post.post_id.as_str()).context("a post that nobody made")?;
                let (reason, at) = reason_of(item)?;
                if at > last {
                    differences.push(format!("feed of {reader}: post {number} is out of order"));
                }
                last = at;
                entries += 1;
                let created = time::unix_ms(post.create_time.as_ref());
                seen.entry(number).or_default().push(Seen { reason, own_place_follows: created <= ends && !is_last });
                differences.extend(self.shown(reader, number, item));
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        differences.extend(compare_feeds(reader, &self.expected.feeds[reader], &seen));
        Ok((entries, differences))
    }

    /// What stands on an entry: its counts and its text.
    fn shown(&self, reader: usize, number: usize, item: &feeds::FeedItem) -> Option<String> {
        let counts = counts_of(item.counts.as_ref());
        let text = item.post.as_ref().map(|post| post.text.as_str());
        let expected_text = self.expected.edited.get(&number).unwrap_or(&self.plan.posts[number].text);
        let right = counts == self.expected.counts[number] && text == Some(expected_text);
        (!right).then(|| format!("feed of {reader}: post {number} shows {counts:?} {text:?}"))
    }

    async fn counts(&self, numbers: &[usize]) -> anyhow::Result<Vec<String>> {
        let client = EngagementServiceClient::new(self.services.engagement.clone());
        let subjects = numbers.iter().map(|&number| self.loaded.subject(number)).collect();
        let message = engagement::BatchGetCountsRequest { subjects, at_least: Vec::new() };
        let mut differences = Vec::new();
        // A post is not there for whom its author blocks: each is asked for by its author, but in batches by author 0.
        let asker = &self.loaded.people[self.plan.posts[numbers[0]].author];
        let answer = ask!(client.batch_get_counts(asker, message)).await?;
        for (&number, entry) in numbers.iter().zip(&answer.entries) {
            if entry.counts.is_none() && self.parted(self.plan.posts[numbers[0]].author, self.plan.posts[number].author)
            {
                continue;
            }
            let counts = counts_of(entry.counts.as_ref());
            if counts != self.expected.counts[number] {
                differences
                    .push(format!("counts of post {number}: {counts:?}, not {:?}", self.expected.counts[number]));
            }
        }
        Ok(differences)
    }

    async fn posts(&self, numbers: &[usize]) -> anyhow::Result<Vec<String>> {
        let client = PostServiceClient::new(self.services.posts.clone());
        let post_ids = numbers.iter().map(|&number| self.loaded.posts[number].0.clone()).collect();
        let message = posts::BatchGetPostsRequest { post_ids, at_least: Vec::new() };
        let asker = self.plan.posts[numbers[0]].author;
        let answer = ask!(client.batch_get_posts(self.loaded.people[asker], message)).await?;
        let mut differences = Vec::new();
        for (&number, entry) in numbers.iter().zip(&answer.entries) {
            let hidden = self.expected.deleted.contains(&number) || self.parted(asker, self.plan.posts[number].author);
            if entry.post.is_some() == hidden {
                differences.push(format!("post {number}: there is {}", entry.post.is_some()));
            }
        }
        Ok(differences)
    }

    pub fn parted(&self, a: usize, b: usize) -> bool {
        self.plan.blocks.contains(&(a, b)) || self.plan.blocks.contains(&(b, a))
    }
}

impl Checker<'_> {
    /// Requests are counted apart from what is unread, and so are muted conversations.
    async fn requests(&self, person: usize) -> anyhow::Result<Option<String>> {
        let client = MessageServiceClient::new(self.services.messaging.clone());
        let message = messaging::GetUnreadCountsRequest::default();
        let found = ask!(client.get_unread_counts(self.loaded.people[person], message)).await?;
        let found = (found.request_count, (found.total_unread_count, found.muted_unread_count));
        let expected = (self.expected.requests[person], self.expected.unread_in_all[person]);
        Ok((found != expected).then(|| format!("requests and unread of {person}: {found:?}, not {expected:?}")))
    }
}

fn eights<'t>(tokens: impl Iterator<Item = &'t String>) -> Vec<Vec<String>> {
    let tokens: Vec<String> = tokens.filter(|token| !token.is_empty()).cloned().collect();
    tokens.chunks(TOKENS_PER_CALL).map(<[String]>::to_vec).collect()
}

fn counts_of(counts: Option<&engagement::Counts>) -> Counts {
    let Some(counts) = counts else { return Counts::default() };
    let reactions = counts.reactions_by_kind.iter().filter(|of| of.count > 0).map(|of| (of.kind, of.count)).collect();
    Counts { reactions, comments: counts.comment_count, shares: counts.share_count }
}

/// Why the entry is there, and the time it is ordered by.
fn reason_of(item: &feeds::FeedItem) -> anyhow::Result<(Reason, i64)> {
    let created = item.post.as_ref().and_then(|post| post.create_time.as_ref());
    match item.reason.as_ref().and_then(|reason| reason.reason.as_ref()) {
        Some(WireReason::FollowedAuthor(_)) => Ok((Reason::Followed, time::unix_ms(created))),
        Some(WireReason::SharedBy(shared)) => Ok((Reason::Shared, time::unix_ms(shared.share_time.as_ref()))),
        None => anyhow::bail!("an entry without a reason"),
    }
}

/// A post on a page.
struct Seen {
    reason: Reason,
    /// Whether its own place, of the reason that its author is followed, is behind this page.
    own_place_follows: bool,
}

/// The same posts, each once: for the strongest reason that it has, or for a share on an earlier page than its own place.
fn compare_feeds(
    reader: usize,
    expected: &BTreeMap<usize, BTreeSet<Reason>>,
    seen: &BTreeMap<usize, Vec<Seen>>,
) -> Vec<String> {
    let missing = expected.keys().filter(|post| !seen.contains_key(post)).map(|post| format!("post {post} is missing"));
    let foreign =
        seen.keys().filter(|post| !expected.contains_key(post)).map(|post| format!("post {post} should not be there"));
    let shares = expected.values().filter(|reasons| reasons.contains(&Reason::Shared)).count();
    let wrong = seen.iter().filter_map(|(post, shown)| {
        let (right, first) = (expected.get(post)?, shown.first()?);
        let known = shown.iter().all(|seen| right.contains(&seen.reason));
        let strongest = right.first() == Some(&first.reason) || first.own_place_follows;
        let once = shown.len() == 1 || shares > SHARES_REMEMBERED;
        let reasons: Vec<Reason> = shown.iter().map(|seen| seen.reason).collect();
        (!(known && strongest && once)).then(|| format!("post {post} is there for {reasons:?}, of {right:?}"))
    });
    missing.chain(foreign).chain(wrong).map(|what| format!("feed of {reader}: {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_may_come_first_where_the_posts_own_place_is_on_a_later_page() {
        let expected = BTreeMap::from([(7, BTreeSet::from([Reason::Followed, Reason::Shared]))]);
        let differences = |shown: &[(Reason, bool)]| {
            let seen = |&(reason, own_place_follows): &(Reason, bool)| Seen { reason, own_place_follows };
            compare_feeds(0, &expected, &BTreeMap::from([(7, shown.iter().map(seen).collect())])).len()
        };
        assert_eq!(differences(&[(Reason::Followed, false)]), 0);
        assert_eq!(differences(&[(Reason::Shared, true)]), 0);
        assert_eq!(differences(&[(Reason::Shared, false)]), 1, "it hides the stronger reason of its page");
        assert_eq!(differences(&[(Reason::Shared, true), (Reason::Followed, false)]), 1, "twice");
        assert_eq!(compare_feeds(0, &expected, &BTreeMap::new()).len(), 1);
    }
}
