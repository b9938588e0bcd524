//! What clients asked for and what they were told, as they saw it.

use std::collections::BTreeMap;

use kith_fold::Token;
use kith_log::{LogPartition, Offset};

/// The next offset of each log partition.
pub type Heads = BTreeMap<LogPartition, Offset>;

/// What a client asks for. Ids are texts, as on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    CreateAccount {
        handle: String,
    },
    Follow {
        target: String,
        shows_shares: bool,
    },
    Unfollow {
        target: String,
    },
    Block {
        target: String,
    },
    Unblock {
        target: String,
    },
    CreatePost {
        text: String,
    },
    EditPost {
        post_id: String,
        text: String,
        expected_revision: u32,
    },
    DeletePost {
        post_id: String,
    },
    React {
        post_id: String,
        kind: i32,
    },
    Unreact {
        post_id: String,
    },
    Comment {
        post_id: String,
        text: String,
    },
    Share {
        post_id: String,
    },
    Unshare {
        post_id: String,
    },
    OpenTalk {
        other: String,
    },
    Send {
        talk: String,
        text: String,
    },
    MarkRead {
        talk: String,
        up_to: u64,
    },
    GetPost {
        post_id: String,
    },
    Counts {
        post_id: String,
    },
    Unread {
        talk: String,
    },
    Resolve {
        handle: String,
    },
    List {
        list: List,
        page: Page,
    },
    /// All pages of a list, one after the other, while others write.
    Walk {
        list: List,
        page_size: i32,
    },
}

impl Op {
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::GetPost { .. }
                | Self::Counts { .. }
                | Self::Unread { .. }
                | Self::Resolve { .. }
                | Self::List { .. }
                | Self::Walk { .. }
        )
    }
}

/// What comes in pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    Home { include_shares: bool },
    Author { account: String },
    Followers { account: String },
    Following { account: String },
    Comments { post_id: String },
    Messages { talk: String },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub size: i32,
    pub token: String,
}

/// What a post looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPost {
    pub post_id: String,
    pub author_id: String,
    pub text: String,
    pub revision: u32,
}

/// Reactions by kind, comments, shares.
pub type SeenCounts = (BTreeMap<i32, u64>, u64, u64);

/// An entry of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenItem {
    pub post: SeenPost,
    pub counts: SeenCounts,
    /// The reader's own reaction, and whether he shares it.
    pub mine: (i32, bool),
    pub shared_by: Option<String>,
    /// What it is ordered by.
    pub at_ms: i64,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Done,
    /// The id of what was made or found.
    Id(String),
    Post(SeenPost),
    Counts(SeenCounts),
    Number(u64),
    Items(Vec<SeenItem>),
    Ids(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub body: Body,
    /// Of a command: its token. Of a read: what it has seen.
    pub token: String,
    pub next_page: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Ok(Reply),
    /// A definite no: its code and message.
    Fail(tonic::Code, String),
    Unknown(String),
}

/// One thing that a client asked for, retries included.
#[derive(Debug, Clone)]
pub struct Call {
    pub actor: String,
    pub op: Op,
    pub request_id: String,
    pub at_least: Token,
    /// How often it was asked.
    pub attempts: u32,
    /// When it was asked and when it was answered, counted over all clients.
    pub asked: u64,
    pub told: u64,
    /// Heads of the log when it was first asked, and when it was answered.
    pub before: Heads,
    pub after: Heads,
    /// Which process answered, in which of its lives.
    pub answered_by: (usize, u64),
    pub outcome: Outcome,
    /// A replica had lost its tail by then: answers may be old until the folds have gone back.
    pub shaken: bool,
}

impl Call {
    pub fn reply(&self) -> Option<&Reply> {
        match &self.outcome {
            Outcome::Ok(reply) => Some(reply),
            Outcome::Fail(..) | Outcome::Unknown(_) => None,
        }
    }

    /// Which service answers reads of this kind: each has tables of its own.
    pub fn service(&self) -> &'static str {
        match &self.op {
            Op::List { list: List::Home { .. } | List::Author { .. }, .. }
            | Op::Walk { list: List::Home { .. } | List::Author { .. }, .. } => "feeds",
            Op::List { list: List::Comments { .. }, .. }
            | Op::Walk { list: List::Comments { .. }, .. }
            | Op::Counts { .. } => "engagement",
            Op::List { list: List::Messages { .. }, .. }
            | Op::Walk { list: List::Messages { .. }, .. }
            | Op::Unread { .. } => "messaging",
            Op::GetPost { .. } => "posts",
            _ => "identity",
        }
    }

    /// How much of `partition` the answer must include, and how much it may.
    pub fn window(&self, partition: LogPartition) -> (Offset, Offset) {
        let low = self.at_least.offset(partition).map_or(0, |offset| offset + 1);
        (low, self.after.get(&partition).copied().unwrap_or(0).max(low))
    }
}
