use futures::try_join;
use kith_fold::Found;
use kith_log::topics;
use kith_proto::engagement::v1 as proto;
use kith_proto::engagement::v1::engagement_event::Event;
use kith_proto::engagement::v1::share_service_server::ShareService;
use kith_proto::time;
use kith_service::Failure;
use kith_service::deadline::Deadline;
use kith_service::ids::{parse_id, payload_digest};
use kith_service::kit::Asked;
use proto::{ShareRequest, ShareResponse, UnshareRequest, UnshareResponse};
use tonic::{Request, Response, Status};

use super::{Call, command_id, parse_id_or_empty};
use crate::share::{self, Before, Command, ShareRow, Wish};
use crate::{Decided, EngagementService, scene};

const SHARE: &str = "kith.engagement.v1.ShareService/Share";
const UNSHARE: &str = "kith.engagement.v1.ShareService/Unshare";

#[tonic::async_trait]
impl ShareService for EngagementService {
    async fn share(&self, request: Request<ShareRequest>) -> Result<Response<ShareResponse>, Status> {
        Ok(Response::new(self.do_share(Call::of(request)?).await?))
    }

    async fn unshare(&self, request: Request<UnshareRequest>) -> Result<Response<UnshareResponse>, Status> {
        Ok(Response::new(self.do_unshare(Call::of(request)?).await?))
    }
}

impl EngagementService {
    async fn do_share(&self, call: Call<ShareRequest>) -> Result<ShareResponse, Failure> {
        let ShareRequest { post_id, via_account_id, request_id, at_least } = &call.request;
        parse_id("post_id", post_id)?;
        parse_id_or_empty("via_account_id", via_account_id)?;
        let id = command_id(call.caller, SHARE, request_id, &self.kit.runtime)?;
        let (actor_id, at_ms) = (call.viewer(), self.kit.runtime.now_ms());
        let wish = Wish::Share { via_account_id: via_account_id.clone() };
        let command = Command { id, actor_id, post_id: post_id.clone(), wish, at_ms };
        let (consistency_token, share) = self.set_share(command, at_least, call.deadline).await?;
        Ok(ShareResponse { share: Some(share), consistency_token })
    }

    async fn do_unshare(&self, call: Call<UnshareRequest>) -> Result<UnshareResponse, Failure> {
        let UnshareRequest { post_id, request_id, at_least } = &call.request;
        parse_id("post_id", post_id)?;
        let id = command_id(call.caller, UNSHARE, request_id, &self.kit.runtime)?;
        let (actor_id, at_ms) = (call.viewer(), self.kit.runtime.now_ms());
        let command = Command { id, actor_id, post_id: post_id.clone(), wish: Wish::Unshare, at_ms };
        let (consistency_token, _) = self.set_share(command, at_least, call.deadline).await?;
        Ok(UnshareResponse { post_id: post_id.clone(), consistency_token })
    }

    /// Gives the token, and the share as it stands, or as it was.
    async fn set_share(
        &self,
        command: Command,
        at_least: &[String],
        deadline: Deadline,
    ) -> Result<(String, proto::Share), Failure> {
        let seen = self.kit.see(at_least, deadline).await?;
        let state = &seen.state;
        let (post_id, actor_id) = (&*command.post_id, &*command.actor_id);
        let look = || async {
            let (scene, own, via) = try_join!(
                scene::load(state, actor_id, post_id, ""),
                share::own(state, post_id, actor_id),
                share::via(state, &command),
            )?;
            let rests_on = own.as_ref().map(|own| own.position);
            let before = Before { scene, own: own.map(|own: Found<ShareRow>| own.row).unwrap_or_default(), via };
            Ok((share::decide(&before, &command)?, (rests_on, before.own)))
        };
        let asked = Asked { topic: topics::ENGAGEMENT, key: post_id, id: command.id, digest: digest(&command) };
        let (event, (rests_on, own)) = seen.decide(asked, deadline, look).await?;
        let share = match &event {
            Some(Event::Shared(event)) => made(event),
            _ => standing(&command, own),
        };
        let decided = Decided { post_id, id: command.id, event, rests_on };
        Ok((self.conclude(&seen, decided, deadline).await?, share))
    }
}

fn made(event: &proto::Shared) -> proto::Share {
    proto::Share {
        share_id: event.share_id.clone(),
        post_id: event.post_id.clone(),
        actor_id: event.actor_id.clone(),
        via_account_id: event.via_account_id.clone(),
        create_time: event.create_time,
    }
}

fn digest(command: &Command) -> [u8; 32] {
    match &command.wish {
        Wish::Share { via_account_id } => payload_digest(&[command.post_id.as_bytes(), via_account_id.as_bytes()]),
        Wish::Unshare => payload_digest(&[command.post_id.as_bytes()]),
    }
}

fn standing(command: &Command, own: ShareRow) -> proto::Share {
    proto::Share {
        share_id: own.share_id,
        post_id: command.post_id.clone(),
        actor_id: command.actor_id.clone(),
        via_account_id: own.via_account_id,
        create_time: Some(time::timestamp(own.at.0)),
    }
}
