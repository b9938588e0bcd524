use kith_proto::errors::v1::Reason;
use kith_service::Failure;

/// Why a command of engagement is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// None, deleted, or a block stands between the caller and its author.
    #[error("there is no such post")]
    PostNotFound,
    /// None on this post, or a block stands between the caller and its author.
    #[error("there is no such comment on the post")]
    CommentNotFound,
    /// It never shared the post, or a block stands between the caller and it.
    #[error("there is no such account among those that shared the post")]
    ViaNotFound,
    #[error("the request id was used before with other content")]
    RequestIdReused,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::PostNotFound => Self::not_found(Reason::PostNotFound, "post"),
            Rejection::CommentNotFound => Self::not_found(Reason::CommentNotFound, "comment"),
            Rejection::ViaNotFound => Self::not_found(Reason::AccountNotFound, "account")
                .violation("via_account_id", "is no account that shared the post"),
            Rejection::RequestIdReused => Self::request_id_reused(),
        }
    }
}
