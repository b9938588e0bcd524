use clap::{Arg, ArgMatches, Args, FromArgMatches};
use kith_service::config::KEYS;

/// One flag for each setting, made from the one table of settings, and `--config FILE`.
#[derive(Debug, Clone, Default)]
pub struct SettingFlags {
    pub given: Vec<(String, String)>,
}

impl Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file =
            Arg::new("config").long("config").value_name("FILE").help("the configuration file instead of kith.toml");
        KEYS.iter().fold(command.arg(file), |command, key| {
            let help = match key.default {
                "" => key.meaning.to_owned(),
                default => format!("{} [{default}]", key.meaning),
            };
            let long = key.name.replace('_', "-");
            command.arg(Arg::new(key.name).long(long).value_name("VALUE").help(help))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = KEYS.iter().map(|key| key.name).chain(["config"]);
        let value = |name| matches.get_one::<String>(name).map(|value| (String::from(name), value.clone()));
        Ok(Self { given: names.filter_map(value).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
