//! What ends sessions.

use async_trait::async_trait;
use kith_log::RecordId;
use kith_proto::identity::v1::{
    ChangePasswordRequest, ResetPasswordRequest, RevokeAllSessionsRequest, RevokeSessionRequest,
};
use kith_service::auth::{Accounts, SessionRef};
use kith_service::ids;
use tonic::{Code, Status};

use super::{PASSWORD, People, SERVICE, client, meanwhile, record};
use crate::simulation::callers::Callers;
use crate::simulation::checks::Finding;
use crate::simulation::history::Call;
use crate::simulation::model::Model;
use crate::simulation::nouns::services::WEB;
use crate::simulation::operation::{Appended, Ask, Operation, Reply, effective, record_id};

#[derive(Debug)]
pub struct End {
    pub session_id: String,
}

#[async_trait]
impl Operation for End {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = RevokeSessionRequest { session_id: self.session_id.clone(), request_id, at_least };
        let ended = client(to).revoke_session(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((), ended.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        record(actor, "kith.identity.v1.SessionService/RevokeSession", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        meanwhile(model, call, &self.session_id).iter().any(|now| !now.stands)
    }
}

/// `by`: the session that asks, which stays; `None`: none does.
#[derive(Debug)]
pub struct EndAll {
    pub by: Option<SessionRef>,
}

#[async_trait]
impl Operation for EndAll {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = RevokeAllSessionsRequest { include_current: false, request_id, at_least };
        let ended = client(to).revoke_all_sessions(to.by(&actor, self.by, request)).await?.into_inner();
        Ok(Reply::new((), ended.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        record(actor, "kith.identity.v1.SessionService/RevokeAllSessions", request_id)
    }
}

/// The same text again: so everybody knows it. It ends the other sessions all the same.
#[derive(Debug)]
pub struct ChangePassword {
    pub by: Option<SessionRef>,
}

#[async_trait]
impl Operation for ChangePassword {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (current_password, new_password) = (PASSWORD.to_owned(), PASSWORD.to_owned());
        let request = ChangePasswordRequest { current_password, new_password, request_id, at_least };
        let changed = client(to).change_password(to.by(&actor, self.by, request)).await?.into_inner();
        Ok(Reply::new((), changed.consistency_token))
    }

    /// One that lost is in the log, and refused.
    fn check(&self, model: &Model, call: &Call, told: Result<&(), Code>) -> Vec<Finding> {
        told.ok().and_then(|()| effective(self, model, call)).into_iter().collect()
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let id = record_id(&call.actor, "kith.identity.v1.SessionService/ChangePassword", &call.request_id);
        id.is_some_and(|id| has_changed(model, &call.actor, id))
    }
}

/// By a service. The same text again: it ends all sessions all the same.
#[derive(Debug)]
pub struct ResetPassword;

#[async_trait]
impl Operation for ResetPassword {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = ResetPasswordRequest { new_password: PASSWORD.to_owned(), request_id, at_least };
        let request = to.acting((WEB, Accounts::Any), &actor, request)?;
        let reset = client(to).reset_password(request).await?.into_inner();
        Ok(Reply::new((), reset.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&(), Code>) -> Vec<Finding> {
        told.ok().and_then(|()| effective(self, model, call)).into_iter().collect()
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let id = record_id(&call.actor, "kith.identity.v1.SessionService/ResetPassword", &call.request_id);
        id.is_some_and(|id| has_changed(model, &call.actor, ids::by_principal(WEB, id)))
    }
}

fn has_changed(model: &Model, account: &str, id: RecordId) -> bool {
    model.state::<People>().0.get(account).is_some_and(|person| person.changes.contains(&id))
}
