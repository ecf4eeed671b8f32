//! `proffer completion`: scripts for shells.

use crate::args::Cli;
use crate::output::print;
use clap::CommandFactory;
use clap_complete::Shell;

pub(crate) fn run(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "proffer", &mut script);
    print(&String::from_utf8_lossy(&script));
}
