//! Consistency tokens in clear, as the clients and the checks of the simulation hold them: they are sealed and opened once, where requests
//! and answers pass.

use kith_fold::Token;
use kith_log::LogPartition;
use kith_service::consistency_token::ConsistencyTokens;

pub fn text(token: &Token) -> String {
    token.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `None`: it is not what [`text`] gives.
pub fn token(text: &str) -> Option<Token> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    Token::from_bytes(&bytes?, LogPartition::MAX_COUNT)
}

/// As a service takes it; a text that is no token in clear as it is.
pub fn sealed(tokens: &ConsistencyTokens, text: String) -> String {
    let sealed = token(&text).and_then(|token| tokens.seal(&token).ok());
    sealed.unwrap_or(text)
}

/// What a service gave; a text that is no token of a service as it is.
pub fn opened(tokens: &ConsistencyTokens, given: String) -> String {
    tokens.open("token", &given).map_or(given, |token| text(&token))
}
