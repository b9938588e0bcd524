//! Why a bearer token is refused, and what its caller is told.

use crate::Failure;

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefused {
    /// Not a JWT at all.
    Malformed,
    /// Not signed by us, another algorithm, another audience, or another form.
    Forged,
    /// Of a trusted issuer, and not valid, or of nobody whom the callers' file names.
    Untrusted,
    Expired,
    /// Its session was ended.
    Revoked,
    /// Whether its session was ended is not known at the moment.
    Unconfirmed,
}

impl TokenRefused {
    /// As which word it is noted; `None`: whoever sends such a token tries nothing.
    pub(crate) fn as_attempt(self) -> Option<&'static str> {
        match self {
            Self::Malformed => Some("malformed"),
            Self::Forged => Some("forged"),
            Self::Untrusted => Some("untrusted"),
            Self::Revoked => Some("session-ended"),
            Self::Expired | Self::Unconfirmed => None,
        }
    }
}

impl From<TokenRefused> for Failure {
    fn from(refused: TokenRefused) -> Self {
        match refused {
            TokenRefused::Expired => Failure::token_expired(),
            TokenRefused::Revoked => Failure::session_ended(),
            TokenRefused::Unconfirmed => Failure::revocations_behind(),
            TokenRefused::Malformed => Failure::unauthenticated("the bearer token is malformed"),
            TokenRefused::Forged => Failure::unauthenticated("the bearer token was not made by this suite"),
            TokenRefused::Untrusted => {
                Failure::unauthenticated("the bearer token is none of a calling service that this suite trusts")
            }
        }
    }
}
