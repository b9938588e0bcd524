//! Consistency tokens as the bench's own servers seal them, and as its load opens them: with a key that every suite of the bench gets.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use kith_fold::Token;
use kith_runtime::Runtime;
use kith_service::consistency_token::ConsistencyTokens;
use kith_service::keys::CONSISTENCY_TOKEN_KEY_FILE;

use crate::world::PARTITIONS;

const KEY: [u8; 32] = [9; 32];

/// Puts the key into a folder of keys, for suites that start later.
pub fn put_key(folder: &Path) -> Result<()> {
    Ok(std::fs::write(folder.join(CONSISTENCY_TOKEN_KEY_FILE), KEY)?)
}

/// `None`: it is no token of a suite of the bench.
pub fn open(text: &str) -> Option<Token> {
    tokens().ok()?.open("token", text).ok()
}

pub fn seal(token: &Token) -> Result<String> {
    Ok(tokens()?.seal(token)?)
}

fn tokens() -> Result<&'static ConsistencyTokens> {
    static TOKENS: OnceLock<Option<ConsistencyTokens>> = OnceLock::new();
    let made = TOKENS.get_or_init(|| ConsistencyTokens::new(&KEY, PARTITIONS, Runtime::system()).ok());
    made.as_ref().context("the key is not fit")
}
