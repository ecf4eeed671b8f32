//! Which token a program shows to masters, and which one a master asks for.

use crate::args::Global;
use crate::exit::{ExitCode, Failure};
use proffer_net::{Proof, TokenError, Tokens};
use std::path::Path;

/// What to show: that of `--token-file`, else a certificate, else what a master of this machine has
/// left.
pub(crate) fn shown(global: &Global) -> Result<Proof, Failure> {
    Proof::choose(global.token_file.as_deref(), global.identity().is_some())
        .map_err(|error| unusable(ExitCode::Denied, &error))
}

/// What a listener accepts: the tokens of the file that the flags name.
pub(crate) fn given(path: &Path) -> Result<Tokens, Failure> {
    proffer_net::token::read_or_create(path, "operator")
        .map_err(|error| unusable(ExitCode::Error, &error))
}

/// The token that a master keeps beside its data: made once, so that those who know it still do after
/// a restart.
pub(crate) fn kept(data: &Path) -> Result<Tokens, Failure> {
    std::fs::create_dir_all(data).map_err(|error| {
        Failure::new(ExitCode::Error, format!("cannot make {}", data.display()))
            .cause(error.to_string())
    })?;
    proffer_net::token::read_or_create(&data.join("token"), "local")
        .map_err(|error| unusable(ExitCode::Error, &error))
}

fn unusable(code: ExitCode, error: &TokenError) -> Failure {
    let mut failure = Failure::chain("the token file cannot be used", error);
    failure.code = code;
    failure
}
