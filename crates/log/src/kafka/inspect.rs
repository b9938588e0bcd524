//! Checks everything about the brokers on which a log depends, as findings.

use kith_finding::{Finding, Weight};
use kith_runtime::Runtime;

use super::settings::KafkaSettings;
use super::topics::Topics;
use super::voice::Voice;
use crate::{LogError, PartitionIndex, Topic};

/// Looks at brokers and topics; changes nothing. Brokers that do not answer are a finding too, within some 3 s.
pub async fn inspect(
    settings: &KafkaSettings,
    partitions: PartitionIndex,
    topics: &[Topic],
    runtime: &Runtime,
) -> Vec<Finding> {
    let mut findings = vec![judge_settings(settings)];
    let voice = Voice::new(runtime.clone());
    let asked = Topics { settings, partitions, voice: &voice, runtime }.inspect(topics).await;
    match asked {
        Ok(found) => {
            findings.push(Finding::judged("brokers", "answer", ("yes", "any"), Weight::Sound, ""));
            findings.extend(found);
        }
        Err(error) => findings.push(silent(settings, &error)),
    }
    findings
}

fn judge_settings(settings: &KafkaSettings) -> Finding {
    let refused = settings.check().err().map(|error| match error {
        LogError::Contract(text) => text,
        other => other.to_string(),
    });
    let weight = if refused.is_some() { Weight::Wrong } else { Weight::Sound };
    let found = refused.unwrap_or_else(|| "fit".to_owned());
    let fix = "correct the settings, or set `profile = development` where this may be lost";
    Finding::judged("brokers", "settings of the client", (found, "fit"), weight, fix)
}

fn silent(settings: &KafkaSettings, error: &LogError) -> Finding {
    let why = match error {
        LogError::Unavailable(why) => why.clone(),
        other => other.to_string(),
    };
    let fix = format!("start the brokers, or correct `log`: it names {}", settings.bootstrap);
    Finding::judged("brokers", "answer", (format!("none ({why})"), "any"), Weight::Wrong, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn brokers_that_are_down_are_the_finding() {
        let settings = KafkaSettings {
            bootstrap: "127.0.0.1:1".to_owned(),
            client_id: "test".to_owned(),
            replication_factor: 3,
            forgetting_ms: -1,
            production: true,
            access: None,
        };
        let findings = inspect(&settings, 16, &crate::topics::ALL, &Runtime::system()).await;
        let names: Vec<_> = findings.iter().map(|finding| (&*finding.name, finding.weight)).collect();
        assert_eq!(names, [("settings of the client", Weight::Wrong), ("answer", Weight::Wrong)]);
        assert!(findings[0].found.contains("kafka_ca_file") && findings[1].fix.contains("127.0.0.1:1"));
    }
}
