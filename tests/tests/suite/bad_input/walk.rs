//! Every RPC that callers have, found by reflection, with every field of its request spoiled in turn: through the wire from
//! the running suite, the right code with its reason and the field, and nothing written. A new RPC is in it by being in the
//! protos.

use prost::Message;
use prost_reflect::{Kind, MethodDescriptor};
use tonic::Code;

use super::caller::{Caller, World};
use super::rules::{self, Rules};
use super::spoil::{self, Size};

/// RPCs that anyone may call; all others need a bearer token.
const WITHOUT_BEARER: [&str; 5] =
    ["CreateAccount", "ReactivateAccount", "CreateSession", "RefreshSession", "GetSigningKeys"];
/// RPCs that only calling services call.
const FOR_SERVICES: [&str; 2] = ["ExchangeToken", "ResetPassword"];
/// Not a message of any type: a field number that is cut off.
const MALFORMED: &[u8] = b"\xff";
/// So many spoiled requests there are at the least: fewer, and the walk has lost its way.
const SPOILED_MIN: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_refuses_what_its_proto_rules_out() {
    let mut world = World::start().await;
    let [ada] = world.accounts(["ada"]).await;
    let before = world.heads().await;
    let ada = world.sign_in(&ada);

    let (mut wrong, mut spoiled) = (Vec::new(), 0);
    for rpc in rules::callers_rpcs() {
        let name = full_name(&rpc);
        if !WITHOUT_BEARER.contains(&rpc.name()) {
            wrong.extend(without_bearer(&world, &ada, &rpc).await);
        }
        wrong.extend(on_behalf_of(&world, &ada, &rpc).await);
        let malformed = ada.raw(&name, MALFORMED).await.otherwise(Code::InvalidArgument, "REQUEST_MALFORMED", None);
        wrong.extend(malformed.map(|otherwise| format!("{name}, bytes: {otherwise}")));
        let spoiled_requests = if FOR_SERVICES.contains(&rpc.name()) { Vec::new() } else { spoil::all(&rpc.input()) };
        for bad in spoiled_requests {
            spoiled += 1;
            let answer = ada.raw(&name, &bad.request.encode_to_vec()).await;
            let otherwise = answer.otherwise(Code::InvalidArgument, bad.reason, Some(&bad.field));
            wrong.extend(otherwise.map(|otherwise| format!("{name}, {} = {}: {otherwise}", bad.field, bad.how)));
        }
    }
    assert!(wrong.is_empty(), "{} answers of {spoiled}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(spoiled >= SPOILED_MIN, "only {spoiled}");
    assert_eq!(world.heads().await, before, "nothing was written");

    // What was spoiled was whole before, and is still taken at its longest: else something else may have been refused.
    let ada = world.sign_in(&ada);
    // Who is away calls nothing more.
    let (last, rpcs): (Vec<_>, Vec<_>) =
        rules::callers_rpcs().into_iter().partition(|rpc| rpc.name() == "DeactivateAccount");
    let rpcs = rpcs.into_iter().flat_map(|rpc| [(rpc.clone(), Size::Least), (rpc, Size::Most)]);
    for (rpc, size) in rpcs.chain(last.into_iter().map(|rpc| (rpc, Size::Most))) {
        let code = ada.raw(&full_name(&rpc), &whole(&rpc, size)).await.code();
        // No one has the passwords and the refresh token that the request makes up.
        let is_secret = ["CreateSession", "RefreshSession", "ChangePassword"].contains(&rpc.name());
        let is_nobody = is_secret && code == Code::Unauthenticated;
        // No trusted issuer made the token that the request makes up, and no account may exchange one, or name another.
        let is_by_token = ["LinkIdentity", "ExchangeToken", "ResetPassword", "ReactivateAccount"].contains(&rpc.name());
        // The walk has made an account of the same handle.
        let is_taken = rpc.name() == "ChangeHandle" && code == Code::AlreadyExists;
        assert!(
            is_nobody || is_by_token || is_taken || [Code::Ok, Code::NotFound].contains(&code),
            "{}: {code:?}",
            rpc.full_name()
        );
    }
}

/// Limits are kept by nobody who does not know them: all that has a length or a shape says which.
#[test]
fn every_field_of_a_request_says_what_it_takes() {
    for rpc in rules::callers_rpcs() {
        for field in rpc.input().fields().filter(|field| !["page_token", "cursor"].contains(&field.name())) {
            let rules = Rules::of(&field);
            let has_shape = match field.kind() {
                _ if field.is_list() => rules.max_items.is_some(),
                Kind::String => rules.pattern.is_some() || rules.max_chars.or(rules.max_bytes).is_some(),
                Kind::Int32 => rules.at_least.is_some(),
                Kind::Enum(_) => rules.defined_only,
                Kind::Bytes => false,
                _ => true,
            };
            assert!(has_shape, "{} says nothing of what it takes", field.full_name());
        }
    }
}

async fn without_bearer(world: &World, ada: &Caller, rpc: &MethodDescriptor) -> Vec<String> {
    let forged = World::token_of_another_suite(&ada.account_id);
    let callers =
        [("none", world.anyone()), ("forged", ada.with_bearer(&forged)), ("no token", ada.with_bearer("a.b.c"))];
    let (name, mut wrong) = (full_name(rpc), Vec::new());
    for (bearer, caller) in callers {
        let otherwise =
            caller.raw(&name, &whole(rpc, Size::Least)).await.otherwise(Code::Unauthenticated, "UNAUTHENTICATED", None);
        wrong.extend(otherwise.map(|otherwise| format!("{name}, bearer {bearer}: {otherwise}")));
    }
    wrong
}

/// Only a calling service may name an account, also where no token is needed.
async fn on_behalf_of(world: &World, ada: &Caller, rpc: &MethodDescriptor) -> Vec<String> {
    let (name, mut wrong) = (full_name(rpc), Vec::new());
    for caller in [ada.clone(), world.anyone()] {
        let answer = caller.on_behalf_of(&ada.account_id).raw(&name, &whole(rpc, Size::Least)).await;
        let otherwise = answer.otherwise(Code::PermissionDenied, "ON_BEHALF_OF_REFUSED", None);
        wrong.extend(otherwise.map(|otherwise| format!("{name}, on behalf of an account: {otherwise}")));
    }
    wrong
}

fn whole(rpc: &MethodDescriptor, size: Size) -> Vec<u8> {
    spoil::valid(&rpc.input(), size).encode_to_vec()
}

fn full_name(rpc: &MethodDescriptor) -> String {
    format!("{}/{}", rpc.parent_service().full_name(), rpc.name())
}
