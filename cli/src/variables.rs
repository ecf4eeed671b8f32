//! The environment variables of programs' settings: `PROFFER_<PROGRAM>_<FLAG>`, so that one environment
//! may hold those of all programs of a machine. Flags that mean the same everywhere have theirs in
//! [`crate::args::Global`].

use crate::args::Cli;
use clap::{Command, CommandFactory};

/// Commands whose flags are settings of a program that stays.
const PROGRAMS: [&[&str]; 4] = [&["dev"], &["master"], &["agent"], &["framework", "service"]];

/// Every command and flag, with its variable.
pub(crate) fn command() -> Command {
    PROGRAMS.iter().fold(Cli::command(), |command, path| with_variables(command, path, "PROFFER"))
}

fn with_variables(command: Command, path: &[&str], above: &str) -> Command {
    match path.split_first() {
        None => command.mut_args(|argument| match argument.get_long() {
            Some(flag) => {
                let variable = format!("{above}_{}", flag.replace('-', "_").to_uppercase());
                argument.env(variable)
            }
            None => argument,
        }),
        Some((name, below)) => {
            let above = format!("{above}_{}", name.to_uppercase());
            command.mut_subcommand(name, |sub| with_variables(sub, below, &above))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Commands by the variables of their own flags.
    fn variables(command: &Command, found: &mut BTreeMap<String, Vec<String>>) {
        for argument in command.get_arguments() {
            if let Some(variable) = argument.get_env() {
                let variable = variable.to_string_lossy().into_owned();
                found.entry(variable).or_default().push(command.get_name().to_owned());
            }
        }
        for sub in command.get_subcommands() {
            variables(sub, found);
        }
    }

    #[test]
    fn no_two_programs_share_a_variable() {
        let mut found = BTreeMap::new();
        variables(&command(), &mut found);
        let shared: Vec<_> = found.iter().filter(|(_, commands)| commands.len() > 1).collect();
        assert_eq!(shared, Vec::<(&String, &Vec<String>)>::new());
        for (variable, program) in [
            ("PROFFER_ADDR", "proffer"),
            ("PROFFER_MASTER_LISTEN", "master"),
            ("PROFFER_MASTER_TLS_CERT", "master"),
            ("PROFFER_AGENT_LISTEN", "agent"),
            ("PROFFER_AGENT_NAME", "agent"),
            ("PROFFER_FRAMEWORK_SERVICE_LISTEN", "service"),
            ("PROFFER_DEV_LISTEN", "dev"),
        ] {
            assert_eq!(found.get(variable), Some(&vec![program.to_owned()]), "{variable}");
        }
    }

    #[test]
    fn every_flag_of_a_program_has_its_variable() {
        let command = command();
        for path in PROGRAMS {
            let program = path.iter().fold(&command, |command, name| {
                command.find_subcommand(name).expect("the table names commands")
            });
            for argument in program.get_arguments() {
                assert!(argument.get_env().is_some(), "{path:?} {}", argument.get_id());
            }
        }
    }
}
