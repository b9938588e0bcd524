use futures::try_join;
use kith_fold::Found;
use kith_log::topics;
use kith_proto::engagement::v1 as proto;
use kith_proto::engagement::v1::reaction_service_server::ReactionService;
use kith_proto::time;
use kith_service::Failure;
use kith_service::ids::payload_digest;
use kith_service::kit::Asked;
use proto::{ReactRequest, ReactResponse, Reaction, ReactionKind, Subject, UnreactRequest, UnreactResponse};
use tonic::{Request, Response, Status};

use super::{Call, command_id, parse_subject};
use crate::reaction::{self, Before, Command, ReactionRow, Wish};
use crate::{Decided, EngagementService, scene};

const REACT: &str = "kith.engagement.v1.ReactionService/React";
const UNREACT: &str = "kith.engagement.v1.ReactionService/Unreact";

#[tonic::async_trait]
impl ReactionService for EngagementService {
    async fn react(&self, request: Request<ReactRequest>) -> Result<Response<ReactResponse>, Status> {
        Ok(Response::new(self.do_react(Call::of(request)?).await?))
    }

    async fn unreact(&self, request: Request<UnreactRequest>) -> Result<Response<UnreactResponse>, Status> {
        Ok(Response::new(self.do_unreact(Call::of(request)?).await?))
    }
}

impl EngagementService {
    async fn do_react(&self, mut call: Call<ReactRequest>) -> Result<ReactResponse, Failure> {
        let subject = parse_subject("subject", call.request.subject.take())?;
        let kind = reaction::known(call.request.kind)
            .ok_or_else(|| Failure::field_invalid("kind", "is not a kind of reaction that this release knows"))?;
        let id = command_id(call.caller, REACT, &call.request.request_id, &self.kit.runtime)?;
        let (actor_id, at_ms) = (call.viewer(), self.kit.runtime.now_ms());
        let command = Command { id, actor_id, subject, wish: Wish::React(kind), at_ms };
        let (consistency_token, stands_since_ms) =
            self.set_reaction(&command, &call.request.at_least, call.deadline).await?;
        let reaction = present(command, kind, stands_since_ms);
        Ok(ReactResponse { reaction: Some(reaction), consistency_token })
    }

    async fn do_unreact(&self, mut call: Call<UnreactRequest>) -> Result<UnreactResponse, Failure> {
        let subject = parse_subject("subject", call.request.subject.take())?;
        let id = command_id(call.caller, UNREACT, &call.request.request_id, &self.kit.runtime)?;
        let (actor_id, at_ms) = (call.viewer(), self.kit.runtime.now_ms());
        let command = Command { id, actor_id, subject, wish: Wish::Unreact, at_ms };
        let (consistency_token, _) = self.set_reaction(&command, &call.request.at_least, call.deadline).await?;
        Ok(UnreactResponse { subject: Some(command.subject), consistency_token })
    }

    /// Gives the token, and since when it stands as asked.
    async fn set_reaction(
        &self,
        command: &Command,
        at_least: &[String],
        deadline: kith_service::deadline::Deadline,
    ) -> Result<(String, i64), Failure> {
        let seen = self.kit.see(at_least, deadline).await?;
        let Command { id, actor_id, subject, wish, at_ms } = command;
        let Subject { post_id, comment_id } = subject;
        let state = &seen.state;
        let look = || async {
            let (scene, own) =
                try_join!(scene::load(state, actor_id, post_id, comment_id), reaction::own(state, subject, actor_id))?;
            let rests_on = own.as_ref().map(|own| own.position);
            let own = own.map(|own: Found<ReactionRow>| own.row).unwrap_or_default();
            let stands_since_ms = own.at.0;
            Ok((reaction::decide(&Before { scene, own }, command)?, (rests_on, stands_since_ms)))
        };
        let digest = payload_digest(&[post_id.as_bytes(), comment_id.as_bytes(), &wish_bytes(*wish)]);
        let asked = Asked { topic: topics::ENGAGEMENT, key: post_id, id: *id, digest };
        let (event, (rests_on, stands_since_ms)) = seen.decide(asked, deadline, look).await?;
        let since_ms = if event.is_some() { *at_ms } else { stands_since_ms };
        let decided = Decided { post_id, id: *id, event, rests_on };
        Ok((self.conclude(&seen, decided, deadline).await?, since_ms))
    }
}

fn wish_bytes(wish: Wish) -> [u8; 4] {
    match wish {
        Wish::React(kind) => i32::from(kind).to_be_bytes(),
        Wish::Unreact => [0; 4],
    }
}

fn present(command: Command, kind: ReactionKind, since_ms: i64) -> Reaction {
    Reaction {
        actor_id: command.actor_id,
        subject: Some(command.subject),
        kind: kind.into(),
        create_time: Some(time::timestamp(since_ms)),
    }
}
