//! What a call costs, in points of its caller's rate.

use bytes::Buf;
use kith_proto::rpc::Cost;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, ROWS_PER_POINT};

/// gRPC's prefix of a message.
const PREFIX_BYTES: usize = 5;

/// `request` is the message with its prefix. One that cannot be decoded costs a point.
pub(crate) fn points(cost: Cost, request: &[u8]) -> u64 {
    let message = first_message(request).unwrap_or_default();
    let rows = match cost {
        Cost::Points(points) => return points.into(),
        Cost::Page { field } => rows_of_page(last_number(field, message).unwrap_or(0)),
        Cost::Items { field } => values(field, message).map_or(0, |(count, _)| count),
        Cost::Each { points, field } => {
            let items = values(field, message).map_or(0, |(count, _)| count);
            return items.max(1).saturating_mul(points.into());
        }
    };
    rows.div_ceil(ROWS_PER_POINT).max(1)
}

/// A call has one; whatever follows costs nothing and is not looked at.
fn first_message(request: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = request.split_at_checked(PREFIX_BYTES)?;
    let length = u32::from_be_bytes(prefix.get(1..)?.try_into().ok()?);
    rest.get(..usize::try_from(length).ok()?)
}

/// As the page will be: 0 or less is the default, more than the most is the most.
fn rows_of_page(asked: u64) -> u64 {
    match i64::from_ne_bytes(asked.to_ne_bytes()) {
        asked if asked <= 0 => PAGE_SIZE_DEFAULT as u64,
        _ => asked.min(PAGE_SIZE_MAX as u64),
    }
}

fn last_number(field: u32, message: &[u8]) -> Option<u64> {
    values(field, message).ok().and_then(|(_, number)| number)
}

/// How many values a field has, and the last one that is a number.
fn values(field: u32, mut message: &[u8]) -> Result<(u64, Option<u64>), DecodeError> {
    let (mut count, mut last) = (0, None);
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        if tag == field {
            count += 1;
        }
        if tag == field && wire_type == WireType::Varint {
            last = Some(decode_varint(&mut message)?);
        } else {
            skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        }
    }
    Ok((count, last))
}

#[cfg(test)]
mod tests {
    use kith_proto::feeds::v1::GetHomeFeedRequest;
    use kith_proto::messaging::v1::{AddMembersRequest, CreateGroupRequest};
    use kith_proto::posts::v1::BatchGetPostsRequest;
    use kith_proto::rpc::COSTS;
    use prost::Message;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    fn cost_of(rpc: &str, message: &impl Message) -> u64 {
        let cost = COSTS.iter().find(|(name, _)| name.ends_with(rpc)).unwrap().1;
        points(cost, &framed(&message.encode_to_vec()))
    }

    #[test]
    fn a_page_costs_by_its_size_and_a_batch_by_its_items() {
        for (page_size, cost) in [(0, 1), (-5, 1), (1, 1), (50, 1), (51, 2), (100, 2), (i32::MAX, 2)] {
            let page_token = "token".to_owned();
            let request = GetHomeFeedRequest { page_size, page_token, ..GetHomeFeedRequest::default() };
            assert_eq!(cost_of("/GetHomeFeed", &request), cost, "{page_size}");
        }
        for (items, cost) in [(0, 1), (1, 1), (50, 1), (51, 2), (100, 2), (1_000, 20)] {
            let post_ids = vec!["0".repeat(32); items];
            let at_least = vec!["token".to_owned(); 8];
            let request = BatchGetPostsRequest { post_ids, at_least };
            assert_eq!(cost_of("/BatchGetPosts", &request), cost, "{items}");
        }
    }

    #[test]
    fn whoever_is_put_into_a_group_costs_as_much_as_a_conversation_of_two() {
        for (members, cost) in [(0, 3), (1, 3), (2, 6), (99, 297)] {
            let (member_ids, account_ids) = (vec!["0".repeat(32); members], vec!["0".repeat(32); members]);
            assert_eq!(cost_of("/CreateGroup", &CreateGroupRequest { member_ids, ..Default::default() }), cost);
            assert_eq!(cost_of("/AddMembers", &AddMembersRequest { account_ids, ..Default::default() }), cost);
        }
        assert_eq!(cost_of("/GetOrCreateDirect", &CreateGroupRequest::default()), 3);
    }

    #[test]
    fn what_cannot_be_decoded_costs_something_too() {
        for bytes in [&[][..], &[0; 4], &[0; 5], &[0, 0, 0, 0, 2, 0x18, 0xff], &[0xff; 40]] {
            for cost in [Cost::Page { field: 3 }, Cost::Items { field: 1 }] {
                assert_eq!(points(cost, bytes), 1);
            }
            assert_eq!(points(Cost::Points(3), bytes), 3);
        }
    }
}
