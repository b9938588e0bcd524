//! `kith events`: records of a topic, decoded.

use clap::Args;
use clap::builder::RangedU64ValueParser;
use kith_log::{Topic, topics};
use kith_proto::ops::v1::event_service_client::EventServiceClient;
use kith_proto::ops::v1::{LoggedEvent, ReadEventsRequest};
use kith_proto::time::timestamp;
use kith_service::ids::parse_id;
use serde_json::{Value, json};

use super::client::{NotUnderstood, OpsOptions};
use super::{json as document, table};

/// Events that one command prints.
const LIMIT_MAX: u64 = 100_000;
const PAGE_SIZE: usize = kith_service::limits::PAGE_SIZE_MAX;
/// Topics whose records are keyed by the id of their subject.
const KEYED_BY_IDS: [Topic; 5] =
    [topics::IDENTITY, topics::POSTS, topics::POSTS_PRIVATE, topics::ENGAGEMENT, topics::MESSAGING];

#[derive(Debug, Args)]
pub struct EventsOptions {
    /// Which topic: `kith.posts.v1`, `kith.identity.v1`, …
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Only records of this key: for example a post's id
    #[arg(long, value_name = "KEY", conflicts_with = "partition")]
    key: Option<String>,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// From this offset on, in every partition that is read
    #[arg(long, value_name = "N", default_value_t = 0)]
    from_offset: u64,
    /// Only records written at this time or later: 2026-11-25T18:00:00Z
    #[arg(long, value_name = "TIME")]
    from_time: Option<jiff::Timestamp>,
    /// Only records written before this time
    #[arg(long, value_name = "TIME")]
    to_time: Option<jiff::Timestamp>,
    /// The maximum of printed events
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..=LIMIT_MAX))]
    limit: usize,
    #[command(flatten)]
    pub operators: OpsOptions,
}

/// The events found, and whether these are all.
#[derive(Default)]
struct Found {
    events: Vec<LoggedEvent>,
    searched: u64,
    more: bool,
}

pub async fn run(options: EventsOptions) -> anyhow::Result<()> {
    if options.key.as_deref() == Some("") {
        // An unset variable of a shell: not a wish to see every key.
        return Err(NotUnderstood("--key is empty".to_owned()).into());
    }
    let found = read(&options).await?;
    // A record written by hand may have any key, and is shown.
    if found.events.is_empty()
        && let Some(why) = options.why_no_record_has_its_key()
    {
        return Err(NotUnderstood(why).into());
    }
    if options.operators.json {
        document::print(&found.document()?);
        return Ok(());
    }
    crate::terminal::text(&found.table());
    let rest = if found.more { options.how_to_see_more() } else { "" };
    note!("{} events, {} records looked at{rest}", found.events.len(), found.searched);
    Ok(())
}

async fn read(options: &EventsOptions) -> anyhow::Result<Found> {
    let process = options.operators.connect().await?;
    let mut client = EventServiceClient::new(process.channel());
    client = client.max_decoding_message_size(kith_service::limits::RESPONSE_BYTES);
    let mut request = options.request();
    let mut found = Found::default();
    loop {
        request.page_size = i32::try_from(PAGE_SIZE.min(options.limit - found.events.len()))?;
        let mut caller = client.clone();
        let page = process.call(request.clone(), async move |request| caller.read_events(request).await).await?;
        found.events.extend(page.events);
        found.searched += page.records_searched;
        found.more = !page.next_page_token.is_empty();
        if !found.more || found.events.len() >= options.limit {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

impl EventsOptions {
    /// An offset applies to each partition that is read, so it continues a list only within one partition: a key has
    /// one.
    fn how_to_see_more(&self) -> &'static str {
        match self.key {
            Some(_) => "; there are more: a higher --limit, or --from-offset M, shows them",
            None => "; there are more: a higher --limit, or --partition N --from-offset M, shows them",
        }
    }

    /// `None` where the suite may write records with this key.
    fn why_no_record_has_its_key(&self) -> Option<String> {
        let key = self.key.as_deref()?;
        let is_keyed_by_ids = KEYED_BY_IDS.iter().any(|topic| topic.name == self.topic);
        let cannot_be = is_keyed_by_ids && parse_id("key", key).is_err();
        cannot_be.then(|| format!("--key `{key}` is no key of {}: they are ids, 32 characters of 0-9a-f", self.topic))
    }

    fn request(&self) -> ReadEventsRequest {
        let moment = |at: &jiff::Timestamp| timestamp(at.as_millisecond());
        ReadEventsRequest {
            topic: self.topic.clone(),
            key: self.key.clone().unwrap_or_default(),
            partition: self.partition,
            from_offset: self.from_offset,
            from_time: self.from_time.as_ref().map(moment),
            to_time: self.to_time.as_ref().map(moment),
            ..ReadEventsRequest::default()
        }
    }
}

impl Found {
    fn table(&self) -> String {
        let rows: Vec<_> = self.events.iter().map(row).collect();
        table::aligned(&["place", "time", "type", "key", "id", "by", "event"], &rows)
    }

    /// It contains the events' JSON as JSON, not as text.
    fn document(&self) -> anyhow::Result<Value> {
        let unfolded = |event| document::unfolded("kith.ops.v1.LoggedEvent", event, ("eventJson", "event"));
        let events = self.events.iter().map(unfolded).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(json!({"events": events, "recordsSearched": self.searched, "more": self.more}))
    }
}

fn row(event: &LoggedEvent) -> Vec<String> {
    let short_type = event.r#type.rsplit('.').next().unwrap_or_default();
    let what = match &*event.event_json {
        "" => format!("({})", event.undecoded_reason),
        json => json.to_owned(),
    };
    let place = format!("{}@{}", event.partition, event.offset);
    let [time, kind, key] = [&event.record_time, short_type, &event.key].map(table::or_dash);
    vec![place, time, kind, key, table::or_dash(&event.record_id), table::or_dash(&event.principal), what]
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn event(json: &str, reason: &str) -> LoggedEvent {
        LoggedEvent {
            partition: 3,
            offset: 7,
            key: "a\u{1b}b".to_owned(),
            r#type: "kith.posts.v1.PostCreated".to_owned(),
            event_json: json.to_owned(),
            undecoded_reason: reason.to_owned(),
            principal: "web".to_owned(),
            ..LoggedEvent::default()
        }
    }

    #[test]
    fn events_are_a_table_for_people() {
        let events = vec![event(r#"{"a":1}"#, ""), event("", "malformed")];
        let table = Found { events, searched: 9, more: false }.table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "place  time  type         key       id  by   event");
        assert_eq!(lines[1], r#"3@7    -     PostCreated  a\u{1b}b  -   web  {"a":1}"#);
        assert!(lines[2].ends_with("(malformed)"));
    }

    fn options(topic: &str, arguments: &[&str]) -> EventsOptions {
        let command = EventsOptions::augment_args(clap::Command::new("events"));
        let given = command.get_matches_from(["events", "--topic", topic].iter().chain(arguments));
        EventsOptions::from_arg_matches(&given).unwrap()
    }

    #[test]
    fn an_offset_is_said_to_go_on_in_one_partition() {
        assert!(options("t", &[]).how_to_see_more().contains("--partition N --from-offset M"));
        assert!(!options("t", &["--key", "k"]).how_to_see_more().contains("--partition"));
    }

    #[test]
    fn a_key_that_cannot_be_is_told_from_one_that_is_not_there() {
        let why = |topic: &str, key: &str| options(topic, &["--key", key]).why_no_record_has_its_key();
        let (id, upper) = ("0a".repeat(16), "0A".repeat(16));
        assert_eq!(why("kith.posts.v1", &id), None);
        for key in ["p", &id[1..], &upper] {
            let why = why("kith.posts.v1", key).unwrap();
            assert!(why.contains(key) && why.contains("kith.posts.v1"), "{why}");
        }
        assert_eq!(why("kith.ops.v1", "operators"), None);
        assert_eq!(options("kith.posts.v1", &[]).why_no_record_has_its_key(), None);
    }

    #[test]
    fn an_event_is_json_within_json() {
        let found = Found { events: vec![event(r#"{"a":1}"#, ""), event("", "why")], searched: 9, more: true };
        let document = found.document().unwrap();
        let first = &document["events"][0];
        assert_eq!(
            (&first["event"]["a"], &first["offset"], &first["eventJson"]),
            (&json!(1), &json!("7"), &Value::Null)
        );
        assert_eq!(document["events"][1]["undecodedReason"], "why");
        assert_eq!((&document["recordsSearched"], &document["more"]), (&json!(9), &json!(true)));
    }
}
