use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kith_log::{LogPartition, Offset, PartitionIndex, Position, topics};
use kith_runtime::UnixMicros;
use sha2::{Digest, Sha256};

/// A longer token is not ours: every partition of every topic takes less. The tokens of one request fit into one.
pub const MAX_TOKEN_BYTES: usize = 24 * 1024;
const VERSION: u8 = 2;
const CHECK_BYTES: usize = 4;

/// A consistency token: log positions that a read must include, and the latest time of their records, so that a command
/// with the token is dated later. Every service honours every other's tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Token {
    positions: BTreeMap<LogPartition, Offset>,
    time: UnixMicros,
}

/// The text is not a token of this suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a consistency token of this suite")]
pub struct TokenError;

impl Token {
    /// Adds a position; of two in one partition the later one is kept.
    pub fn add(&mut self, position: Position) {
        let offset = self.positions.entry(position.partition).or_insert(position.offset);
        *offset = (*offset).max(position.offset);
    }

    pub fn merge(&mut self, other: &Self) {
        for position in other.positions() {
            self.add(position);
        }
        self.time = self.time.max(other.time);
    }

    /// The same, of records that are not later than `time` (microseconds since 1970).
    #[must_use]
    pub fn at(mut self, time: UnixMicros) -> Self {
        self.time = self.time.max(time);
        self
    }

    /// No record that it names has a later time; 0: unknown. A caller can forge it.
    pub fn time(&self) -> UnixMicros {
        self.time
    }

    pub fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        self.positions.iter().map(|(&partition, &offset)| Position { partition, offset })
    }

    /// The part that a log with these heads can have: a position beyond a head becomes the head.
    pub(crate) fn below(&self, heads: &BTreeMap<LogPartition, Offset>) -> Self {
        let below = |Position { partition, offset }| {
            let last = match heads.get(&partition) {
                Some(head) => head.checked_sub(1)?.min(offset),
                None => offset,
            };
            Some(Position { partition, offset: last })
        };
        self.positions().filter_map(below).collect::<Self>().at(self.time)
    }

    /// The offset asked of one partition.
    pub fn offset(&self, partition: LogPartition) -> Option<Offset> {
        self.positions.get(&partition).copied()
    }

    /// Version, then the time, then topic id, partition and offset of each position as LEB128, then the first bytes of their SHA-256
    /// (against typing errors, not against forgers: a token gives no rights); base64url.
    pub fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        put_varint(&mut bytes, self.time.max(0).unsigned_abs());
        for position in self.positions() {
            put_varint(&mut bytes, u64::from(position.partition.topic.id));
            put_varint(&mut bytes, u64::from(position.partition.index));
            put_varint(&mut bytes, position.offset);
        }
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Parses a token; `partitions` is the count per topic.
    pub fn decode(text: &str, partitions: PartitionIndex) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError)?;
        let (body, check) = bytes.split_at_checked(bytes.len().wrapping_sub(CHECK_BYTES)).ok_or(TokenError)?;
        if Sha256::digest(body)[..CHECK_BYTES] != *check || body.first() != Some(&VERSION) {
            return Err(TokenError);
        }
        let mut rest = &body[1..];
        let time = i64::try_from(take_varint(&mut rest).ok_or(TokenError)?).map_err(|_| TokenError)?;
        let mut token = Self { time, ..Self::default() };
        while !rest.is_empty() {
            token.add(take_position(&mut rest, partitions).ok_or(TokenError)?);
        }
        Ok(token)
    }
}

impl FromIterator<Position> for Token {
    fn from_iter<I: IntoIterator<Item = Position>>(positions: I) -> Self {
        let mut token = Self::default();
        positions.into_iter().for_each(|position| token.add(position));
        token
    }
}

impl From<Position> for Token {
    fn from(position: Position) -> Self {
        std::iter::once(position).collect()
    }
}

fn take_position(bytes: &mut &[u8], partitions: PartitionIndex) -> Option<Position> {
    let topic = topics::by_id(u16::try_from(take_varint(bytes)?).ok()?)?;
    let index = PartitionIndex::try_from(take_varint(bytes)?).ok()?;
    let offset = i64::try_from(take_varint(bytes)?).ok()?;
    let partition = (index < partitions).then_some(LogPartition { topic, index })?;
    Some(Position { partition, offset: offset.unsigned_abs() })
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(topic: kith_log::Topic, index: u16, offset: u64) -> Position {
        Position { partition: LogPartition { topic, index }, offset }
    }

    #[test]
    fn reads_back_and_keeps_the_later_of_two() {
        let all =
            [position(topics::POSTS, 3, 9), position(topics::POSTS, 3, 4), position(topics::IDENTITY, 15, 1 << 40)];
        let token: Token = all.into_iter().collect();
        assert_eq!(token.offset(all[0].partition), Some(9));
        assert_eq!(Token::decode(&token.encode(), 16), Ok(token));
    }

    #[test]
    fn refuses_what_is_no_token() {
        let token = Token::from(position(topics::POSTS, 3, 9)).encode();
        let mut other = token.clone();
        other.replace_range(2..3, if &token[2..3] == "A" { "B" } else { "A" });
        let long = "A".repeat(MAX_TOKEN_BYTES + 1);
        for bad in ["", "A", "!", &token[1..], &token[..token.len() - 1], &other, &long] {
            assert_eq!(Token::decode(bad, 16), Err(TokenError), "{bad}");
        }
        assert_eq!(Token::decode(&token, 3), Err(TokenError), "a partition that the topic does not have");
    }

    #[test]
    fn nothing_is_asked_of_a_log_that_it_cannot_have() {
        let [posts, other] = [position(topics::POSTS, 3, 9), position(topics::POSTS, 4, 2)];
        let token: Token = [posts, other].into_iter().collect();
        let below = |head| token.below(&[(posts.partition, head)].into()).offset(posts.partition);
        assert_eq!((below(10), below(9), below(1), below(0)), (Some(9), Some(8), Some(0), None));
        assert_eq!(token.below(&BTreeMap::new()), token);
    }
}
