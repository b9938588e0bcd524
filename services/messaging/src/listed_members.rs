//! Who is in a conversation, as one of its members is told.

use async_trait::async_trait;
use kith_proto::messaging::v1::{ListMembersRequest, ListMembersResponse, Member as Shown, rpc};
use kith_proto::time;
use kith_relations::sight::Viewer;
use kith_service::Failure;
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_tables::Value;

use crate::members::Member;
use crate::summary::Summary;
use crate::{MessagingService, Rejection, conversation};

/// The members of conversations. All of one are in the conversation's own row.
pub struct ListedMembers;

#[async_trait]
impl Lists<rpc::ListMembers> for ListedMembers {
    type Service = MessagingService;
    type Wanted = String;

    fn parse(request: ListMembersRequest) -> Result<String, Failure> {
        parse_id("conversation_id", &request.conversation_id)?;
        Ok(request.conversation_id)
    }

    async fn page(
        _: &MessagingService,
        seen: &Seen<'_>,
        conversation_id: String,
        page: &PageAsk,
    ) -> Result<(ListMembersResponse, Option<Vec<Value>>), Failure> {
        let summary = conversation::summary(&seen.state, &conversation_id).await?.row;
        summary.members.get(&seen.viewer).ok_or(Rejection::NotFound)?;
        let after = match page.after.as_deref() {
            None => "",
            Some([Value::Text(after)]) => after.as_str(),
            Some(_) => return Err(Failure::page_token_invalid()),
        };
        let mut left = summary.members.iter().filter(|member| member.account_id.as_str() > after);
        let found: Vec<&Member> = left.by_ref().take(page.size).collect();
        let next = left.next().and(found.last()).map(|last| vec![last.account_id.as_str().into()]);
        let sights =
            Viewer::new(&seen.state, &seen.viewer).meetings(found.iter().map(|member| &*member.account_id)).await?;
        let (shown, hidden): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|member| sights.of(&member.account_id).shows_account());
        let members = shown.into_iter().map(|member| present(&summary, member)).collect();
        let omitted_count = omitted_count(hidden.len());
        Ok((ListMembersResponse { members, omitted_count, ..ListMembersResponse::default() }, next))
    }
}

fn present(summary: &Summary, member: &Member) -> Shown {
    Shown {
        account_id: member.account_id.clone(),
        role: member.role().into(),
        join_time: Some(time::of_us(summary.joined(member).0)),
    }
}
