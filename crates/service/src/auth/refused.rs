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
    /// Of a trusted issuer, and its key is none of the issuer's that are known here.
    KeyUnknown,
    /// Of a trusted issuer, whose keys were never fetched here.
    KeysMissing,
    /// Of a trusted issuer, whose keys could not be fetched for so long that the last ones are not used any more.
    KeysStale,
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
            Self::KeyUnknown => Some("key-unknown"),
            Self::Revoked => Some("session-ended"),
            Self::Expired | Self::Unconfirmed | Self::KeysMissing | Self::KeysStale => None,
        }
    }

    /// Whether the token may be good, and it is this process that cannot say so at the moment.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Unconfirmed | Self::KeysMissing | Self::KeysStale)
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
            TokenRefused::KeysMissing => Failure::issuer_keys_missing(),
            TokenRefused::KeysStale => Failure::issuer_keys_stale(),
            TokenRefused::Untrusted | TokenRefused::KeyUnknown => {
                Failure::unauthenticated("the bearer token is none of a calling service that this suite trusts")
            }
        }
    }
}
