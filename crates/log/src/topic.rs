use std::fmt;

/// A place in a log partition; the first is 0.
pub type Offset = u64;
/// Which partition of a topic; also how many a topic has.
pub type PartitionIndex = u16;

/// A topic of the suite. `id` identifies it in tables and tokens, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    pub id: u16,
    pub name: &'static str,
}

impl Topic {
    /// Whether one service alone reads and writes it: it may hold secrets.
    pub fn is_private(self) -> bool {
        self.name.contains(".private.")
    }

    /// Whether its oldest records are deleted after a time: no state follows from them.
    pub fn forgets(self) -> bool {
        self == topics::SECURITY
    }

    /// Whether its values are hidden from operators: secrets and private messages.
    pub fn is_confidential(self) -> bool {
        self.is_private() || self == topics::MESSAGING
    }
}

/// Every topic there is. To add one: a new id at the end.
pub mod topics {
    use super::Topic;

    pub const IDENTITY: Topic = Topic { id: 1, name: "kith.identity.v1" };
    pub const IDENTITY_PRIVATE: Topic = Topic { id: 2, name: "kith.identity.private.v1" };
    pub const POSTS: Topic = Topic { id: 3, name: "kith.posts.v1" };
    pub const POSTS_PRIVATE: Topic = Topic { id: 4, name: "kith.posts.private.v1" };
    pub const ENGAGEMENT: Topic = Topic { id: 5, name: "kith.engagement.v1" };
    pub const ENGAGEMENT_PRIVATE: Topic = Topic { id: 6, name: "kith.engagement.private.v1" };
    pub const MESSAGING: Topic = Topic { id: 7, name: "kith.messaging.v1" };
    pub const MESSAGING_PRIVATE: Topic = Topic { id: 8, name: "kith.messaging.private.v1" };
    pub const FEEDS: Topic = Topic { id: 9, name: "kith.feeds.v1" };
    pub const DEAD_LETTERS: Topic = Topic { id: 10, name: "kith.dead-letters.v1" };
    /// Operators' decisions: generations, pauses, dead letters. Its records have one key.
    pub const OPS: Topic = Topic { id: 11, name: "kith.ops.v1" };

    /// Sessions whose access tokens are void; every process follows it. Its records have one key.
    pub const REVOCATIONS: Topic = Topic { id: 12, name: "kith.revocations.v1" };

    /// Refused logins, rights and limits, changed keys; every process appends to it, and no fold reads it. Its records have one
    /// key. The one topic that forgets: see [`Topic::forgets`].
    pub const SECURITY: Topic = Topic { id: 13, name: "kith.security.v1" };

    pub const ALL: [Topic; 13] = [
        IDENTITY,
        IDENTITY_PRIVATE,
        POSTS,
        POSTS_PRIVATE,
        ENGAGEMENT,
        ENGAGEMENT_PRIVATE,
        MESSAGING,
        MESSAGING_PRIVATE,
        FEEDS,
        DEAD_LETTERS,
        OPS,
        REVOCATIONS,
        SECURITY,
    ];

    /// The topic of that name.
    pub fn by_name(name: &str) -> Option<Topic> {
        ALL.into_iter().find(|topic| topic.name == name)
    }

    /// The topic with this `id`.
    pub fn by_id(id: u16) -> Option<Topic> {
        ALL.into_iter().find(|topic| topic.id == id)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPartition {
    pub topic: Topic,
    pub index: PartitionIndex,
}

impl LogPartition {
    /// The maximum of partitions per topic: the positions of all still fit into one consistency token.
    pub const MAX_COUNT: PartitionIndex = 256;

    /// The number of this partition in tables: readable in decimal (`1003`: topic 1, partition 3).
    pub fn source(self) -> i32 {
        i32::from(self.topic.id) * 1_000 + i32::from(self.index)
    }

    /// The partition of `topic` that records of `key` go to.
    pub fn of_key(topic: Topic, key: &str, count: PartitionIndex) -> Self {
        Self { topic, index: partition_of(key, count) }
    }
}

impl fmt::Display for LogPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.name, self.index)
    }
}

/// The place of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub partition: LogPartition,
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

/// The partition that Kafka's Java client would choose for `key` (murmur2, sign bit cleared), so that producers in other
/// languages agree. `count` must not be 0.
pub fn partition_of(key: &str, count: PartitionIndex) -> PartitionIndex {
    let hash = murmur2::murmur2(key.as_bytes(), murmur2::KAFKA_SEED) & 0x7fff_ffff;
    PartitionIndex::try_from(hash % u32::from(count.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that Apache Kafka's own `UtilsTest` expects of its `Utils.murmur2`.
    #[test]
    fn hashes_as_kafka_does() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2::murmur2(key.as_bytes(), murmur2::KAFKA_SEED) as i32, hash, "{key}");
        }
    }

    #[test]
    fn ids_of_topics_never_repeat() {
        for (index, topic) in topics::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(topic.id), index + 1);
            assert_eq!(topics::by_id(topic.id), Some(topic));
        }
    }
}
