//! `kith dead-letters`: records that could not be decoded, and decisions about them.

use std::fmt::Write;

use clap::{Args, Subcommand};
use kith_proto::ops::v1::event_service_client::EventServiceClient;
use kith_proto::ops::v1::{
    DeadLetterState, DeadLetterSummary, DiscardDeadLetterRequest, GetDeadLetterRequest, GetDeadLetterResponse,
    ListDeadLettersRequest, ListDeadLettersResponse, RetryDeadLetterRequest,
};
use serde_json::json;

use super::client::{Line, OpsOptions, Process};
use super::{json as document, table};

/// Letters that one command prints.
const LETTERS_MAX: usize = 10_000;
const BYTES_PER_LINE: usize = 16;

#[derive(Debug, Args)]
pub struct DeadLettersOptions {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    pub operators: OpsOptions,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// All of them, oldest first (the default)
    #[command(after_help = "Example:\n  kith dead-letters list --open --topic kith.posts.v1")]
    List {
        /// Only undecided ones
        #[arg(long)]
        open: bool,
        /// Only those from this topic
        #[arg(long, value_name = "TOPIC")]
        topic: Option<String>,
    },
    /// One of them, with its bytes
    #[command(after_help = "Example:\n  kith dead-letters show 000102030405060708090a0b0c0d0e0f")]
    Show { id: String },
    /// Appends its bytes again, at the end of their topic: after an upgrade that can decode them
    #[command(after_help = "Example:\n  kith dead-letters retry 000102030405060708090a0b0c0d0e0f")]
    Retry { id: String },
    /// Marks it as needing no more attention
    #[command(
        after_help = "Example:\n  kith dead-letters discard 000102030405060708090a0b0c0d0e0f --note 'written by a test'"
    )]
    Discard {
        id: String,
        /// Why, in up to 500 bytes
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
}

pub async fn run(options: DeadLettersOptions) -> anyhow::Result<()> {
    let process = options.operators.connect().await?;
    let client = EventServiceClient::new(process.channel());
    let client = client.max_decoding_message_size(kith_service::limits::RESPONSE_BYTES);
    let desk = Desk { client, process, json: options.operators.json };
    match options.what.unwrap_or(What::List { open: false, topic: None }) {
        What::List { open, topic } => desk.list(open, topic.unwrap_or_default()).await,
        What::Show { id } => desk.show(id).await,
        What::Retry { id } => desk.retry(id).await,
        What::Discard { id, note } => desk.discard(id, note).await,
    }
}

struct Desk {
    client: EventServiceClient<Line>,
    process: Process,
    json: bool,
}

impl Desk {
    async fn list(self, open_only: bool, origin_topic: String) -> anyhow::Result<()> {
        let mut request = ListDeadLettersRequest { open_only, origin_topic, page_size: 100, ..Default::default() };
        let mut all = ListDeadLettersResponse::default();
        loop {
            let mut client = self.client.clone();
            let call = async move |request| client.list_dead_letters(request).await;
            let page = self.process.call(request.clone(), call).await?;
            all.letters.extend(page.letters);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() || all.letters.len() >= LETTERS_MAX {
                break;
            }
        }
        let more = !request.page_token.is_empty();
        if self.json {
            let mut letters = document::of("kith.ops.v1.ListDeadLettersResponse", &all)?;
            letters["more"] = json!(more);
            document::print(&letters);
            return Ok(());
        }
        crate::terminal::text(&letters_table(&all.letters));
        let rest = if more { "; there are more" } else { "" };
        note!("{} dead letters{rest}", all.letters.len());
        Ok(())
    }

    async fn show(mut self, letter_id: String) -> anyhow::Result<()> {
        let request = GetDeadLetterRequest { letter_id };
        let letter =
            self.process.call(request, async move |request| self.client.get_dead_letter(request).await).await?;
        if self.json {
            document::print(&document::of("kith.ops.v1.GetDeadLetterResponse", &letter)?);
        } else {
            crate::terminal::text(&letter_text(&letter));
        }
        Ok(())
    }

    async fn retry(mut self, letter_id: String) -> anyhow::Result<()> {
        let request = RetryDeadLetterRequest { letter_id };
        let done =
            self.process.call(request, async move |request| self.client.retry_dead_letter(request).await).await?;
        if self.json {
            document::print(&document::of("kith.ops.v1.RetryDeadLetterResponse", &done)?);
        } else {
            say!("appended as record {} at {}/{}@{}", done.record_id, done.topic, done.partition, done.offset);
        }
        Ok(())
    }

    async fn discard(mut self, letter_id: String, note: String) -> anyhow::Result<()> {
        let request = DiscardDeadLetterRequest { letter_id: letter_id.clone(), note };
        self.process.call(request, async move |request| self.client.discard_dead_letter(request).await).await?;
        if self.json {
            document::print(&json!({"discarded": letter_id}));
        } else {
            say!("discarded {letter_id}");
        }
        Ok(())
    }
}

fn state(letter: &DeadLetterSummary) -> &'static str {
    match letter.state() {
        DeadLetterState::Open => "open",
        DeadLetterState::Retried => "retried",
        DeadLetterState::Discarded => "discarded",
        DeadLetterState::Unspecified => "unknown",
    }
}

fn origin(letter: &DeadLetterSummary) -> String {
    format!("{}/{}@{}", letter.origin_topic, letter.origin_partition, letter.origin_offset)
}

fn set_aside(letter: &DeadLetterSummary) -> String {
    letter.set_aside_time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

fn letters_table(letters: &[DeadLetterSummary]) -> String {
    let row = |letter: &DeadLetterSummary| {
        let id = letter.letter_id.clone();
        vec![id, state(letter).to_owned(), set_aside(letter), origin(letter), letter.reason.clone()]
    };
    let rows: Vec<_> = letters.iter().map(row).collect();
    table::aligned(&["id", "state", "set aside", "origin", "reason"], &rows)
}

fn letter_text(answer: &GetDeadLetterResponse) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<10} {}", table::plain(value));
    };
    let letter = answer.letter.clone().unwrap_or_default();
    line("id", &letter.letter_id);
    line("state", state(&letter));
    for (name, value) in [("retried as", &letter.retried_as_record_id), ("note", &letter.discard_note)] {
        if !value.is_empty() {
            line(name, value);
        }
    }
    line("set aside", &set_aside(&letter));
    line("origin", &origin(&letter));
    line("reason", &letter.reason);
    if letter.origin_topic.contains(".private.") {
        line("content", "of a private topic: not shown");
        return text;
    }
    line("key", &String::from_utf8_lossy(&answer.key));
    for header in &answer.headers {
        line("header", &format!("{}: {}", header.name, String::from_utf8_lossy(&header.value)));
    }
    line("value", &format!("{} bytes", answer.value.len()));
    text.push_str(&hex(&answer.value));
    text
}

/// Offset, bytes, and what of them is printable ASCII.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes.chunks(BYTES_PER_LINE).enumerate() {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let ascii: String = line.iter().map(printable).collect();
        let width = BYTES_PER_LINE * 3 - 1;
        let _ = writeln!(text, "  {:06x}  {:<width$}  {ascii}", number * BYTES_PER_LINE, hex.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(topic: &str) -> DeadLetterSummary {
        DeadLetterSummary {
            letter_id: "0a".repeat(16),
            origin_topic: topic.to_owned(),
            origin_partition: 2,
            origin_offset: 9,
            reason: "malformed".to_owned(),
            state: DeadLetterState::Discarded.into(),
            discard_note: "ours".to_owned(),
            ..DeadLetterSummary::default()
        }
    }

    #[test]
    fn letters_are_a_table() {
        let table = letters_table(&[letter("kith.posts.v1")]);
        let line = table.lines().nth(1).unwrap();
        assert_eq!(line, format!("{}  discarded  -          kith.posts.v1/2@9  malformed", "0a".repeat(16)));
    }

    #[test]
    fn a_letter_shows_its_bytes_and_none_of_a_private_topic() {
        let answer = GetDeadLetterResponse {
            letter: Some(letter("kith.posts.v1")),
            value: b"\xff\x00post"[..].into(),
            ..Default::default()
        };
        let text = letter_text(&answer);
        assert!(text.contains("note       ours\n") && text.contains("000000  ff 00 70 6f 73 74 "), "{text}");
        assert!(text.ends_with("  ..post\n"), "{text}");
        let private = GetDeadLetterResponse { letter: Some(letter("kith.posts.private.v1")), ..answer };
        assert!(letter_text(&private).ends_with("not shown\n"));
    }
}
