//! Histories: events of a few people, in an order that a test chooses.

use kith_content::Content;
use kith_log::RecordId;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{CommentCreated, Reacted, Shared, Subject, Unreacted, Unshared};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    AccountContent, AccountCreated, Blocked, FollowCut, Followed, FollowerRemoved, MuteScopes, Muted, Unblocked,
    Unfollowed, Unmuted,
};
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_proto::posts::v1::{PostContent, PostCreated, PostDeleted, PostEdited};
use kith_proto::{Event, time};

use super::suite::NOW_MS;

pub const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = NOW_MS - 100 * 24 * HOUR_MS;

/// One step; people and things by number, taken modulo how many there are.
#[derive(Debug, Clone)]
pub enum Op {
    Follow {
        who: usize,
        whom: usize,
        shows_shares: bool,
        window_hours: u32,
        seen: u64,
    },
    Unfollow {
        who: usize,
        whom: usize,
    },
    Cut {
        who: usize,
        whom: usize,
        block_offset: u64,
    },
    Block {
        who: usize,
        whom: usize,
    },
    Unblock {
        who: usize,
        whom: usize,
    },
    /// `ended`: whether it has an end, and whether that has come.
    Mute {
        who: usize,
        whom: usize,
        posts: bool,
        shares: bool,
        ended: Option<bool>,
    },
    Unmute {
        who: usize,
        whom: usize,
    },
    /// Of `whom` from the followers of `who`.
    Remove {
        who: usize,
        whom: usize,
    },
    Post {
        who: usize,
    },
    Edit {
        post: usize,
    },
    Delete {
        post: usize,
    },
    Share {
        who: usize,
        post: usize,
    },
    Unshare {
        share: usize,
    },
    React {
        who: usize,
        post: usize,
        kind: i32,
    },
    Comment {
        who: usize,
        post: usize,
    },
    /// A late copy of one of the last records.
    Repeat {
        back: usize,
    },
    /// The folds get a while.
    Lull {
        yields: usize,
    },
    /// The process dies and starts again.
    Crash,
}

pub fn person(number: usize) -> RecordId {
    thing(1, number)
}

fn thing(kind: u8, number: usize) -> RecordId {
    let mut id = [kind; 16];
    id[8..].copy_from_slice(&(number as u64).to_be_bytes());
    RecordId(id)
}

/// Makes events of steps, as commands would.
#[derive(Default)]
pub struct Writer {
    pub people: usize,
    pub records: Vec<(RecordId, Event)>,
    posts: Vec<PostCreated>,
    shares: Vec<Shared>,
    edits: u64,
}

impl Writer {
    pub fn new(people: usize) -> Self {
        let mut writer = Self { people, ..Self::default() };
        for number in 0..people {
            let content = AccountContent { handle: handle(number), profile: None };
            let created = AccountCreated {
                account_id: person(number).to_string(),
                handle_key: handle(number),
                content: Some(Content::close(&content)),
                create_time: Some(time::timestamp(START_MS)),
                ..AccountCreated::default()
            };
            writer.push(Identity::AccountCreated(created));
        }
        writer
    }

    /// The record of a step; `None`: it cannot be, or is none.
    pub fn write(&mut self, op: &Op) -> Option<(RecordId, Event)> {
        if let Op::Repeat { back } = op {
            return self.records.iter().rev().take(15).nth(back % 15).cloned();
        }
        let event = self.social(op).or_else(|| self.about_posts(op))?;
        Some(self.push(event))
    }

    pub fn first_post(&self) -> &str {
        &self.posts[0].post_id
    }

    pub fn post_count(&self) -> usize {
        self.posts.len()
    }

    fn push(&mut self, event: impl Into<Event>) -> (RecordId, Event) {
        let record = (thing(2, self.records.len()), event.into());
        self.records.push(record.clone());
        record
    }

    /// Two steps share a moment.
    fn now(&self) -> Option<prost_types::Timestamp> {
        Some(time::timestamp(START_MS + (self.records.len() as i64 / 2) * 9 * HOUR_MS))
    }

    fn pair(&self, who: usize, whom: usize) -> Option<(String, String)> {
        let (who, whom) = (who % self.people, whom % self.people);
        (who != whom).then(|| (person(who).to_string(), person(whom).to_string()))
    }

    fn social(&self, op: &Op) -> Option<Event> {
        let create_time = self.now();
        let event = match *op {
            Op::Follow { who, whom, shows_shares, window_hours, seen } => {
                let (follower_id, target_id) = self.pair(who, whom)?;
                Identity::Followed(Followed {
                    follower_id,
                    target_id,
                    shows_shares,
                    notify: false,
                    create_time,
                    seen_target_offset: seen,
                    backfill_window_seconds: window_hours * 3_600,
                    request_offset: None,
                })
            }
            Op::Unfollow { who, whom } => {
                let (follower_id, target_id) = self.pair(who, whom)?;
                Identity::Unfollowed(Unfollowed { follower_id, target_id, create_time })
            }
            Op::Cut { who, whom, block_offset } => {
                let (follower_id, target_id) = self.pair(who, whom)?;
                Identity::FollowCut(FollowCut { follower_id, target_id, block_offset, create_time })
            }
            Op::Block { who, whom } => {
                let (actor_id, target_id) = self.pair(who, whom)?;
                Identity::Blocked(Blocked { actor_id, target_id, create_time })
            }
            Op::Unblock { who, whom } => {
                let (actor_id, target_id) = self.pair(who, whom)?;
                Identity::Unblocked(Unblocked { actor_id, target_id, create_time })
            }
            Op::Mute { who, whom, posts, shares, ended } => {
                let (actor_id, target_id) = self.pair(who, whom)?;
                let scopes = Some(MuteScopes { posts, shares, ..MuteScopes::default() });
                let end = |ended| NOW_MS + if ended { -HOUR_MS } else { HOUR_MS };
                let end_time = ended.map(|ended| time::timestamp(end(ended)));
                Identity::Muted(Muted { actor_id, target_id, scopes, end_time, create_time })
            }
            Op::Unmute { who, whom } => {
                let (actor_id, target_id) = self.pair(who, whom)?;
                Identity::Unmuted(Unmuted { actor_id, target_id, create_time })
            }
            Op::Remove { who, whom } => {
                let (actor_id, follower_id) = self.pair(who, whom)?;
                Identity::FollowerRemoved(FollowerRemoved { actor_id, follower_id, create_time })
            }
            _ => return None,
        };
        Some(event.into())
    }

    fn about_posts(&mut self, op: &Op) -> Option<Event> {
        let create_time = self.now();
        let some = |post: usize| (!self.posts.is_empty()).then(|| self.posts[post % self.posts.len()].clone());
        let actor_id = |who: usize| person(who % self.people).to_string();
        let id = |kind| thing(kind, self.records.len()).to_string();
        match *op {
            Op::Post { who } => {
                let content = says(format!("post {}", self.posts.len()));
                let (post_id, author_id) = (id(3), actor_id(who));
                let post = PostCreated { post_id, author_id, content, create_time, ..PostCreated::default() };
                self.posts.push(post.clone());
                Some(Posts::PostCreated(post).into())
            }
            Op::Edit { post } => {
                let PostCreated { post_id, author_id, create_time: post_create_time, .. } = some(post)?;
                self.edits += 1;
                let content = says(format!("edit {}", self.edits));
                let revision = 1 + self.edits as u32;
                let intent_offset = self.edits;
                let edit_time = create_time;
                Some(
                    Posts::PostEdited(PostEdited {
                        post_id,
                        author_id,
                        revision,
                        content,
                        post_create_time,
                        edit_time,
                        intent_offset,
                        ..PostEdited::default()
                    })
                    .into(),
                )
            }
            Op::Delete { post } => {
                let PostCreated { post_id, author_id, create_time: post_create_time, .. } = some(post)?;
                let deleted = PostDeleted { post_id, author_id, post_create_time, delete_time: create_time };
                Some(Posts::PostDeleted(deleted).into())
            }
            Op::Share { who, post } => {
                let post = some(post)?;
                let share = Shared {
                    share_id: id(4),
                    post_id: post.post_id,
                    actor_id: actor_id(who),
                    post_author_id: post.author_id,
                    post_create_time: post.create_time,
                    via_account_id: String::new(),
                    create_time,
                };
                self.shares.push(share.clone());
                Some(Engagement::Shared(share).into())
            }
            Op::Unshare { share } => {
                let share = (!self.shares.is_empty()).then(|| self.shares[share % self.shares.len()].clone())?;
                let Shared { share_id, post_id, actor_id, .. } = share;
                Some(Engagement::Unshared(Unshared { share_id, post_id, actor_id, create_time }).into())
            }
            _ => self.around_posts(op),
        }
    }

    fn around_posts(&self, op: &Op) -> Option<Event> {
        let create_time = self.now();
        let some = |post: usize| (!self.posts.is_empty()).then(|| self.posts[post % self.posts.len()].clone());
        let actor_id = |who: usize| person(who % self.people).to_string();
        let id = |kind| thing(kind, self.records.len()).to_string();
        let subject = |post: PostCreated| Some(Subject { post_id: post.post_id, comment_id: String::new() });
        match *op {
            Op::React { who, post, kind: 0 } => {
                let unreacted = Unreacted { actor_id: actor_id(who), subject: subject(some(post)?), create_time };
                Some(Engagement::Unreacted(unreacted).into())
            }
            Op::React { who, post, kind } => {
                let post = some(post)?;
                let subject_author_id = post.author_id.clone();
                let actor_id = actor_id(who);
                let reacted = Reacted { actor_id, subject: subject(post), subject_author_id, kind, create_time };
                Some(Engagement::Reacted(reacted).into())
            }
            Op::Comment { who, post } => {
                let PostCreated { post_id, author_id: post_author_id, .. } = some(post)?;
                let (comment_id, author_id) = (id(5), actor_id(who));
                let comment = CommentCreated {
                    comment_id,
                    post_id,
                    author_id,
                    post_author_id,
                    create_time,
                    ..Default::default()
                };
                Some(Engagement::CommentCreated(comment).into())
            }
            _ => None,
        }
    }
}

fn handle(number: usize) -> String {
    format!("person{number}")
}

fn says(text: String) -> Option<Content> {
    Some(Content::close(&PostContent { text, ..PostContent::default() }))
}
