//! What all RPCs have in common, for code that is written once for all of them. Who implements what follows from the
//! protos: every RPC of a package is a type in that package's module `rpc`, and a message has a trait if it has its fields.

use prost::Message;

include!(concat!(env!("OUT_DIR"), "/rpc.rs"));

/// An RPC, as a type: [`crate::posts::v1::rpc::GetPost`].
pub trait Rpc: Send + Sync + 'static {
    type Request: Message + Default;
    /// What it answers with; of an RPC that streams, each of its messages.
    type Response: Message + Default;

    /// Its service and its own name: `kith.posts.v1.PostService/GetPost`.
    const NAME: &'static str;
    /// The full name of its service: `kith.posts.v1.PostService`.
    const SERVICE: &'static str;
}

/// What a call costs, in points of its caller's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    Points(u32),
    /// By the number in this field of the request: so many rows are asked for.
    Page {
        field: u32,
    },
    /// By the number of values in this field of the request.
    Items {
        field: u32,
    },
    /// So many points for each value of this field of the request, at least for one.
    Each {
        points: u32,
        field: u32,
    },
}

/// A request that names what its answer has to have seen.
pub trait AtLeast {
    /// The consistency tokens, as they came: neither parsed nor counted.
    fn at_least(&self) -> &[String];
}

/// A command, which can be sent again under its id.
pub trait Repeatable {
    /// The id, as it came; may be empty.
    fn request_id(&self) -> &str;

    /// What the request asks for, as bytes: the same for two requests that ask for the same, in this release and any
    /// other. Without `request_id`, `at_least`, and what is secret (a digest of these bytes is kept and shown); so the
    /// same command with another secret has the same content. Fields that this release does not know are not in it.
    fn content(&self) -> Vec<u8>;
}

/// A request for one page of many.
pub trait Paged {
    /// How many items are wanted, as it came; may be 0 or negative.
    fn page_size(&self) -> i32;

    /// Where to go on, as it came; may be empty.
    fn page_token(&self) -> &str;

    /// What the pages are of, as bytes: the request without `page_size`, `page_token` and `at_least`. A page token is good
    /// only for requests with the same ones.
    fn filter(&self) -> Vec<u8>;
}

/// The answer to a command: says how to wait for it.
pub trait TakesToken {
    fn set_consistency_token(&mut self, consistency_token: String);
}

/// The answer to a question: says what it has seen.
pub trait TakesAsOf {
    fn set_as_of(&mut self, as_of: String);
}

/// One page: says where to go on.
pub trait TakesNextPage {
    fn set_next_page_token(&mut self, next_page_token: String);
}

/// An answer that says whether something may be missing in it.
pub trait TakesIncomplete {
    fn set_incomplete(&mut self, incomplete: bool);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::v1::{GetAuthorFeedRequest, GetAuthorFeedResponse, rpc::GetAuthorFeed};
    use crate::identity::v1::CreateAccountRequest;

    #[test]
    fn an_rpc_is_named_as_callers_call_it() {
        assert_eq!(GetAuthorFeed::NAME, "kith.feeds.v1.FeedService/GetAuthorFeed");
        assert_eq!(GetAuthorFeed::SERVICE, "kith.feeds.v1.FeedService");
    }

    #[test]
    fn content_is_all_but_id_tokens_and_secrets() {
        let asked = |handle: &str, password: &str, request_id: &str| CreateAccountRequest {
            handle: handle.to_owned(),
            password: password.to_owned(),
            request_id: request_id.to_owned(),
            at_least: vec![request_id.to_owned()],
            ..CreateAccountRequest::default()
        };
        let request = asked("ada", "correct horse", "one");
        assert_eq!(request.content(), asked("ada", "battery staple", "two").content());
        assert_ne!(request.content(), asked("bob", "correct horse", "one").content());
        assert_eq!(request.content(), b"\x0a\x03ada", "it is the request's own encoding, for ever");
        assert_eq!((request.request_id(), request.at_least()), ("one", ["one".to_owned()].as_slice()));
    }

    #[test]
    fn a_filter_is_all_but_the_page_and_tokens() {
        let asked = |account_id: &str, page_size, page_token: &str| GetAuthorFeedRequest {
            account_id: account_id.to_owned(),
            page_size,
            page_token: page_token.to_owned(),
            at_least: vec![page_token.to_owned()],
            ..GetAuthorFeedRequest::default()
        };
        let request = asked("a", -1, "one");
        assert_eq!(request.filter(), asked("a", 7, "two").filter());
        assert_ne!(request.filter(), asked("b", -1, "one").filter());
        assert_eq!((request.page_size(), request.page_token()), (-1, "one"));
    }

    #[test]
    fn commands_cost_what_their_proto_says_and_questions_by_their_rows() {
        let cost = |name: &str| COSTS.iter().find(|(of, _)| *of == name).map(|(_, cost)| *cost);
        assert_eq!(cost("kith.posts.v1.PostService/CreatePost"), Some(Cost::Points(3)));
        assert_eq!(cost("kith.posts.v1.PostService/EditPost"), Some(Cost::Points(2)));
        assert_eq!(cost("kith.posts.v1.PostService/DeletePost"), Some(Cost::Points(1)));
        assert_eq!(cost("kith.posts.v1.PostService/GetPost"), Some(Cost::Points(1)));
        assert!(matches!(cost(GetAuthorFeed::NAME), Some(Cost::Page { .. })));
        assert!(matches!(cost("kith.posts.v1.PostService/BatchGetPosts"), Some(Cost::Items { .. })));
        assert_eq!(cost("kith.ops.v1.ProjectionService/Pause"), None);
    }

    #[test]
    fn an_answer_takes_what_its_proto_has() {
        let mut answer = GetAuthorFeedResponse::default();
        answer.set_as_of("now".to_owned());
        answer.set_next_page_token("next".to_owned());
        answer.set_incomplete(true);
        let expected = GetAuthorFeedResponse {
            as_of: "now".to_owned(),
            next_page_token: "next".to_owned(),
            incomplete: true,
            ..GetAuthorFeedResponse::default()
        };
        assert_eq!(answer, expected);
    }
}
