//! The configuration file: keys are the names of the flags, tables those of the commands. Values
//! become defaults of the flags, so the environment and the command line win, and one parser
//! checks all three.

use crate::exit::{ExitCode, Failure};
use clap::Command;
use proffer_service_core::spec::did_you_mean;
use std::path::{Path, PathBuf};
use toml::Value;

/// Puts the values of the file at `path` into `command` as defaults.
pub(crate) fn apply(command: Command, path: &Path) -> Result<Command, Failure> {
    let wrong = |why: String| Failure::new(ExitCode::Refused, format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    apply_table(command, &table, "").map_err(wrong)
}

fn apply_table(mut command: Command, table: &toml::Table, above: &str) -> Result<Command, String> {
    for (key, value) in table {
        let name = format!("{above}{key}");
        if let Value::Table(inner) = value
            && let Some(sub) = command.find_subcommand(key)
        {
            let changed = apply_table(sub.clone(), inner, &format!("{name}."))?;
            command = command.mut_subcommand(key, |_| changed);
            continue;
        }
        let found = command.get_arguments().find(|argument| argument.get_long() == Some(key));
        let Some(argument) = found else {
            return Err(unknown(&command, &name, key));
        };
        let id = argument.get_id().clone();
        let is_switch = !argument.get_action().takes_values();
        let is_of_its_kind = !is_switch || value.is_bool();
        let values = texts(value).filter(|_| is_of_its_kind);
        let expected = if is_switch { "true or false" } else { "text, a number or a list of them" };
        let values = values.ok_or_else(|| format!("{name}: expected {expected}"))?;
        command = command.mut_arg(id, |argument| argument.default_values(values).required(false));
    }
    Ok(command)
}

fn unknown(command: &Command, name: &str, key: &str) -> String {
    let known = command
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .chain(command.get_subcommands().map(|sub| sub.get_name().to_owned()));
    let known: Vec<String> = known.collect();
    match did_you_mean(key, known.iter().map(String::as_str)) {
        Some(close) => format!("{name}: no such key; did you mean {close}?"),
        None => format!("{name}: no such key; keys are the names of the flags"),
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(truth) => Some(vec![truth.to_string()]),
        Value::Array(items) => {
            items.iter().map(|item| texts(item)?.pop()).collect::<Option<Vec<_>>>()
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// The file to read: named on the command line or in the environment.
pub(crate) fn named(command: &Command) -> Option<PathBuf> {
    // Only `--config` is wanted here; every other mistake is reported by the real parse.
    let matches = command.clone().ignore_errors(true).try_get_matches().ok()?;
    let inner = matches
        .subcommand()
        .and_then(|(_, sub)| sub.try_get_one::<PathBuf>("config").ok().flatten().cloned());
    inner.or_else(|| matches.try_get_one::<PathBuf>("config").ok().flatten().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::{CommandFactory, FromArgMatches};

    fn parse(file: &str, line: &[&str]) -> Result<Cli, String> {
        let table: toml::Table = file.parse().expect("valid TOML");
        let command = apply_table(Cli::command(), &table, "")?;
        let matches = command.try_get_matches_from(line).map_err(|error| error.to_string())?;
        Cli::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_gives_defaults_and_the_command_line_wins() {
        let file = "masters = [\"10.0.0.1:7330\", \"10.0.0.2:7330\"]\n[dev]\nagents = 3\n";
        let cli = parse(file, &["proffer", "dev"]).expect("valid");
        assert_eq!(cli.global.masters.len(), 2);
        let crate::args::Command::Dev(dev) = cli.command else { panic!("dev") };
        assert_eq!(dev.agents, 3);
        let cli = parse(file, &["proffer", "dev", "--agents", "5"]).expect("valid");
        let crate::args::Command::Dev(dev) = cli.command else { panic!("dev") };
        assert_eq!(dev.agents, 5);
    }

    #[test]
    fn switches_are_true_or_false() {
        let keep = |file: &str, line: &[&str]| {
            let crate::args::Command::Dev(dev) = parse(file, line)?.command else {
                panic!("dev");
            };
            Ok::<_, String>(dev.keep)
        };
        assert_eq!(keep("[dev]\nkeep = true\n", &["proffer", "dev"]), Ok(true));
        assert_eq!(keep("[dev]\nkeep = false\n", &["proffer", "dev"]), Ok(false));
        assert_eq!(keep("[dev]\nkeep = false\n", &["proffer", "dev", "--keep"]), Ok(true));
        let wrong = keep("[dev]\nkeep = 1\n", &["proffer", "dev"]).expect_err("no truth");
        assert!(wrong.contains("dev.keep: expected true or false"), "{wrong}");
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        assert!(
            parse("[dev]\nagent = 3\n", &["proffer", "dev"])
                .expect_err("unknown")
                .contains("did you mean agents")
        );
        assert!(
            parse("mastrs = 1\n", &["proffer", "dev"])
                .expect_err("unknown")
                .contains("did you mean masters")
        );
        assert!(
            parse("[dev]\nagents = \"x\"\n", &["proffer", "dev"])
                .expect_err("bad")
                .contains("agents")
        );
    }
}
