//! The command line: what can be typed, and which part carries it out.

mod bar;
mod check;
mod data;
mod delivery;
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
mod wait;

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
    /// Bring what a finished job made
    Result(result::ResultOf),
    /// Show the newest jobs
    List(list::List),
    /// Show what a job wrote to its log
    Logs(logs::Logs),
    /// Say why a job is not running yet
    Explain(jobs::One),
    /// Stop jobs, or keep them from starting
    Cancel(jobs::Some),
    /// Run failed or cancelled jobs again
    Retry(jobs::Some),
    /// Forget finished jobs
    Delete(jobs::Some),
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
    /// Say whether a plugin file can be used, what it is, and if not, what to do
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
    /// Reads the command line, and whether errors are wanted as JSON. Ends the process with help where that is due.
    pub fn read() -> (Self, bool) {
        let matches = Self::command().get_matches();
        let mut innermost = &matches;
        while let Some((_, matches)) = innermost.subcommand() {
            innermost = matches;
        }
        // Commands that have no such flag are for people.
        let json = innermost.try_get_one("json").ok().flatten().copied();
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        (cli, json.unwrap_or(false))
    }

    /// Carries out the command.
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Serve(serve) => serve.run().await?,
            Command::Token(token) => token.run()?,
            Command::Demo(demo) => demo.run().await?,
            Command::Submit(submit) => return submit.run().await,
            Command::Wait(wait) => return wait.run().await,
            Command::Status(one) => return jobs::status(one).await,
            Command::Result(result) => return result.run().await,
            Command::List(list) => return list.run().await,
            Command::Logs(logs) => return logs.run().await,
            Command::Explain(one) => return jobs::explain(one).await,
            Command::Cancel(some) => return jobs::cancel(some).await,
            Command::Retry(some) => return jobs::retry(some).await,
            Command::Delete(some) => return jobs::delete(some).await,
            Command::Kinds(kinds) => return kinds.run().await,
            Command::Plugins(plugins) => return plugins.run().await,
            Command::Pause(kind) => return kind.post("pause").await,
            Command::Resume(kind) => return kind.post("resume").await,
            Command::New(new) => new.run()?,
            Command::Run(run) => return run.run().await,
            Command::Check(check) => check.run().await?,
            Command::Verify(verify) => verify.run()?,
            Command::Export(export) => export.run()?,
            Command::Import(import) => import.run()?,
            Command::Compact(compact) => compact.run()?,
            Command::Bench(bench) => bench.run().await?,
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
