//! The command line: what can be typed, and which part carries it out.

mod bar;
mod check;
mod data;
mod delivery;
mod each;
pub mod exit;
mod input;
mod interrupt;
mod jobs;
mod kinds;
mod list;
mod logs;
mod new;
mod notes;
mod remote;
mod result;
mod run;
mod serve;
mod submit;
mod text;
mod times;
mod token;
mod typed;
mod wait;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use self::exit::Exit;
use crate::{bench, demo};

/// Drop a .wasm file into a folder; get a durable, asynchronous HTTP job API for it.
#[derive(Debug, Parser)]
#[command(name = "dropforge", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = exit::CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a host: watch the plugin folder, accept jobs, run them
    Serve(serve::Serve),
    /// Say who may use a host: make, list and revoke tokens
    Token(token::Token),
    /// See it work: render a PDF once and eight times at once, through a real host
    Demo(demo::Demo),

    /// Give a host a job, and with --wait bring its result
    Submit(Box<submit::Submit>),
    /// Follow a job to its end
    Wait(wait::Wait),
    /// Show a job
    Status(jobs::One),
    /// Bring what a finished job made; with --json show the job, and only save what it made
    Result(result::ResultOf),
    /// Show the newest jobs
    List(list::List),
    /// Show what a job wrote to its log
    Logs(logs::Logs),
    /// Say why a job is not running yet
    Explain(jobs::One),
    /// Stop jobs, or keep them from starting
    Cancel(each::Each),
    /// Run failed or cancelled jobs again
    Retry(each::Each),
    /// Forget finished jobs
    Delete(each::Each),
    /// Show what a host can run
    Kinds(kinds::Kinds),
    /// Show what became of each plugin file of a host
    Plugins(kinds::Plugins),
    /// Let no further job of a kind start
    Pause(kinds::OneKind),
    /// Let the jobs of a paused kind start again
    Resume(kinds::OneKind),

    /// Begin a plugin: a folder with one that works, its test, and how to build it
    New(new::New),
    /// Run one job of a plugin file here and now, without a host
    Run(Box<run::Run>),
    /// Say whether plugin files can be used, what each is, and if not, what to do
    Check(check::Check),
    /// Check a data folder that no host is using: every record, reference and blob
    Verify(data::Verify),
    /// Write a data folder that no host is using as NDJSON
    Export(data::Export),
    /// Fill a new data folder from an export
    Import(data::Import),
    /// Make the database of a data folder that no host is using as small as what is in it
    Compact(data::Compact),
    // Says itself what it does: it needs more than a line.
    Bench(bench::Bench),
    /// Print what a shell needs to complete these commands
    Completions {
        /// Which shell
        shell: Shell,
    },
}

impl Cli {
    /// Reads the command line, and whether errors are wanted as JSON. Where help was asked for, or what was typed makes no sense, that
    /// is said, and how the process ends.
    pub fn read() -> Result<(Self, bool), Exit> {
        let typed: Vec<OsString> = std::env::args_os().collect();
        let mut command = Self::command();
        let matches = match command.try_get_matches_from_mut(&typed) {
            Ok(matches) => matches,
            Err(error) => return Err(exit::tell_usage(&error, &typed, &mut command)),
        };
        let mut innermost = &matches;
        while let Some((_, matches)) = innermost.subcommand() {
            innermost = matches;
        }
        // Commands that have no such flag are for people.
        let json = innermost.try_get_one("json").ok().flatten().copied();
        match Self::from_arg_matches(&matches) {
            Ok(cli) => Ok((cli, json.unwrap_or(false))),
            Err(error) => Err(exit::tell_usage(&error, &typed, &mut command)),
        }
    }

    /// Carries out the command.
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Serve(serve) => serve.run().await?,
            Command::Token(token) => token.run()?,
            Command::Demo(demo) => return Ok(Exit::unless_interrupted(demo.run().await?)),
            Command::Submit(submit) => return submit.run().await,
            Command::Wait(wait) => return wait.run().await,
            Command::Status(one) => return jobs::status(one).await,
            Command::Result(result) => return result.run().await,
            Command::List(list) => return list.run().await,
            Command::Logs(logs) => return logs.run().await,
            Command::Explain(one) => return jobs::explain(one).await,
            Command::Cancel(jobs) => return each::cancel(jobs).await,
            Command::Retry(jobs) => return each::retry(jobs).await,
            Command::Delete(jobs) => return each::delete(jobs).await,
            Command::Kinds(kinds) => return kinds.run().await,
            Command::Plugins(plugins) => return plugins.run().await,
            Command::Pause(kind) => return kind.post("pause").await,
            Command::Resume(kind) => return kind.post("resume").await,
            Command::New(new) => new.run()?,
            Command::Run(run) => return run.run().await,
            Command::Check(check) => return check.run().await,
            Command::Verify(verify) => verify.run()?,
            Command::Export(export) => export.run()?,
            Command::Import(import) => import.run()?,
            Command::Compact(compact) => compact.run()?,
            Command::Bench(bench) => return Ok(Exit::unless_interrupted(bench.run().await?)),
            Command::Completions { shell } => complete(shell)?,
        }
        Ok(Exit::Success)
    }
}

fn complete(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dropforge", &mut script);
    remote::say(&String::from_utf8_lossy(&script))
}
