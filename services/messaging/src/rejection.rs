use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use kith_service::Failure;

use crate::roster::Refusal;

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
    #[error("the account cannot be put into a group by the caller")]
    CannotAdd(Unaddable, RecordId),
    #[error("the conversation is not a group")]
    NotAGroup,
    #[error("one leaves a group by LeaveConversation")]
    RemovingOneself,
    #[error("the caller's role does not allow this")]
    RoleMissing,
    #[error("there are not as many seats left in the group")]
    GroupFull,
    #[error("the group would have members and no owner")]
    LastOwner,
    #[error("the account is not in the group")]
    MemberNotFound,
    #[error("the group is at revision {current}: read it again, then decide")]
    RevisionStale { current: u32 },
}

/// Why an account cannot be put into a group by somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unaddable {
    /// There is none, or it blocks who asks.
    NotFound,
    /// Who asks blocks it.
    Blocked,
    /// Its policy does not let who asks write.
    NotAllowed,
}

impl Rejection {
    /// Of a change of a group that is, or was, refused; `revision`: of its title.
    pub fn of(refusal: Refusal, revision: u32) -> Self {
        match refusal {
            Refusal::NotInIt | Refusal::Void => Self::NotFound,
            Refusal::RoleMissing => Self::RoleMissing,
            Refusal::Full => Self::GroupFull,
            Refusal::LastOwner => Self::LastOwner,
            Refusal::NoSuchMember => Self::MemberNotFound,
            Refusal::Stale => Self::RevisionStale { current: revision },
        }
    }
}

impl Unaddable {
    fn failure(self) -> Failure {
        match self {
            Self::NotFound => Failure::not_found(Reason::AccountNotFound, "account"),
            Self::Blocked => Failure::new(Reason::Blocked, "the caller blocks the account"),
            Self::NotAllowed => {
                Failure::new(Reason::MessagingNotAllowed, "the account's policy does not let the caller write")
            }
        }
    }
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
            Rejection::CannotAdd(why, account_id) => why.failure().with("account_id", account_id),
            Rejection::NotAGroup => Self::new(Reason::NotAGroup, rejection.to_string()),
            Rejection::RemovingOneself => Self::new(Reason::SelfNotAllowed, rejection.to_string()),
            Rejection::RoleMissing => Self::new(Reason::RoleMissing, rejection.to_string()),
            Rejection::GroupFull => Self::new(Reason::GroupFull, rejection.to_string()),
            Rejection::LastOwner => Self::new(Reason::LastOwner, rejection.to_string()),
            Rejection::MemberNotFound => Self::not_found(Reason::MemberNotFound, "member"),
            Rejection::RevisionStale { current } => {
                Self::new(Reason::RevisionStale, rejection.to_string()).with("current_revision", current)
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
