//! `proffer completion`: scripts for shells.

use crate::output::print;
use crate::variables;
use clap_complete::Shell;

pub(crate) fn run(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut variables::command(), "proffer", &mut script);
    print(&String::from_utf8_lossy(&script));
}
