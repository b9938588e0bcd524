use std::collections::BTreeMap;

use kith_log::{LogPartition, Offset, PartitionIndex, Position, topics};
use kith_runtime::UnixMicros;

/// A consistency token: log positions that a read must include, and the latest time of their records, so that a command
/// with the token is dated later. Every service honours every other's tokens. Callers hold it sealed: in clear it counts other
/// people's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Token {
    positions: BTreeMap<LogPartition, Offset>,
    time: UnixMicros,
}

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

    /// No record that it names has a later time; 0: unknown.
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

    /// The time, then topic id, partition and offset of each position as LEB128.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, self.time.max(0).unsigned_abs());
        for position in self.positions() {
            put_varint(&mut bytes, u64::from(position.partition.topic.id));
            put_varint(&mut bytes, u64::from(position.partition.index));
            put_varint(&mut bytes, position.offset);
        }
        bytes
    }

    /// What [`Self::to_bytes`] gave; `partitions` is the count per topic. `None`: it gave no such bytes.
    pub fn from_bytes(mut bytes: &[u8], partitions: PartitionIndex) -> Option<Self> {
        let time = i64::try_from(take_varint(&mut bytes)?).ok()?;
        let mut token = Self { time, ..Self::default() };
        while !bytes.is_empty() {
            token.add(take_position(&mut bytes, partitions)?);
        }
        Some(token)
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
        assert_eq!(Token::from_bytes(&token.to_bytes(), 16), Some(token));
    }

    #[test]
    fn refuses_what_is_no_token() {
        let token = Token::from(position(topics::POSTS, 3, 9)).to_bytes();
        let last = token.len() - 1;
        for bad in [&[][..], &token[..last], &[&token[..], &[0]].concat(), &[0xff; 20], &[0, 0xff, 0, 0]] {
            assert_eq!(Token::from_bytes(bad, 16), None, "{bad:?}");
        }
        assert_eq!(Token::from_bytes(&token, 3), None, "a partition that the topic does not have");
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
