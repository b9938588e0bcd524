//! Carries the plan out, phase by phase, many steps at once.

mod relate;

use std::future::Future;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::comment_service_client::CommentServiceClient;
use kith_proto::engagement::v1::reaction_service_client::ReactionServiceClient;
use kith_proto::engagement::v1::share_service_client::ShareServiceClient;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::conversation_service_client::ConversationServiceClient;
use kith_proto::posts::v1 as posts;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use tonic::Code;

use crate::client::{Services, Session, ask, join, refused_with};
use crate::plan::{Conversation, Plan, Post};

/// Sign-ups at once: all come from one address, which gets a share of what computes password hashes.
const SIGN_UPS_IN_FLIGHT: usize = 16;

/// What the servers made of the plan.
pub struct Loaded {
    pub people: Vec<Session>,
    /// Post ids, with the token of each one's creation.
    pub posts: Vec<(String, String)>,
    pub conversations: Vec<String>,
    pub groups: Vec<String>,
    /// Every consistency token that was answered, by who answered.
    pub tokens: Tokens,
}

#[derive(Default)]
pub struct Tokens {
    pub identity: Vec<String>,
    pub posts: Vec<String>,
    pub engagement: Vec<String>,
    pub messaging: Vec<String>,
}

pub struct Loader<'a> {
    pub services: Services,
    pub plan: &'a Plan,
    /// Starts every request id, so that the same plan run again adds nothing.
    pub run: String,
    pub in_flight: usize,
    pub progress: ProgressBar,
}

impl Loader<'_> {
    pub async fn load(&self) -> anyhow::Result<Loaded> {
        let mut tokens = Tokens::default();
        let joins = (0..self.plan.people).map(|person| self.join(person));
        let people = self.all(("people", SIGN_UPS_IN_FLIGHT.min(self.in_flight)), joins).await?;
        tokens.identity.extend(people.iter().map(|person| person.token.clone()));
        tokens
            .identity
            .extend(self.each("follow", &self.plan.follows, |n, &pair| self.follow(&people, n, pair)).await?);
        let posts = self.each("post", &self.plan.posts, |n, post| self.post(&people, n, post)).await?;
        tokens.posts.extend(posts.iter().map(|(_, token)| token.clone()));
        let mut loaded = Loaded { people, posts, conversations: Vec::new(), groups: Vec::new(), tokens };
        self.engage(&mut loaded).await?;
        let talks = self.each("talk", &self.plan.conversations, |n, talk| self.converse(&loaded, n, talk)).await?;
        for (id, answered) in talks {
            loaded.conversations.push(id);
            loaded.tokens.messaging.extend(answered);
        }
        let groups = self.each("group", &self.plan.groups, |n, group| self.gather(&loaded, n, group)).await?;
        for (id, answered) in groups {
            loaded.groups.push(id);
            loaded.tokens.messaging.extend(answered);
        }
        self.change(&mut loaded).await?;
        Ok(loaded)
    }

    async fn engage(&self, loaded: &mut Loaded) -> anyhow::Result<()> {
        let reactions =
            self.each("react", &self.plan.reactions, |n, step| self.react(loaded, "react", n, *step)).await?;
        let comments = self.each("comment", &self.plan.comments, |n, step| self.comment(loaded, n, step)).await?;
        let shares = self.each("share", &self.plan.shares, |n, step| self.share(loaded, n, *step)).await?;
        loaded.tokens.engagement.extend([reactions, comments, shares].into_iter().flatten());
        Ok(())
    }

    async fn change(&self, loaded: &mut Loaded) -> anyhow::Result<()> {
        let again = &self.plan.second_reactions;
        let again = self.each("react again", again, |n, step| self.react(loaded, "again", n, *step)).await?;
        let unreacted = self.each("unreact", &self.plan.unreactions, |n, step| self.unreact(loaded, n, *step)).await?;
        let unshared = self.each("unshare", &self.plan.unshares, |n, step| self.unshare(loaded, n, *step)).await?;
        let edits = self.each("edit", &self.plan.edits, |n, step| self.edit(loaded, n, step)).await?;
        let unfollows = self.each("unfollow", &self.plan.unfollows, |n, step| self.unfollow(loaded, n, *step)).await?;
        let blocks = self.each("block", &self.plan.blocks, |n, step| self.block(loaded, n, *step)).await?;
        let removals = self.each("remove", &self.plan.removals, |n, step| self.remove(loaded, n, *step)).await?;
        let mutes = self.each("mute", &self.plan.mutes, |n, step| self.mute(loaded, n, *step)).await?;
        let deletes = self.each("delete", &self.plan.deletes, |n, step| self.delete(loaded, n, *step)).await?;
        let tokens = &mut loaded.tokens;
        tokens.engagement.extend([again, unreacted, unshared].into_iter().flatten());
        tokens.posts.extend([edits, deletes].into_iter().flatten());
        tokens.identity.extend([unfollows, blocks, removals, mutes].into_iter().flatten());
        Ok(())
    }

    async fn each<'s, S, T, F, Fut>(&self, phase: &str, steps: &'s [S], run: F) -> anyhow::Result<Vec<T>>
    where
        F: Fn(usize, &'s S) -> Fut,
        Fut: Future<Output = anyhow::Result<T>>,
    {
        self.all((phase, self.in_flight), steps.iter().enumerate().map(|(n, step)| run(n, step))).await
    }

    async fn all<T, Fut>(
        &self,
        (phase, in_flight): (&str, usize),
        steps: impl Iterator<Item = Fut>,
    ) -> anyhow::Result<Vec<T>>
    where
        Fut: Future<Output = anyhow::Result<T>>,
    {
        self.progress.set_message(phase.to_owned());
        let steps = stream::iter(steps).buffered(in_flight).inspect_ok(|_| self.progress.inc(1));
        steps.try_collect().await.with_context(|| format!("phase `{phase}`"))
    }

    pub fn id(&self, phase: &str, n: usize) -> String {
        format!("{}-{phase}-{n}", self.run)
    }

    async fn join(&self, person: usize) -> anyhow::Result<Session> {
        let session = join(&self.services, &self.run, person).await.map_err(loaded_otherwise)?;
        self.progress.inc(1);
        Ok(session)
    }

    async fn follow(&self, people: &[Session], n: usize, (a, b): (usize, usize)) -> anyhow::Result<String> {
        let graph = GraphServiceClient::new(self.services.identity.clone());
        let request = identity::FollowRequest {
            target_id: people[b].account_id.clone(),
            shows_shares: true,
            notify: false,
            request_id: self.id("follow", n),
            at_least: vec![people[a].token.clone(), people[b].token.clone()],
        };
        let answer = ask!(graph.follow(people[a], request));
        match answer.await {
            // The plan, run again, follows across a block that it made itself later.
            Err(error) if self.parted(a, b) && refused_with(&error, &[Code::NotFound, Code::FailedPrecondition]) => {
                Ok(String::new())
            }
            answer => Ok(answer?.consistency_token),
        }
    }

    fn parted(&self, a: usize, b: usize) -> bool {
        self.plan.blocks.contains(&(a, b)) || self.plan.blocks.contains(&(b, a))
    }

    async fn post(&self, people: &[Session], n: usize, post: &Post) -> anyhow::Result<(String, String)> {
        let client = PostServiceClient::new(self.services.posts.clone());
        let author = &people[post.author];
        let request = posts::CreatePostRequest {
            text: post.text.clone(),
            languages: vec!["en".to_owned()],
            request_id: self.id("post", n),
            at_least: vec![author.token.clone()],
        };
        let answer = ask!(client.create_post(author, request)).await?;
        Ok((answer.post.context("no post")?.post_id, answer.consistency_token))
    }

    async fn edit(&self, loaded: &Loaded, n: usize, (post, text): &(usize, String)) -> anyhow::Result<String> {
        let client = PostServiceClient::new(self.services.posts.clone());
        let author = &loaded.people[self.plan.posts[*post].author];
        let request = posts::EditPostRequest {
            post_id: loaded.posts[*post].0.clone(),
            text: text.clone(),
            expected_revision: 1,
            request_id: self.id("edit", n),
            at_least: vec![loaded.posts[*post].1.clone()],
        };
        Ok(ask!(client.edit_post(author, request)).await?.consistency_token)
    }

    async fn delete(&self, loaded: &Loaded, n: usize, post: usize) -> anyhow::Result<String> {
        let client = PostServiceClient::new(self.services.posts.clone());
        let author = &loaded.people[self.plan.posts[post].author];
        let (post_id, token) = loaded.posts[post].clone();
        let request = posts::DeletePostRequest { post_id, request_id: self.id("delete", n), at_least: vec![token] };
        Ok(ask!(client.delete_post(author, request)).await?.consistency_token)
    }

    async fn react(
        &self,
        loaded: &Loaded,
        phase: &str,
        n: usize,
        (actor, post, kind): (usize, usize, engagement::ReactionKind),
    ) -> anyhow::Result<String> {
        let client = ReactionServiceClient::new(self.services.engagement.clone());
        let request = engagement::ReactRequest {
            subject: Some(loaded.subject(post)),
            kind: kind.into(),
            request_id: self.id(phase, n),
            at_least: vec![loaded.posts[post].1.clone()],
        };
        let answer = ask!(client.react(loaded.people[actor], request));
        self.or_gone(actor, post, answer.await.map(|answer| answer.consistency_token))
    }

    async fn unreact(&self, loaded: &Loaded, n: usize, (actor, post): (usize, usize)) -> anyhow::Result<String> {
        let client = ReactionServiceClient::new(self.services.engagement.clone());
        let (subject, at_least) = (Some(loaded.subject(post)), vec![loaded.posts[post].1.clone()]);
        let request = engagement::UnreactRequest { subject, request_id: self.id("unreact", n), at_least };
        let answer = ask!(client.unreact(loaded.people[actor], request));
        self.or_gone(actor, post, answer.await.map(|answer| answer.consistency_token))
    }

    async fn comment(
        &self,
        loaded: &Loaded,
        n: usize,
        (actor, post, text): &(usize, usize, String),
    ) -> anyhow::Result<String> {
        let client = CommentServiceClient::new(self.services.engagement.clone());
        let request = engagement::CreateCommentRequest {
            post_id: loaded.posts[*post].0.clone(),
            parent_comment_id: String::new(),
            text: text.clone(),
            request_id: self.id("comment", n),
            at_least: vec![loaded.posts[*post].1.clone()],
        };
        let answer = ask!(client.create_comment(loaded.people[*actor], request));
        self.or_gone(*actor, *post, answer.await.map(|answer| answer.consistency_token))
    }

    async fn share(&self, loaded: &Loaded, n: usize, (actor, post): (usize, usize)) -> anyhow::Result<String> {
        let client = ShareServiceClient::new(self.services.engagement.clone());
        let (post_id, token) = loaded.posts[post].clone();
        let via_account_id = String::new();
        let request = engagement::ShareRequest {
            post_id,
            via_account_id,
            request_id: self.id("share", n),
            at_least: vec![token],
        };
        let answer = ask!(client.share(loaded.people[actor], request));
        self.or_gone(actor, post, answer.await.map(|answer| answer.consistency_token))
    }

    async fn unshare(&self, loaded: &Loaded, n: usize, (actor, post): (usize, usize)) -> anyhow::Result<String> {
        let client = ShareServiceClient::new(self.services.engagement.clone());
        let (post_id, token) = loaded.posts[post].clone();
        let request = engagement::UnshareRequest { post_id, request_id: self.id("unshare", n), at_least: vec![token] };
        let answer = ask!(client.unshare(loaded.people[actor], request));
        self.or_gone(actor, post, answer.await.map(|answer| answer.consistency_token))
    }

    /// The plan, run again, meets posts that it deleted and people that it parted later in the first run.
    fn or_gone(&self, actor: usize, post: usize, answer: anyhow::Result<String>) -> anyhow::Result<String> {
        let gone = self.plan.deletes.contains(&post) || self.parted(actor, self.plan.posts[post].author);
        match answer {
            Err(error) if gone && refused_with(&error, &[Code::NotFound, Code::FailedPrecondition]) => {
                Ok(String::new())
            }
            answer => answer,
        }
    }

    /// One conversation, line by line: what is said next depends on what was said.
    async fn converse(&self, loaded: &Loaded, n: usize, talk: &Conversation) -> anyhow::Result<(String, Vec<String>)> {
        let (a, b) = (&loaded.people[talk.between.0], &loaded.people[talk.between.1]);
        let conversations = ConversationServiceClient::new(self.services.messaging.clone());
        let request = messaging::GetOrCreateDirectRequest {
            account_id: b.account_id.clone(),
            request_id: self.id("talk", n),
            at_least: vec![a.token.clone(), b.token.clone()],
        };
        let opened = ask!(conversations.get_or_create_direct(a, request));
        let opened = match opened.await {
            Err(error)
                if self.parted(talk.between.0, talk.between.1)
                    && refused_with(&error, &[Code::NotFound, Code::FailedPrecondition]) =>
            {
                return Ok((String::new(), Vec::new()));
            }
            opened => opened?,
        };
        let id = opened.conversation.context("no conversation")?.conversation_id;
        let mut tokens = vec![opened.consistency_token];
        let mut said = Vec::new();
        for (line_number, line) in talk.lines.iter().enumerate() {
            let request_id = self.id("line", n * 100 + line_number);
            let at_least = tokens.last().cloned().into_iter().filter(|token| !token.is_empty()).collect();
            tokens.push(self.line(loaded, (&id, &mut said), line, (request_id, at_least)).await?);
            self.progress.inc(1);
        }
        Ok((id, tokens))
    }
}

/// The plan, run again, finds its own people by their request ids; a handle is taken only under other ones.
fn loaded_otherwise(error: anyhow::Error) -> anyhow::Error {
    if refused_with(&error, &[Code::AlreadyExists]) {
        return error.context(
            "these people are there already, from another --seed or --accounts: give the same values again, or start \
             the services on empty folders (--log embedded:DIR --tables embedded:DIR)",
        );
    }
    error
}

impl Loaded {
    pub fn subject(&self, post: usize) -> engagement::Subject {
        engagement::Subject { post_id: self.posts[post].0.clone(), comment_id: String::new() }
    }
}
