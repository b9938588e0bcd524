//! What is cleared in an account's lists when it comes to a group or goes: rows of the times in which it was there before. Functions
//! of the conversation as it stands at its mark: so they are the same however many of these times one batch of records has. Pure.

use kith_fold::Effect;

use crate::summary::Summary;
use crate::windows::Windows;
use crate::{inbox, requests};

/// Rows of the times before that do not belong to where the group stands now for the account.
pub fn clear(
    conversation_id: &str,
    summary: &Summary,
    (account_id, before): (&str, &Windows),
    mark: u64,
) -> Vec<Effect> {
    let member = summary.members.get(account_id);
    let is_listed = member.is_some_and(|member| member.consent.stands());
    let opened = member.filter(|member| member.consent.waits()).map(|member| summary.opened(member));
    let mut all = Vec::new();
    if before.were_listed() {
        let stands = member.filter(|_| is_listed).map(|member| summary.places.since(member.listed_since()));
        let stands = stands.as_ref().map_or(&[][..], |places| places.standing());
        let hours: Vec<i64> = stands.iter().map(|place| place.hour).collect();
        let left = summary.places.remembered().iter().filter(|place| !hours.contains(&place.hour));
        all.extend(left.map(|place| inbox::leaves(account_id, conversation_id, place.hour, mark)));
        all.extend((!is_listed).then(|| inbox::ends(account_id, conversation_id, mark)));
    }
    let asked: Vec<_> = before.asked().collect();
    if !asked.is_empty() && opened.is_none() {
        all.push(requests::is_over(account_id, conversation_id, mark));
    }
    let left = asked.into_iter().filter(|asked| Some(*asked) != opened);
    all.extend(left.map(|asked| requests::leaves(account_id, conversation_id, asked, mark)));
    all
}
