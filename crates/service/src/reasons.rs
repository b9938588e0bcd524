//! Properties of a failure's reason.

use std::time::Duration;

use kith_proto::errors::v1::Reason;
use tonic::Code;

/// The canonical code that a reason always comes with, as `errors.proto` says.
#[allow(clippy::too_many_lines, reason = "one line per reason")]
pub fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::Unauthenticated
        | Reason::TokenExpired
        | Reason::CredentialsInvalid
        | Reason::SessionEnded
        | Reason::RefreshTokenInvalid => Code::Unauthenticated,
        Reason::FieldInvalid
        | Reason::TextEmpty
        | Reason::TextTooLong
        | Reason::IdMalformed
        | Reason::PageTokenInvalid
        | Reason::ConsistencyTokenInvalid
        | Reason::TooManyTokens
        | Reason::BatchTooLong
        | Reason::HandleInvalid
        | Reason::HandleReserved
        | Reason::HandleLooksAlike
        | Reason::RequestMalformed
        | Reason::HeadersTooLarge
        | Reason::IdentityTokenInvalid
        | Reason::RequestTooLarge => Code::InvalidArgument,
        Reason::HandleTaken | Reason::IdentityTaken | Reason::RequestIdReused => Code::AlreadyExists,
        Reason::AccountNotFound
        | Reason::PostNotFound
        | Reason::CommentNotFound
        | Reason::ConversationNotFound
        | Reason::MessageNotFound
        | Reason::SessionNotFound
        | Reason::GenerationNotFound
        | Reason::IdentityNotFound
        | Reason::MemberNotFound
        | Reason::FollowRequestNotFound
        | Reason::DeadLetterNotFound => Code::NotFound,
        Reason::SelfNotAllowed
        | Reason::Blocked
        | Reason::GenerationState
        | Reason::DeadLetterState
        | Reason::MessagingNotAllowed
        | Reason::ConversationNotAccepted
        | Reason::MessageUnsent
        | Reason::EditTooLate
        | Reason::ReactionsTooMany
        | Reason::EventsNotOpen
        | Reason::GroupFull
        | Reason::LastOwner
        | Reason::NotAGroup
        | Reason::FollowedTagsFull
        | Reason::ConsistencyTokenExpired
        | Reason::AccountDeactivated
        | Reason::HandleChangedTooOften
        | Reason::TokenExchanged => Code::FailedPrecondition,
        Reason::NotTheAuthor
        | Reason::RightMissing
        | Reason::RoleMissing
        | Reason::AccountPrivate
        | Reason::OnBehalfOfRefused
        | Reason::SignUpClosed => Code::PermissionDenied,
        Reason::RevisionStale | Reason::HandleChangeUnderWay => Code::Aborted,
        Reason::DeadlineTooShort | Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::BehindToken
        | Reason::LogUnavailable
        | Reason::TablesUnavailable
        | Reason::OutcomeUnknown
        | Reason::FoldStopped
        | Reason::TablesBeingFilled
        | Reason::RevocationsBehind
        | Reason::IssuerKeysMissing
        | Reason::IssuerKeysStale => Code::Unavailable,
        Reason::Overloaded | Reason::RateLimited | Reason::StreamTooSlow => Code::ResourceExhausted,
        Reason::MethodUnknown | Reason::CompressionUnknown | Reason::ContentTypeUnknown => Code::Unimplemented,
        Reason::Internal | Reason::Unspecified => Code::Internal,
    }
}

/// Whether a refusal depends on rows that the tables lack or still have, so that stale tables may refuse what the log
/// allows. Irreversible states, and violations by the request alone, are refused whatever the tables lack.
#[allow(clippy::too_many_lines, reason = "one line per reason")]
pub(crate) fn may_be_stale(reason: Reason) -> bool {
    match reason {
        Reason::CredentialsInvalid
        | Reason::AccountNotFound
        | Reason::PostNotFound
        | Reason::CommentNotFound
        | Reason::ConversationNotFound
        | Reason::MessageNotFound
        | Reason::ReactionsTooMany
        | Reason::SessionNotFound
        | Reason::RefreshTokenInvalid
        | Reason::Blocked
        | Reason::MessagingNotAllowed
        | Reason::ConversationNotAccepted
        | Reason::RightMissing
        | Reason::IdentityTaken
        | Reason::IdentityNotFound
        | Reason::GroupFull
        | Reason::RoleMissing
        | Reason::LastOwner
        | Reason::MemberNotFound
        | Reason::FollowedTagsFull
        | Reason::AccountDeactivated
        | Reason::HandleTaken
        | Reason::HandleChangedTooOften
        | Reason::HandleChangeUnderWay
        | Reason::AccountPrivate
        | Reason::FollowRequestNotFound
        | Reason::RevisionStale => true,
        Reason::Unspecified
        | Reason::Unauthenticated
        | Reason::TokenExpired
        | Reason::SessionEnded
        | Reason::RevocationsBehind
        | Reason::IssuerKeysMissing
        | Reason::IssuerKeysStale
        | Reason::FieldInvalid
        | Reason::TextEmpty
        | Reason::TextTooLong
        | Reason::IdMalformed
        | Reason::PageTokenInvalid
        | Reason::ConsistencyTokenInvalid
        | Reason::ConsistencyTokenExpired
        | Reason::TooManyTokens
        | Reason::BatchTooLong
        | Reason::HandleInvalid
        | Reason::HandleReserved
        | Reason::RequestMalformed
        | Reason::HeadersTooLarge
        | Reason::RequestTooLarge
        | Reason::HandleLooksAlike
        | Reason::RequestIdReused
        | Reason::GenerationNotFound
        | Reason::DeadLetterNotFound
        | Reason::SelfNotAllowed
        | Reason::GenerationState
        | Reason::DeadLetterState
        | Reason::NotAGroup
        | Reason::NotTheAuthor
        | Reason::OnBehalfOfRefused
        | Reason::IdentityTokenInvalid
        | Reason::TokenExchanged
        | Reason::EventsNotOpen
        | Reason::MessageUnsent
        | Reason::EditTooLate
        | Reason::DeadlineTooShort
        | Reason::DeadlineExceeded
        | Reason::BehindToken
        | Reason::LogUnavailable
        | Reason::TablesUnavailable
        | Reason::OutcomeUnknown
        | Reason::FoldStopped
        | Reason::TablesBeingFilled
        | Reason::Overloaded
        | Reason::RateLimited
        | Reason::StreamTooSlow
        | Reason::SignUpClosed
        | Reason::MethodUnknown
        | Reason::CompressionUnknown
        | Reason::ContentTypeUnknown
        | Reason::Internal => false,
    }
}

/// When to retry; `None` if a retry alone does not help.
pub(crate) fn retry_delay(reason: Reason) -> Option<Duration> {
    match reason {
        Reason::BehindToken | Reason::OutcomeUnknown => Some(Duration::from_millis(100)),
        Reason::LogUnavailable
        | Reason::TablesUnavailable
        | Reason::TablesBeingFilled
        | Reason::RevocationsBehind
        | Reason::Overloaded => Some(Duration::from_secs(1)),
        Reason::FoldStopped | Reason::IssuerKeysMissing | Reason::IssuerKeysStale => Some(Duration::from_secs(30)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `errors.proto` ends the comment of each reason with its code; this keeps the two equal.
    #[test]
    fn codes_are_those_that_the_proto_documents() {
        let proto = include_str!("../../../proto/kith/errors/v1/errors.proto");
        let mut comment = String::new();
        let mut seen = 0;
        for line in proto.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("//") {
                comment.push_str(text);
            } else if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| name.starts_with("REASON_")) {
                let reason = Reason::from_str_name(name).unwrap();
                let code = format!("{:?}", code_of(reason));
                let documented = comment.replace('_', "").to_lowercase();
                assert!(reason == Reason::Unspecified || documented.contains(&code.to_lowercase()), "{name}: {code}");
                seen += 1;
                comment.clear();
            } else {
                comment.clear();
            }
        }
        assert!(seen > 30, "{seen}");
    }
}
