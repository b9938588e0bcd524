//! Calling services: what two of them ask for under one request id is two things, each with its service's name in the log; and
//! none acts for an account of another issuer.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_proto::Event;
use kith_proto::posts::v1::CreatePostRequest;
use kith_proto::posts::v1::post_event::Event as Posted;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_service::auth::Accounts;
use tonic::{Code, Status};

use super::posts::SERVICE;
use super::{Draw, Noun};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, RIGHTS};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Ask, Confusion, Operation, Reply, op};

/// On the board where the target knows calling services.
pub const SERVICES: &str = "services";
pub const WEB: &str = "web";
const APP: &str = "app";
/// To which no account belongs.
const STRANGE_ISSUER: &str = "https://nobody.example";

pub struct Services;

/// The service that asked for each post, and the author.
#[derive(Default)]
struct AskedFor(BTreeMap<String, (Option<String>, String)>);

impl Noun for Services {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw {
                    weight: 3,
                    draw: |scene| {
                        scene.one(SERVICES)?;
                        Some(op(PostByTwo { text: scene.text() }))
                    },
                },
                Draw {
                    weight: 1,
                    draw: |scene| {
                        scene.one(SERVICES)?;
                        Some(op(PostByStranger { text: scene.text() }))
                    },
                },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<AskedFor>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        if let Event::Posts(Posted::PostCreated(event)) = &fact.event {
            let asked_for = (fact.principal.clone(), event.author_id.clone());
            model.state_mut::<AskedFor>().0.entry(event.post_id.clone()).or_insert(asked_for);
        }
    }
}

/// Two services write for the actor, under one request id.
#[derive(Debug)]
struct PostByTwo {
    text: String,
}

/// A service writes for the actor, who is not of its issuer.
#[derive(Debug)]
struct PostByStranger {
    text: String,
}

/// Writes as a service does; gives the post's id.
async fn write(to: &Callers, ask: &Ask, service: (&str, Accounts), text: String) -> Result<Reply<String>, Status> {
    let request_id = ask.request_id.clone();
    let request = CreatePostRequest { text, request_id, at_least: ask.at_least.clone(), languages: Vec::new() };
    let request = to.acting(service, &ask.actor, request)?;
    let created = PostServiceClient::new(to.way(SERVICE)).create_post(request).await?.into_inner();
    Ok(Reply::new(created.post.unwrap_or_default().post_id, created.consistency_token))
}

#[async_trait]
impl Operation for PostByTwo {
    /// The post of each.
    type Answer = (String, String);

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<(String, String)>, Status> {
        let other = if ask.confusion == Some(Confusion::ServicesAreOne) { WEB } else { APP };
        let first = write(to, &ask, (WEB, Accounts::Any), format!("{} by {WEB}", self.text)).await?;
        let second = write(to, &ask, (other, Accounts::Any), format!("{} by {APP}", self.text)).await?;
        Ok(Reply::new((first.answer, second.answer), second.token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&(String, String), Code>) -> Vec<Finding> {
        let what = match told {
            Ok((first, second)) => {
                let by = |post_id: &String, service: &str| {
                    let asked_for = model.state::<AskedFor>().0.get(post_id);
                    asked_for.is_some_and(|(principal, author)| {
                        principal.as_deref() == Some(service) && *author == call.actor
                    })
                };
                (!by(first, WEB) || !by(second, APP))
                    .then(|| format!("{first} and {second} are not those of two services"))
            }
            Err(Code::AlreadyExists) => Some("the request id of another service counts as this one's".to_owned()),
            Err(_) => None,
        };
        what.map(|what| Finding::new(EFFECTIVE_ONCE, format!("{what}: {} by {}", call.op, call.actor)))
            .into_iter()
            .collect()
    }
}

#[async_trait]
impl Operation for PostByStranger {
    type Answer = String;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<String>, Status> {
        let accounts = match ask.confusion {
            Some(Confusion::AccountsOfAll) => Accounts::Any,
            _ => Accounts::OfIssuer(STRANGE_ISSUER.into()),
        };
        write(to, &ask, (WEB, accounts), format!("{} by a stranger", self.text)).await
    }

    fn check(&self, _: &Model, call: &Call, told: Result<&String, Code>) -> Vec<Finding> {
        let refused = !matches!(told, Ok(_) | Err(Code::AlreadyExists));
        let what = || format!("done for an account of another issuer: {} by {}", call.op, call.actor);
        if refused { Vec::new() } else { vec![Finding::new(RIGHTS, what())] }
    }
}
