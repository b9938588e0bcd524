//! The limits of the surface, each a constant with its unit in its name, and the one table that the docs print.

use kith_text::{facets, handle, language};

pub use kith_text::TextLimit;

/// One line of the table of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub name: &'static str,
    pub value: u64,
    pub meaning: &'static str,
}

/// The limits as a Markdown table, for `docs/limits.md`.
pub fn table_markdown() -> String {
    let mut text = String::from("| Limit | Value | Meaning |\n|---|---|---|\n");
    for limit in TABLE {
        text.push_str(&format!("| `{}` | {} | {} |\n", limit.name, limit.value, limit.meaning));
    }
    text
}

/// Declares the constants and their table together, so that neither can be without the other.
macro_rules! limits {
    ($(#[doc = $meaning:literal] $name:ident: $type:ty = $value:expr;)*) => {
        $(#[doc = $meaning] pub const $name: $type = $value;)*

        /// Every limit, in the order in which they are declared.
        pub const TABLE: &[Limit] =
            &[$(Limit { name: stringify!($name), value: $name as u64, meaning: $meaning.trim_ascii() }),*];
    };
}

limits! {
    /// The shortest handle, in characters of `[a-z0-9_]`, lower-cased.
    HANDLE_CHARS_MIN: usize = handle::HANDLE_CHARS_MIN;
    /// The longest handle, in characters.
    HANDLE_CHARS_MAX: usize = handle::HANDLE_CHARS_MAX;
    /// How long a handle that an account has given up is held back for it, in seconds: until then nobody else gets it.
    HANDLE_HELD_SECONDS: u64 = 30 * 24 * 3_600;
    /// How often an account may change its handle in `HANDLE_CHANGES_SECONDS`.
    HANDLE_CHANGES: usize = 4;
    /// The time in which changes of a handle are counted, in seconds.
    HANDLE_CHANGES_SECONDS: u64 = 30 * 24 * 3_600;
    /// The shortest password, in characters.
    PASSWORD_CHARS_MIN: usize = 8;
    /// The longest password, in characters.
    PASSWORD_CHARS_MAX: usize = 128;
    /// The longest display name, in graphemes.
    DISPLAY_NAME_GRAPHEMES: usize = 64;
    /// The longest display name, in bytes of UTF-8.
    DISPLAY_NAME_BYTES: usize = 640;
    /// The longest bio, in graphemes.
    BIO_GRAPHEMES: usize = 256;
    /// The longest bio, in bytes of UTF-8.
    BIO_BYTES: usize = 2_560;
    /// Mentions, hashtags and links of one bio, in bytes of their wire form; further ones stay text.
    BIO_FACETS_BYTES: usize = 5_000;
    /// The longest pronouns, in graphemes.
    PRONOUNS_GRAPHEMES: usize = 32;
    /// The longest pronouns, in bytes of UTF-8.
    PRONOUNS_BYTES: usize = 320;
    /// The longest id of a picture in the media service, in characters of `[A-Za-z0-9._~-]`.
    MEDIA_ID_CHARS: usize = 128;
    /// Links of one profile.
    LINKS_PER_PROFILE: usize = 4;
    /// The longest link of a profile, in bytes.
    LINK_BYTES: usize = 512;
    /// The longest post, in graphemes.
    POST_GRAPHEMES: usize = 500;
    /// The longest post, in bytes of UTF-8.
    POST_BYTES: usize = 5_000;
    /// The longest comment, in graphemes.
    COMMENT_GRAPHEMES: usize = 500;
    /// The longest comment, in bytes of UTF-8.
    COMMENT_BYTES: usize = 5_000;
    /// The longest message, in graphemes.
    MESSAGE_GRAPHEMES: usize = 2_000;
    /// The longest message, in bytes of UTF-8.
    MESSAGE_BYTES: usize = 20_000;
    /// The longest beginning of a message that lists and quotes show, in graphemes ...
    MESSAGE_PREVIEW_GRAPHEMES: usize = 100;
    /// ... and in bytes of UTF-8.
    MESSAGE_PREVIEW_BYTES: usize = 1_000;
    /// Mentions, hashtags and links of one message, in bytes of their wire form; further ones stay text.
    MESSAGE_FACETS_BYTES: usize = 20_000;
    /// Media of one message.
    MEDIA_PER_MESSAGE: usize = 4;
    /// How long after a message its sender may edit it, in seconds, by the log's times of both.
    MESSAGE_EDIT_SECONDS: u64 = 15 * 60;
    /// Edits of one message that count.
    EDITS_PER_MESSAGE: usize = 16;
    /// The longest reaction to a message, one grapheme, in bytes of UTF-8.
    MESSAGE_REACTION_BYTES: usize = 64;
    /// Different reactions of one member to one message.
    REACTIONS_PER_MEMBER: usize = 5;
    /// Different reactions of all members to one message.
    REACTIONS_PER_MESSAGE: usize = 20;
    /// Stretches of unsent messages of one conversation that unread counts leave out, above the lowest read marker; behind more, only what is above the oldest of them counts as unread.
    UNSENT_STRETCHES: usize = 256;
    /// Messages that wait in a conversation which the other account has not accepted; further ones are refused.
    REQUEST_MESSAGES: usize = 3;
    /// Requests (conversations that strangers opened) that are listed one by one, the newest, and counted exactly.
    REQUESTS_LISTED: usize = 200;
    /// Further requests that are looked for, so that the list can say coarsely how many there are.
    REQUESTS_ESTIMATED: usize = 800;
    /// The most members of a group.
    GROUP_MEMBERS: usize = 100;
    /// The longest title of a group, in graphemes.
    GROUP_TITLE_GRAPHEMES: usize = 100;
    /// The longest title of a group, in bytes of UTF-8.
    GROUP_TITLE_BYTES: usize = 1_000;
    /// How often an account may leave a group and be added again until the messages of its first time there are lost to it.
    GROUP_WINDOWS_PER_ACCOUNT: usize = 16;
    /// Mentions, hashtags and links that are found in one text; further ones stay text.
    FACETS_PER_TEXT: usize = facets::FACETS_PER_TEXT;
    /// The longest hashtag, in characters, as written and as normalised; a longer one stays text.
    HASHTAG_CHARS_MAX: usize = facets::HASHTAG_CHARS_MAX;
    /// The longest query of a search for accounts, in characters.
    SEARCH_QUERY_CHARS: usize = 100;
    /// Words of such a query.
    SEARCH_QUERY_WORDS: usize = 8;
    /// Accounts that a search finds at most, over all pages.
    SEARCH_RESULTS: usize = 200;
    /// Accounts that a search ranks, if so many fit.
    SEARCH_CANDIDATES: usize = 512;
    /// Places of names that it looks at in the index.
    SEARCH_SCANNED: usize = 4_096;
    /// Places of follows of the caller whose accounts it looks at, the latest.
    SEARCH_FOLLOWED: usize = 1_000;
    /// Accounts whose names a process keeps in memory; of more a search does not find those that it met last, and says so.
    SEARCHED_ACCOUNTS: usize = 1_000_000;
    /// Places of follows of the caller, the latest, whose accounts suggestions go by.
    SUGGEST_FOLLOWED: usize = 64;
    /// Places of follows of each of these accounts, the latest, among which suggestions are.
    SUGGEST_OF_EACH: usize = 50;
    /// Accounts that are ranked to be suggested.
    SUGGEST_CANDIDATES: usize = 512;
    /// Accounts that are suggested at most, over all pages.
    SUGGESTIONS: usize = 100;
    /// People in between who are named with a suggestion.
    SUGGEST_NAMED: usize = 3;
    /// Hashtags that one account follows.
    FOLLOWED_TAGS: usize = 200;
    /// Languages of one post.
    LANGUAGES_PER_POST: usize = 3;
    /// The longest language tag, in characters.
    LANGUAGE_TAG_CHARS_MAX: usize = language::LANGUAGE_TAG_CHARS_MAX;
    /// The longest `request_id`, in printable ASCII characters.
    REQUEST_ID_CHARS: usize = 64;
    /// One record of the log: key, headers and value together, in bytes.
    RECORD_BYTES: usize = 64 * 1024;
    /// One request message, in bytes.
    REQUEST_BYTES: usize = 256 * 1024;
    /// One response message, in bytes.
    RESPONSE_BYTES: usize = 4 * 1024 * 1024;
    /// The headers of one request, in bytes: names, values and 32 per header.
    REQUEST_HEADER_BYTES: usize = 16 * 1024;
    /// Headers over this many bytes get HTTP/2's 431 without a reason.
    REQUEST_HEADER_BYTES_PARSED: u32 = 64 * 1024;
    /// Items on a page if the request sets no size.
    PAGE_SIZE_DEFAULT: usize = 50;
    /// The maximum of items on a page; a request for more gets this many.
    PAGE_SIZE_MAX: usize = 100;
    /// The longest content of a page token, in bytes.
    PAGE_CURSOR_BYTES: usize = 5 * 1_024;
    /// Items of one batch.
    BATCH_ITEMS: usize = 100;
    /// Consistency tokens of one request (`at_least`).
    TOKENS_PER_REQUEST: usize = 8;
    /// Consistency tokens that `MergeTokens` merges into one.
    TOKENS_PER_MERGE: usize = 1_000;
    /// The longest consistency token, in characters: every partition of every topic takes less, and the tokens of one request fit into one.
    CONSISTENCY_TOKEN_CHARS: usize = 30 * 1_024;
    /// The longest bearer token that is verified, in bytes.
    BEARER_TOKEN_BYTES: usize = 2_048;
    /// The longest token of a trusted issuer, in bytes.
    ISSUER_TOKEN_BYTES: usize = 8 * 1_024;
    /// How far ahead a trusted issuer's token may expire, in seconds; one that is valid for longer is refused.
    ISSUER_TOKEN_LIFETIME_SECONDS: u64 = 24 * 3_600;
    /// Keys of one trusted issuer; more than any rotation needs.
    ISSUER_KEYS: usize = 64;
    /// A trusted issuer's keys, fetched from its URL, in bytes.
    ISSUER_KEYS_BYTES: usize = 64 * 1024;
    /// How long such a fetch may take, in seconds.
    ISSUER_KEYS_FETCH_SECONDS: u64 = 10;
    /// How often they are fetched, in seconds; by up to a quarter more seldom, so that processes do not come together.
    ISSUER_KEYS_EVERY_SECONDS: u64 = 300;
    /// The least time between two such fetches, in seconds; after each failure twice as long, up to the regular time.
    ISSUER_KEYS_SOONEST_SECONDS: u64 = 30;
    /// How long they are used after they were fetched, in seconds; then the issuer's tokens are refused.
    ISSUER_KEYS_LIVE_SECONDS: u64 = 24 * 3_600;
    /// The longest subject that a trusted issuer names, in bytes.
    SUBJECT_BYTES: usize = 255;
    /// How long an access token is valid, in seconds.
    ACCESS_TOKEN_LIFETIME_SECONDS: u64 = 600;
    /// The longest refresh token, in characters.
    REFRESH_TOKEN_CHARS: usize = 256;
    /// How long after the first use of its last refresh token a session ends by itself, in seconds.
    SESSION_IDLE_SECONDS: u64 = 30 * 86_400;
    /// How long after a session was ended no process accepts its access tokens any more, in seconds: one that has not heard for so long which were ended accepts none.
    REVOCATIONS_KNOWN_SECONDS: u64 = 10;
    /// Ended sessions, and accounts with ended sessions, that a process keeps in mind while their access tokens could be accepted; with more, the oldest access tokens expire early.
    REVOCATIONS_HELD: usize = 262_144;
    /// A request with less time left than this is refused at once, in milliseconds.
    DEADLINE_MIN_MS: u64 = 5;
    /// How long before the caller's deadline the server answers, so that the reason still arrives, in milliseconds.
    DEADLINE_MARGIN_MS: u64 = 2;
    /// The same for waits (for tokens, verdicts, the log): some clients round their deadline up when they send it. At most a tenth of the deadline, in milliseconds ...
    DEADLINE_WAIT_MARGIN_MS: u64 = 20;
    /// ... and at least this much of it, in percent.
    DEADLINE_WAIT_MARGIN_PERCENT: u32 = 2;
    /// How long a request may take to arrive completely, in seconds; only then its call takes a place.
    REQUEST_ARRIVES_SECONDS: u64 = 5;
    /// Incompletely arrived requests of one connection, in bytes; more are shed.
    ARRIVING_BYTES_PER_CONNECTION: usize = 8 * 1024 * 1024;
    /// The same for all callers of one process, in bytes.
    ARRIVING_BYTES_PER_PROCESS: usize = 64 * 1024 * 1024;
    /// The same for all callers of one process without a valid bearer token, in bytes.
    ARRIVING_BYTES_ANONYMOUS: usize = 8 * 1024 * 1024;
    /// RPCs in flight in one process; more are shed.
    RPCS_IN_FLIGHT: usize = 640;
    /// The same during `OVERLOADED_FOR_MS` after RPCs were shed: such a load is no burst.
    RPCS_IN_FLIGHT_OVERLOADED: usize = 384;
    /// How long `RPCS_IN_FLIGHT_OVERLOADED` applies, in milliseconds.
    OVERLOADED_FOR_MS: u64 = 500;
    /// RPCs in flight of callers without a valid bearer token (CreateAccount, CreateSession, RefreshSession, health, all operators' RPCs), which have separate places; more are shed.
    RPCS_IN_FLIGHT_ANONYMOUS: usize = 128;
    /// One more place, stream, connection or byte is given while the source holds less than what is free; to a service less than so many times that.
    SHARE_OF_SERVICES: usize = 4;
    /// Points an hour of an account's rate, unless `rate_account` is set: what creates costs 3 (a group for each member), what changes 2, what deletes 1, what reads 1 per `ROWS_PER_POINT` rows asked for, a stream of updates 20.
    RATE_ACCOUNT_PER_HOUR: u64 = 5_000;
    /// Points of it at once.
    RATE_ACCOUNT_BURST: u64 = 1_000;
    /// Points an hour of a calling service's rate, unless `rate_service` is set.
    RATE_SERVICE_PER_HOUR: u64 = 18_000_000;
    /// Points of it at once.
    RATE_SERVICE_BURST: u64 = 100_000;
    /// Points an hour of the rate of an address whose callers have no account, unless `rate_address` is set.
    RATE_ADDRESS_PER_HOUR: u64 = 3_000;
    /// Points of it at once.
    RATE_ADDRESS_BURST: u64 = 300;
    /// Rows that a question may ask for at the price of one point: a page of the default size.
    ROWS_PER_POINT: u64 = PAGE_SIZE_DEFAULT as u64;
    /// Sources of one kind whose rate a process keeps in mind; with more, it forgets those that called least lately.
    RATE_SOURCES: usize = 65_536;
    /// Wrong passwords in a row that a source may send for one account without a wait; each further one doubles the wait, from 1 s.
    GUESSES_FREE: u32 = 5;
    /// The longest such wait, in seconds.
    GUESS_WAIT_SECONDS_MAX: u64 = 900;
    /// The same for a calling service that does not say from where its people call, in seconds.
    GUESS_WAIT_SECONDS_SERVICE: u64 = 30;
    /// How long after the last of them wrong passwords count, in seconds.
    GUESSES_FORGOTTEN_SECONDS: u64 = 86_400;
    /// Wrong passwords that an address may send at once, over all accounts to which it has not signed in lately ...
    GUESSES_AT_ONCE: u64 = 30;
    /// ... and an hour.
    GUESSES_PER_HOUR: u64 = 60;
    /// Pairs of account and source that a process keeps in mind for it; with more, it forgets the oldest.
    GUESSES_REMEMBERED: usize = 65_536;
    /// Sign-ups an hour from one address in production, unless `rate_sign_up` is set.
    SIGN_UPS_PER_HOUR: u64 = 20;
    /// Sign-ups from one address at once in production.
    SIGN_UPS_AT_ONCE: u64 = 10;
    /// Calls without an account that wait at a time for what a consistency token names; more are answered at once.
    WAITS_ANONYMOUS: usize = 32;
    /// How many subjects of one kind of security events a process tells apart per minute: so many without a principal, and so many with one. All others share one record.
    SECURITY_SUBJECTS_PER_MINUTE: usize = 16;
    /// The same for changed passwords.
    SECURITY_CHANGES_PER_MINUTE: usize = 256;
    /// Slowed guesses that a process tells the others of in a minute; more are only counted, and slowed in this process alone.
    SECURITY_TOLD_PER_MINUTE: usize = 256;
    /// Security events that wait in a process for the log; more are dropped and counted.
    SECURITY_RECORDS_WAITING: usize = 1_024;
    /// RPCs that one connection may have open at a time.
    STREAMS_PER_CONNECTION: u32 = 256;
    /// RPCs that one connection may cancel before the server has accepted them; with more it is closed (ENHANCE_YOUR_CALM).
    CANCELLED_UNSEEN_PER_CONNECTION: usize = 1_024;
    /// Streams that the server resets in the life of one connection (more open than allowed, bytes after the answer); with more it is closed (ENHANCE_YOUR_CALM).
    RESETS_PER_CONNECTION: usize = 16_384;
    /// Long-lived streams (watches, reflection) that one process has open at a time; more are shed.
    STREAMS_OPEN: usize = 5_120;
    /// Long-lived streams that one connection has open at a time; more are shed.
    STREAMS_OPEN_PER_CONNECTION: usize = 128;
    /// How often it is checked whether the caller of a long-lived stream may still call, in seconds.
    STREAM_CHECKED_SECONDS: u64 = 5;
    /// How long an update of a stream may wait for its caller to read the one before it, in seconds; then the stream is ended.
    STREAM_TAKEN_SECONDS: u64 = 60;
    /// Changes that wait for one caller of a stream to read them; with more it is ended.
    CHANGES_WAITING: usize = 256;
    /// Changes that a caller who comes back to a stream is told one by one; who missed more reads what changed.
    CHANGES_MISSED: usize = 1_024;
    /// Connections of callers to one process, if the limit of open files allows it; more are closed at once.
    CONNECTIONS: usize = 4_096;
    /// Connections to the operators' port; more are closed at once.
    ADMIN_CONNECTIONS: usize = 64;
    /// How long after its last call a connection to the operators' port is asked to close, in seconds.
    ADMIN_IDLE_SECONDS: u64 = 30;
    /// How long a connection may take for its TLS handshake, and then to start HTTP, in seconds each.
    HANDSHAKE_SECONDS: u64 = 10;
    /// TLS handshakes that one port has open at a time; more are closed at once.
    TLS_HANDSHAKES: usize = 512;
    /// How long an answer may wait for its caller to read it before the connection is cut, in seconds.
    ANSWER_TAKEN_SECONDS: u64 = 30;
    /// Unread answers of one connection, in bytes; more are shed.
    UNTAKEN_BYTES_PER_CONNECTION: usize = 8 * 1024 * 1024;
    /// Unread answers of all callers of one process, in bytes; more are shed.
    UNTAKEN_BYTES_PER_PROCESS: usize = 64 * 1024 * 1024;
    /// The age at which a connection is asked to close, so that callers spread over new replicas, in seconds.
    CONNECTION_AGE_SECONDS: u64 = 300;
    /// How often a connection is pinged, in seconds.
    KEEPALIVE_INTERVAL_SECONDS: u64 = 60;
    /// How long a connection may leave a ping unanswered, in seconds.
    KEEPALIVE_TIMEOUT_SECONDS: u64 = 20;
}

pub const DISPLAY_NAME: TextLimit = TextLimit { graphemes: DISPLAY_NAME_GRAPHEMES, bytes: DISPLAY_NAME_BYTES };
pub const BIO: TextLimit = TextLimit { graphemes: BIO_GRAPHEMES, bytes: BIO_BYTES };
pub const PRONOUNS: TextLimit = TextLimit { graphemes: PRONOUNS_GRAPHEMES, bytes: PRONOUNS_BYTES };
pub const POST: TextLimit = TextLimit { graphemes: POST_GRAPHEMES, bytes: POST_BYTES };
pub const COMMENT: TextLimit = TextLimit { graphemes: COMMENT_GRAPHEMES, bytes: COMMENT_BYTES };
pub const GROUP_TITLE: TextLimit = TextLimit { graphemes: GROUP_TITLE_GRAPHEMES, bytes: GROUP_TITLE_BYTES };
pub const MESSAGE: TextLimit = TextLimit { graphemes: MESSAGE_GRAPHEMES, bytes: MESSAGE_BYTES };
pub const MESSAGE_PREVIEW: TextLimit = TextLimit { graphemes: MESSAGE_PREVIEW_GRAPHEMES, bytes: MESSAGE_PREVIEW_BYTES };
pub const MESSAGE_REACTION: TextLimit = TextLimit { graphemes: 1, bytes: MESSAGE_REACTION_BYTES };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_in_the_printed_table_once() {
        let table = table_markdown();
        assert!(table.contains("| `POST_GRAPHEMES` | 500 | The longest post, in graphemes. |"), "{table}");
        for limit in TABLE {
            assert_eq!(table.matches(&format!("| `{}` |", limit.name)).count(), 1, "{}", limit.name);
        }
    }

    #[test]
    fn the_longest_texts_fit_into_a_record() {
        for limit in [DISPLAY_NAME, BIO, PRONOUNS, POST, COMMENT, MESSAGE, GROUP_TITLE] {
            assert!(limit.bytes >= limit.graphemes && limit.bytes < RECORD_BYTES / 2, "{limit:?}");
        }
        assert_eq!(RECORD_BYTES, kith_log::MAX_RECORD_BYTES);
    }
}
