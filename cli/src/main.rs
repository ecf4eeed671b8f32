//! The one binary: reads the command line, runs the command, ends with a documented code.

mod args;
mod client;
mod commands;
mod config;
mod dev_place;
mod exit;
mod output;
mod percent;
mod resources;
mod shutdown;
mod token;
mod variables;

use args::{Cli, Command, Output};
use clap::FromArgMatches;
use client::Client;
use exit::{ExitCode, Failure};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

fn main() -> std::process::ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(End::Asked) => return std::process::ExitCode::SUCCESS,
        Err(End::Mistake(failure)) => {
            output::failure(&failure, wants_json());
            return std::process::ExitCode::from(failure.code as u8);
        }
        Err(End::Usage(error)) => {
            if wants_json() {
                let text = error.render().to_string();
                let text = text.trim_start_matches("error: ").trim_end();
                output::failure(&Failure::new(ExitCode::Usage, text), true);
            } else {
                drop(error.print());
            }
            return std::process::ExitCode::from(ExitCode::Usage as u8);
        }
    };
    let as_json = cli.global.output == Output::Json;
    match start(cli) {
        Ok(code) => std::process::ExitCode::from(code as u8),
        Err(failure) => {
            output::failure(&failure, as_json);
            std::process::ExitCode::from(failure.code as u8)
        }
    }
}

/// Why there is nothing to run.
enum End {
    /// Help or the version, which is printed.
    Asked,
    /// The configuration file.
    Mistake(Failure),
    /// The command line.
    Usage(clap::Error),
}

fn parse() -> Result<Cli, End> {
    let mut command = variables::command();
    if let Some(path) = config::named(&command) {
        command = config::apply(command, &path).map_err(End::Mistake)?;
    }
    let matches = command.try_get_matches().map_err(|error| {
        if error.use_stderr() {
            return End::Usage(error);
        }
        drop(error.print());
        End::Asked
    })?;
    Cli::from_arg_matches(&matches).map_err(End::Usage)
}

/// Whether the words of a command line that cannot be parsed ask for JSON.
fn wants_json() -> bool {
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let in_one = |word: &String| matches!(word.as_str(), "-ojson" | "-o=json" | "--output=json");
    let in_two =
        |pair: &[String]| matches!(pair[0].as_str(), "-o" | "--output") && pair[1] == "json";
    words.iter().any(in_one) || words.windows(2).any(in_two)
}

/// File work is short; more threads for it than this would only wait for the same disk.
fn threads() -> tokio::runtime::Builder {
    const FILE_THREADS_MAX: usize = 64;
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.enable_all().max_blocking_threads(FILE_THREADS_MAX);
    threads
}

fn start(cli: Cli) -> Result<ExitCode, Failure> {
    let wrong = |why: String| Failure::new(ExitCode::Usage, why);
    let filter =
        EnvFilter::try_new(&cli.global.log).map_err(|error| wrong(format!("--log: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = threads().build().map_err(|error| {
        Failure::new(ExitCode::Error, "starting threads").cause(error.to_string())
    })?;
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    use commands as c;
    let Cli { global, command } = cli;
    let output = global.output;
    let client = || Client::new(&global);
    match command {
        Command::Dev(args) => return c::dev::run(&global, args).await,
        Command::Master(args) => c::master::run(&global, args).await?,
        Command::Agent(args) => c::agent::run(&global, args).await?,
        Command::Framework(args) => c::framework::run(&global, args).await?,
        Command::Deploy(args) => return c::deploy::run(&client()?, output, args).await,
        Command::Validate(args) => c::deploy::validate(output, &args)?,
        Command::Ls => c::services::list(&client()?, output).await?,
        Command::Status(args) => c::services::status(&client()?, output, &args.service).await?,
        Command::Ps(args) => {
            c::services::instances(&client()?, output, args.service).await?;
        }
        Command::Get(args) => c::services::get(&client()?, output, args).await?,
        Command::History(args) => c::services::history(&client()?, output, &args.service).await?,
        Command::Rollback(args) => return c::services::rollback(&client()?, output, args).await,
        Command::Scale(args) => return c::services::scale(&client()?, output, args).await,
        Command::Restart(args) => return c::services::restart(&client()?, output, args).await,
        Command::Stop(args) => return c::services::stop(&client()?, output, args).await,
        Command::Start(args) => return c::services::start(&client()?, output, args).await,
        Command::Rm(args) => return c::services::remove(&client()?, output, args).await,
        Command::Logs(args) => c::logs::run(&client()?, output, args).await?,
        Command::Why(args) => c::why::run(&client()?, output, args).await?,
        Command::Endpoints(args) => c::endpoints::run(&client()?, output, args).await?,
        Command::Events(args) => c::events::run(&client()?, output, args).await?,
        Command::Wait(args) => return c::wait::run(&client()?, output, args).await,
        Command::Agents(args) => c::agents::run(&client()?, output, args).await?,
        Command::Frameworks(args) => c::frameworks::run(&client()?, output, args).await?,
        Command::Offers => c::offers::run(&client()?, output).await?,
        Command::Tasks(args) => c::tasks::run(&client()?, output, args).await?,
        Command::Roles(args) => c::roles::run(&client()?, output, args).await?,
        Command::Reserve(args) => c::holds::reserve(&client()?, output, args).await?,
        Command::Unreserve(args) => c::holds::unreserve(&client()?, output, args).await?,
        Command::Reservations(args) => c::holds::reservations(&client()?, output, args).await?,
        Command::Volumes(args) => c::holds::volumes(&client()?, output, args).await?,
        Command::Version => c::version::run(client(), output).await?,
        Command::Completion { shell } => c::completion::run(shell),
        Command::Cleanup(args) => c::cleanup::run(output, &args).await?,
    }
    Ok(ExitCode::Done)
}
