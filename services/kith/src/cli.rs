//! The command line.

use clap::{Args, Parser, Subcommand};
use kith_service::config::{ConfigError, Origin, Settings};
use serde_json::{Value, json};

use crate::flags::SettingFlags;
use crate::rights::Form;

/// Kith: a social engagement suite over an event log.
#[derive(Debug, Parser)]
#[command(
    name = "kith",
    version,
    about,
    after_help = "Settings: `kith settings` lists them; flags win over KITH_* over kith.toml.\n\
                  Exits with 0 when all went well; 1 when what it checks is not so, or it was refused, cut off or could not run; \
                  2 when the command, a setting or a name in them is not understood; 141 when nobody reads what it prints."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves: all services in this process, or those named by --services.
    #[command(
        after_help = "Example:\n  kith run\n  kith run --services identity --log kafka:127.0.0.1:9092 --tables cql:127.0.0.1:9042"
    )]
    Run(SettingFlags),
    /// Creates missing topics, keyspaces and keys; idempotent. An embedded `kith run` does it by itself.
    #[command(
        after_help = "Examples:\n  kith init --log kafka:127.0.0.1:9092 --tables cql:127.0.0.1:9042\n  kith init --print strimzi | kubectl -n kafka apply -f -"
    )]
    Init(InitOptions),
    /// Prints records of the log, decoded; asks a running `kith run`.
    #[command(
        after_help = "Examples:\n  kith events --topic kith.posts.v1 --key 000102030405060708090a0b0c0d0e0f\n  kith events --topic kith.identity.v1 --from-time 2026-11-25T18:00:00Z --limit 500 --json"
    )]
    Events(crate::operator::events::EventsOptions),
    /// Prints what was refused, what changed about who may do what, and what operators decided; asks a running `kith run`.
    #[command(
        after_help = "Examples:\n  kith audit --from-time 2026-11-25T18:00:00Z\n  kith audit --kind login-refused --kind limit-met --account 000102030405060708090a0b0c0d0e0f --json"
    )]
    Audit(crate::operator::audit::AuditOptions),
    /// Lists, shows, retries and discards records that could not be decoded; asks a running `kith run`.
    #[command(after_help = "Examples:\n  kith dead-letters\n  kith dead-letters list --open --json")]
    DeadLetters(crate::operator::dead_letters::DeadLettersOptions),
    /// Checks everything that a suite with these settings depends on, and says what to change; changes nothing.
    #[command(
        after_help = "Examples:\n  kith doctor\n  kith doctor --log kafka:127.0.0.1:9092 --tables cql:127.0.0.1:9042 --json"
    )]
    Doctor(crate::operator::doctor::DoctorOptions),
    /// Shows the keys in `keys_dir`, or lets a new key follow one of them, in three steps.
    #[command(
        after_help = "Examples:\n  kith keys\n  kith keys --rotate signing\n\nA rotation is this command three times, and a restart of all processes after each: docs/operating.md has it in full."
    )]
    Keys(crate::keys::KeysOptions),
    #[command(flatten)]
    Projection(crate::operator::projections::ProjectionCommand),
    /// Prints every setting as a table: name, environment variable, default, meaning; with --json the values here.
    #[command(after_help = "Examples:\n  kith settings\n  kith settings --json --config kith.toml")]
    Settings(SettingsOptions),
}

impl Cli {
    /// The settings of the command.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let flags = match &self.command {
            Command::Run(flags) => flags.given.clone(),
            Command::Init(options) => options.settings.given.clone(),
            Command::Doctor(options) => options.settings.given.clone(),
            Command::Events(options) => options.operators.settings(),
            Command::Audit(options) => options.operators.settings(),
            Command::DeadLetters(options) => options.operators.settings(),
            Command::Projection(command) => command.operators().settings(),
            Command::Keys(options) => options.settings.given.clone(),
            Command::Settings(options) => options.settings.given.clone(),
        };
        Settings::load(flags)
    }
}

#[derive(Debug, Args)]
pub struct InitOptions {
    /// Only prints the rights that each service needs, and creates nothing
    #[arg(long, value_name = "FORM")]
    pub print: Option<Form>,
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Debug, Args)]
pub struct SettingsOptions {
    /// Prints the value and the source of each setting here, as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

impl SettingsOptions {
    /// The table of all settings, or the document of their values.
    pub fn print(&self, settings: &Settings) {
        if !self.json {
            crate::terminal::text(&kith_service::config::table_markdown());
            return;
        }
        let shown = |(key, value, origin): (&str, &str, &Origin)| {
            (key.to_owned(), json!({ "value": value, "origin": origin.to_string() }))
        };
        crate::operator::json::print(&Value::Object(settings.sources().map(shown).collect()));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_is_a_setting() {
        let cli = Cli::parse_from(["kith", "run", "--push-threshold", "5", "--services", "posts"]);
        let Command::Run(flags) = cli.command else { panic!("not run") };
        let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(flags.given, [given("services", "posts"), given("push_threshold", "5")]);
    }

    #[test]
    fn operators_name_the_file_of_the_suite() {
        for arguments in [&["projections"][..], &["promote", "feeds"], &["dead-letters", "list"]] {
            let cli = Cli::parse_from(["kith"].iter().chain(arguments).chain(&["--config", "/nowhere/other.toml"]));
            let error = cli.settings().unwrap_err().to_string();
            assert!(error.contains("other.toml"), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn that_a_rollback_is_a_toggle_is_said() {
        let help = Cli::command().find_subcommand_mut("rollback").map(|command| command.render_long_help().to_string());
        assert!(help.is_some_and(|help| help.contains("toggle")));
    }
}
