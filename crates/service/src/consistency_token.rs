//! Consistency tokens as callers hold them: sealed, so that nobody reads in one how many records others made, and nobody makes one up
//! (ADR 26). Every service opens what any other has sealed.
//!
//! A token is base64url of: the format (1 byte), the key's id (4), a nonce (12), the sealed content, a tag (16). The content is its
//! length (2), the token's bytes, and zeros up to the next of a few sizes.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kith_fold::Token;
use kith_log::PartitionIndex;
use kith_runtime::Runtime;
use sha2::{Digest, Sha256};

use crate::Failure;
use crate::keys::secret::Secret;
use crate::limits::CONSISTENCY_TOKEN_CHARS;

const FORMAT: u8 = 3;
/// Tokens of the release before, in clear: anybody could make them up.
const FORMAT_IN_CLEAR: u8 = 2;
const KEY_ID_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_LEN;
const TAG_BYTES: usize = 16;
const LENGTH_BYTES: usize = 2;
/// The smallest content: one or two positions, as most commands' tokens have.
const CONTENT_BYTES_MIN: usize = 32;
const CONTENT_BYTES_MAX: usize = CONSISTENCY_TOKEN_CHARS / 4 * 3 - HEAD_BYTES - TAG_BYTES;

/// Seals and opens consistency tokens. All processes of the suite share the key; cheap to clone.
#[derive(Clone)]
pub struct ConsistencyTokens {
    shared: Arc<Shared>,
}

struct Shared {
    current: Key,
    /// What is opened too, while one key follows another.
    beside: Vec<Key>,
    /// Of every topic.
    partitions: PartitionIndex,
    runtime: Runtime,
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    aead: LessSafeKey,
}

/// Why a text is no token.
enum Refused {
    /// Not sealed by this suite.
    Invalid,
    /// Sealed with a key that is not there any more, or never was.
    Expired,
}

impl ConsistencyTokens {
    /// `partitions`: how many every topic has.
    pub fn new(key: impl Into<Secret>, partitions: PartitionIndex, runtime: Runtime) -> Result<Self, Failure> {
        let Secret { current, beside } = key.into();
        let beside = beside.iter().map(Key::of).collect::<Result<_, _>>()?;
        Ok(Self { shared: Arc::new(Shared { current: Key::of(&current)?, beside, partitions, runtime }) })
    }

    /// The token as a caller gets it. Two of one token differ.
    pub fn seal(&self, token: &Token) -> Result<String, Failure> {
        let Shared { current, runtime, .. } = &*self.shared;
        let mut nonce = [0; NONCE_LEN];
        runtime.fill_random(&mut nonce).map_err(|error| Failure::defect("sealing a consistency token", &error))?;
        let mut sealed = vec![FORMAT];
        sealed.extend(current.id);
        sealed.extend(nonce);
        let content = padded(&token.to_bytes()).ok_or_else(Failure::internal)?;
        sealed.extend(content);
        let (head, content) = sealed.split_at_mut(HEAD_BYTES);
        let tag =
            current.aead.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*head), content);
        sealed.extend_from_slice(tag.map_err(|_| Failure::internal())?.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The token in `text`, which stands in `field`. Fails INVALID_ARGUMENT, CONSISTENCY_TOKEN_INVALID for what was not sealed by this
    /// suite, and FAILED_PRECONDITION, CONSISTENCY_TOKEN_EXPIRED for what was sealed with another key.
    pub fn open(&self, field: &str, text: &str) -> Result<Token, Failure> {
        self.opened(text).map_err(|refused| match refused {
            Refused::Invalid => Failure::consistency_token_invalid(field),
            Refused::Expired => Failure::consistency_token_expired(field),
        })
    }

    fn opened(&self, text: &str) -> Result<Token, Refused> {
        if text.len() > CONSISTENCY_TOKEN_CHARS {
            return Err(Refused::Invalid);
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refused::Invalid)?;
        match bytes.first() {
            Some(&FORMAT) => {}
            Some(&FORMAT_IN_CLEAR) => return Err(Refused::Expired),
            _ => return Err(Refused::Invalid),
        }
        let (head, sealed) = bytes.split_at_mut_checked(HEAD_BYTES).ok_or(Refused::Invalid)?;
        let (id, nonce) = head[1..].split_at(KEY_ID_BYTES);
        let Shared { current, beside, partitions, .. } = &*self.shared;
        let key = std::iter::once(current).chain(beside).find(|key| key.id == id).ok_or(Refused::Expired)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Refused::Invalid)?;
        let content = key.aead.open_in_place(nonce, Aad::from(&*head), sealed).map_err(|_| Refused::Invalid)?;
        let token = unpadded(content).and_then(|bytes| Token::from_bytes(bytes, *partitions));
        token.ok_or(Refused::Invalid)
    }
}

impl Key {
    fn of(key: &[u8; 32]) -> Result<Self, Failure> {
        let digest = Sha256::new().chain_update("kith.consistency-token-key.v1").chain_update(key).finalize();
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        let key = UnboundKey::new(&AES_256_GCM_SIV, key).map_err(|_| Failure::internal())?;
        Ok(Self { id, aead: LessSafeKey::new(key) })
    }
}

/// Up to the next power of two: what shows is in how many partitions of the suite there is anything. `None`: it is too long.
fn padded(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = LENGTH_BYTES + bytes.len();
    let size = length.next_power_of_two().clamp(CONTENT_BYTES_MIN, CONTENT_BYTES_MAX);
    let mut content = Vec::with_capacity(size);
    content.extend(u16::try_from(bytes.len()).ok()?.to_be_bytes());
    content.extend_from_slice(bytes);
    (length <= size).then(|| {
        content.resize(size, 0);
        content
    })
}

fn unpadded(content: &[u8]) -> Option<&[u8]> {
    let (length, rest) = content.split_first_chunk::<LENGTH_BYTES>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, topics};

    use super::*;

    fn tokens(key: u8) -> ConsistencyTokens {
        ConsistencyTokens::new(&[key; 32], 16, Runtime::system()).unwrap()
    }

    fn position(index: u16, offset: u64) -> Position {
        Position { partition: LogPartition { topic: topics::POSTS, index }, offset }
    }

    fn reason(opened: Result<Token, Failure>) -> &'static str {
        opened.map_or_else(|failure| failure.reason_name(), |_| "OK")
    }

    fn everything(offset: u64) -> Token {
        let all = topics::ALL.into_iter().flat_map(|topic| (0..16).map(move |index| LogPartition { topic, index }));
        all.map(|partition| Position { partition, offset }).collect()
    }

    #[test]
    fn a_token_opens_wherever_the_key_is() {
        for token in [Token::default(), position(3, 9).into(), everything(u64::MAX >> 1).at(1_700_000_000_000_000)] {
            let sealed = tokens(1).seal(&token).unwrap();
            assert_eq!(tokens(1).open("at_least", &sealed), Ok(token.clone()));
            assert_ne!(tokens(1).seal(&token).unwrap(), sealed, "that nothing happened in between does not show");
        }
    }

    #[test]
    fn nothing_of_the_log_shows() {
        let length = |token: &Token| tokens(1).seal(token).unwrap().len();
        let one = |offset| length(&Token::from(position(3, offset)).at(1_700_000_000_000_000));
        assert_eq!([one(0), one(1_000), one(1 << 40)], [87; 3]);
        assert_eq!(length(&everything(10)), length(&everything(100)));
        let sizes: std::collections::BTreeSet<usize> =
            (0..600).filter_map(|bytes| Some(padded(&vec![1; bytes])?.len())).collect();
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [32, 64, 128, 256, 512, 1_024]);
        assert_eq!(
            padded(&[1; CONTENT_BYTES_MAX - LENGTH_BYTES]).map(|content| content.len()),
            Some(CONTENT_BYTES_MAX)
        );
        assert!(padded(&[1; CONTENT_BYTES_MAX - LENGTH_BYTES + 1]).is_none());
    }

    #[test]
    fn what_was_not_sealed_here_is_no_token() {
        let sealed = tokens(1).seal(&position(3, 9).into()).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            let expected = if (1..1 + KEY_ID_BYTES).contains(&at) {
                "CONSISTENCY_TOKEN_EXPIRED"
            } else {
                "CONSISTENCY_TOKEN_INVALID"
            };
            assert_eq!(reason(tokens(1).open("at_least", &URL_SAFE_NO_PAD.encode(changed))), expected, "{at}");
            let cut = URL_SAFE_NO_PAD.encode(&bytes[..at]);
            assert_eq!(reason(tokens(1).open("at_least", &cut)), "CONSISTENCY_TOKEN_INVALID", "{at}");
        }
        // As it was made up before: all of it in clear, behind the id of the key.
        let mut made_up = vec![FORMAT];
        made_up.extend(tokens(1).shared.current.id);
        made_up.extend([0; NONCE_LEN]);
        made_up.extend(padded(&Token::from(position(3, 9)).to_bytes()).unwrap());
        made_up.extend([0; TAG_BYTES]);
        assert_eq!(reason(tokens(1).open("at_least", &URL_SAFE_NO_PAD.encode(made_up))), "CONSISTENCY_TOKEN_INVALID");
        for bad in ["", "A", "!", "AQ", &"A".repeat(CONSISTENCY_TOKEN_CHARS + 1)] {
            assert_eq!(reason(tokens(1).open("at_least", bad)), "CONSISTENCY_TOKEN_INVALID", "{bad}");
        }
    }

    #[test]
    fn another_key_and_the_form_before_have_expired() {
        let sealed = tokens(1).seal(&position(3, 9).into()).unwrap();
        let failure = tokens(2).open("at_least", &sealed).unwrap_err();
        assert_eq!(
            (failure.code(), failure.reason_name()),
            (tonic::Code::FailedPrecondition, "CONSISTENCY_TOKEN_EXPIRED")
        );
        assert_eq!(failure.field_violations()[0].field, "at_least");
        let in_clear = URL_SAFE_NO_PAD.encode([FORMAT_IN_CLEAR, 0, 1, 2, 3]);
        assert_eq!(reason(tokens(1).open("at_least", &in_clear)), "CONSISTENCY_TOKEN_EXPIRED");
        let rotating = Secret { current: [2; 32], beside: vec![[3; 32], [1; 32]] };
        let rotating = ConsistencyTokens::new(rotating, 16, Runtime::system()).unwrap();
        assert_eq!(reason(rotating.open("at_least", &sealed)), "OK");
        assert_eq!(reason(tokens(2).open("at_least", &rotating.seal(&Token::default()).unwrap())), "OK");
    }

    #[test]
    fn a_partition_that_there_is_not_is_none() {
        let sealed = tokens(1).seal(&position(9, 9).into()).unwrap();
        let fewer = ConsistencyTokens::new(&[1; 32], 9, Runtime::system()).unwrap();
        assert_eq!(reason(fewer.open("at_least", &sealed)), "CONSISTENCY_TOKEN_INVALID");
    }

    /// `cargo test --release -p kith-service -- --ignored --nocapture sealing`: the figures of ADR 26.
    #[test]
    #[ignore = "it measures, and says nothing about right or wrong"]
    fn what_sealing_costs() {
        let (tokens, times) = (tokens(1), 200_000_u32);
        for (name, token) in [("one position", Token::from(position(3, 9_000))), ("every partition", everything(9_000))]
        {
            let token = token.at(1_700_000_000_000_000);
            let began = std::time::Instant::now();
            for _ in 0..times {
                std::hint::black_box(tokens.seal(std::hint::black_box(&token)).unwrap());
            }
            let (sealing, text) = (began.elapsed() / times, tokens.seal(&token).unwrap());
            let began = std::time::Instant::now();
            for _ in 0..times {
                std::hint::black_box(tokens.open("", std::hint::black_box(&text)).unwrap());
            }
            let opening = began.elapsed() / times;
            let began = std::time::Instant::now();
            for _ in 0..times {
                let bytes = std::hint::black_box(&token).to_bytes();
                std::hint::black_box(Token::from_bytes(&bytes, 16));
            }
            let plain = began.elapsed() / times;
            println!("{name}: {} characters; sealed in {sealing:?}, opened in {opening:?}", text.len());
            println!("  of both together, what tokens in clear cost too: {plain:?}");
        }
    }
}
