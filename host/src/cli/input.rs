//! What a job is given to work on, as it is typed: for a host, or for a job without one.

mod json;
mod repeated;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use async_stream::stream;
use bytes::Bytes;
use clap::Args;
use futures_util::Stream;
use futures_util::stream::{BoxStream, StreamExt, once, try_unfold};
use indicatif::ProgressBar;
use reqwest::Body;
use rustix::fs::tell;
use rustix::io::{Errno, ioctl_fionread};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::sleep;

use self::repeated::Repeated;
use super::bar::transfer_bar;
use super::exit::Complaint;
use super::notes::{self, Note};
use super::times;
use crate::client::Refusal;

/// A file is read in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;
/// Names in the query that mean something to the host.
pub(super) const OPTIONS: &[&str] = &[
    "priority",
    "delay",
    "run_at",
    "timeout",
    "max_attempts",
    "expires_in",
    "tag",
    "after",
    "webhook",
    "on_timeout",
    "arg",
];

#[derive(Debug, Args)]
pub(super) struct Input {
    /// The input as a file of any type, as --file takes it; - reads it from standard input
    #[arg(value_name = "INPUT", conflicts_with_all = ["input", "file"])]
    named: Option<PathBuf>,
    /// The input as JSON; - reads it from standard input
    #[arg(long, short, value_name = "JSON", conflicts_with = "file")]
    input: Option<String>,
    /// The input as a file of any type; - reads it from standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Media type of the file, such as application/pdf
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "input")]
    media_type: Option<String>,
    /// A parameter of the plugin, such as dpi=100; can be repeated
    #[arg(long = "param", short, value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// An argument of the program, if the kind takes them; can be repeated
    #[arg(long = "arg", value_name = "TEXT", allow_hyphen_values = true)]
    args: Vec<String>,
    /// How long an attempt may take, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = times::checked)]
    timeout: Option<String>,
}

/// What was typed or named. It can be sent again if it was not taken.
pub(super) enum Given {
    /// JSON, and small.
    Text(String),
    /// A file, read while it is taken.
    File(PathBuf),
    /// Standard input, read while it is taken.
    Standard(Repeated),
    /// Nothing.
    Empty,
}

impl Given {
    /// For a request, and whether all of it was taken. The first piece is given only after a pause, in which the host can refuse.
    pub(super) async fn body(&self, pause: Duration) -> anyhow::Result<(Body, Arc<AtomicBool>)> {
        let all = Arc::new(AtomicBool::new(false));
        if matches!(self, Self::Empty) {
            all.store(true, Ordering::Relaxed);
            return Ok((Body::default(), all));
        }
        let (mut pieces, taken) = (self.pieces().await?, Arc::clone(&all));
        let pieces = stream! {
            sleep(pause).await;
            while let Some(piece) = pieces.next().await {
                yield piece;
            }
            taken.store(true, Ordering::Relaxed);
        };
        Ok((Body::wrap_stream(pieces), all))
    }

    /// For a job without a host.
    pub(super) async fn pieces(&self) -> anyhow::Result<BoxStream<'static, std::io::Result<Bytes>>> {
        Ok(match self {
            Self::Text(text) => {
                let text = text.clone();
                once(async { Ok(text.into()) }).boxed()
            }
            Self::File(path) => {
                let open = async {
                    let file = tokio::fs::File::open(path).await?;
                    let found = file.metadata().await?;
                    if found.is_dir() {
                        return Err(std::io::ErrorKind::IsADirectory.into());
                    }
                    Ok::<_, std::io::Error>((file, found.len()))
                };
                let (file, size) = open.await.with_context(|| format!("cannot read the input {}", path.display()))?;
                in_pieces(file, transfer_bar(size, "sending")).boxed()
            }
            Self::Standard(repeated) => repeated.pieces().boxed(),
            Self::Empty => futures_util::stream::empty().boxed(),
        })
    }

    /// Where this is no JSON, if it was refused for that.
    pub(super) async fn complaint_about(&self, refusal: &Refusal) -> Option<Complaint> {
        if refusal.code != "invalid_input" || !refusal.detail.contains(json::WANTED) {
            return None;
        }
        match self {
            // What cannot be read any more stays refused as it was.
            Self::File(path) => json::check_file(path).await.ok().flatten(),
            Self::Standard(repeated) => {
                repeated.kept().await.and_then(|kept| json::check("standard input", &kept).err())
            }
            Self::Text(_) | Self::Empty => None,
        }
    }

    /// Says that something waits on standard input which nobody reads, if there certainly is: bytes in a pipe, or a file of which nothing has
    /// been read yet, as it would have been by a loop over its lines. Asked once the job was given to whom it is for, as what is at the
    /// other end of a pipe needs its time. Nothing is read or waited for.
    pub(super) fn tell_unread(&self, as_json: bool) {
        let input = std::io::stdin();
        let is_untouched = || tell(&input).map_or_else(|error| error == Errno::SPIPE, |place| place == 0);
        let is_waiting = || ioctl_fionread(&input).is_ok_and(|bytes| bytes > 0);
        if matches!(self, Self::Empty) && !input.is_terminal() && is_waiting() && is_untouched() {
            let sentence = "what is on standard input was not read; - as the input sends it";
            notes::tell(as_json, &Note::new("input_not_read", sentence));
        }
    }

    /// Whether all of it could be sent once more.
    pub(super) async fn can_be_repeated(&self) -> bool {
        match self {
            Self::Standard(repeated) => repeated.can_be_repeated().await,
            _ => true,
        }
    }
}

impl Input {
    /// What the query says of the job.
    pub(super) fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        let timeout = self.timeout.iter().map(|timeout| ("timeout", timeout.as_str()));
        let args = self.args.iter().map(|arg| ("arg", arg.as_str()));
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        timeout.chain(args).chain(parameters)
    }

    /// The input and its media type.
    pub(super) async fn read(&self) -> anyhow::Result<(Given, Option<&str>)> {
        let media_type = self.media_type.as_deref();
        match (&self.input, self.file.as_deref().or(self.named.as_deref())) {
            (Some(text), _) => Ok((Given::Text(json::typed(text).await?), Some("application/json"))),
            (None, Some(path)) if path == Path::new("-") => {
                Ok((Given::Standard(Repeated::standard_input()), media_type))
            }
            // JSON in the place of a file is what is typed by those who have not read on.
            (None, Some(path)) if path.to_string_lossy().starts_with(['{', '[', '"']) && !path.exists() => {
                let detail = format!("there is no file {}, and it looks like JSON", path.display());
                Err(Complaint::usage(detail, format!("--input '{}'", path.display())).into())
            }
            (None, Some(path)) => Ok((Given::File(path.to_owned()), media_type)),
            (None, None) if media_type.is_some() => {
                let detail = "--type says what a file is, and none is named";
                Err(Complaint::usage(detail, "--file FILE names one, and - stands for standard input").into())
            }
            (None, None) => Ok((Given::Empty, None)),
        }
    }
}

/// What is read while it is sent.
fn in_pieces(
    from: impl AsyncRead + Send + Unpin + 'static,
    bar: ProgressBar,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    try_unfold((from, bar), async |(mut from, bar)| {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        if from.read_buf(&mut piece).await? == 0 {
            bar.finish_and_clear();
            return Ok::<_, std::io::Error>(None);
        }
        bar.inc(piece.len() as u64);
        Ok(Some((Bytes::from(piece), (from, bar))))
    })
}

fn parameter(text: &str) -> anyhow::Result<(String, String)> {
    let Some((name, value)) = text.split_once('=') else {
        bail!("a parameter is NAME=VALUE");
    };
    if OPTIONS.contains(&name) {
        bail!("{name} is an option of the host: use --{}", name.replace('_', "-"));
    }
    Ok((name.to_owned(), value.to_owned()))
}
