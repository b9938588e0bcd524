use kith_proto::errors::v1::Reason;
use kith_service::Failure;

/// Why something that is asked of a conversation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("nobody has a conversation with oneself")]
    WithOneself,
    /// None, or it blocks the caller.
    #[error("there is no such account")]
    AccountNotFound,
    #[error("the caller blocks the account")]
    AccountBlocked,
    #[error("there is no such conversation, or the caller is not in it")]
    NotFound,
    #[error("a block stands between the two")]
    Blocked,
    #[error("the request id was used for another message")]
    RequestIdReused,
    #[error("there is no message of this number")]
    NoSuchMessage,
    #[error("the account's policy does not let the caller write")]
    NotAllowed,
    #[error("no more messages may wait until the conversation is accepted")]
    NotAccepted,
    #[error("there is no such message in the conversation")]
    MessageNotFound,
    #[error("only its sender may do this to a message")]
    NotTheAuthor,
    #[error("the message was unsent")]
    Unsent,
    #[error("the message is too old to be edited, or was edited too often")]
    EditTooLate,
    #[error("there are as many reactions as there may be")]
    ReactionsTooMany,
    #[error("operators have not opened the events that this makes")]
    EventsNotOpen,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::WithOneself => Self::new(Reason::SelfNotAllowed, "nobody has a conversation with oneself"),
            Rejection::AccountNotFound => Self::not_found(Reason::AccountNotFound, "account"),
            Rejection::AccountBlocked => Self::new(Reason::Blocked, "the caller blocks the account"),
            Rejection::NotFound => Self::not_found(Reason::ConversationNotFound, "conversation"),
            Rejection::Blocked => Self::new(Reason::Blocked, "a block stands between the two accounts"),
            Rejection::RequestIdReused => Self::request_id_reused(),
            Rejection::NotAllowed => {
                Self::new(Reason::MessagingNotAllowed, "the account's policy does not let the caller write")
            }
            Rejection::NotAccepted => {
                Self::new(Reason::ConversationNotAccepted, "no more messages may wait until the account accepts")
            }
            Rejection::EventsNotOpen => {
                Self::new(Reason::EventsNotOpen, "operators have not opened the events that this makes")
            }
            Rejection::MessageNotFound => Self::not_found(Reason::MessageNotFound, "message"),
            Rejection::NotTheAuthor => Self::new(Reason::NotTheAuthor, "only its sender may do this to a message"),
            Rejection::Unsent => Self::new(Reason::MessageUnsent, "the message was unsent"),
            Rejection::EditTooLate => {
                Self::new(Reason::EditTooLate, "the message is older than 15 minutes, or was edited 16 times")
            }
            Rejection::ReactionsTooMany => Self::new(
                Reason::ReactionsTooMany,
                "the caller has 5 reactions on the message, or it has 20 different ones",
            ),
            Rejection::NoSuchMessage => Self::field_invalid("up_to_number", "is above the last message's number"),
        }
    }
}
