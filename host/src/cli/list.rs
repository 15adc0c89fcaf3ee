//! `dropforge list`: the newest jobs, once or as they change.

mod watch;

use std::time::Duration;

use clap::Args;
use console::{Term, measure_text_width, truncate_str};
use reqwest::Method;
use serde_json::json;
use serde_json::value::RawValue;

use super::exit::Exit;
use super::interrupt::unless_interrupted;
use super::notes::{self, Note};
use super::remote::{Remote, say};
use super::text::{duration, first_line, painted, printable, progress, run_time, table};
use super::typed;
use crate::client::view::{FailureView, Kinds, Page};
use crate::client::{Client, JobView};
use crate::job::{Failure, State};
use crate::plugins::nearest;
use crate::time::Time;

/// Between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is told of each job. The last may be of any length.
const HEADING: [&str; 6] = ["ID", "KIND", "STATE", "AGE", "TIME", "NOTE"];

/// How alike a kind and the one that was meant are, at least, from 0 to 1.
const ALIKE: f64 = 0.8;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only in this state
    #[arg(long, value_name = "STATE", value_parser = State::ALL.map(State::as_str))]
    state: Option<String>,
    /// Only with this label
    #[arg(long, value_name = "TEXT")]
    tag: Option<String>,
    /// How many at the most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = typed::whole_number)]
    limit: usize,
    /// Go on showing them as they change, also while the host is started again; with --json a line for each change
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    remote: Remote,
}

/// The jobs of a page as they came.
#[derive(serde::Deserialize)]
struct RawPage<'a> {
    #[serde(borrow)]
    jobs: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}

impl List {
    /// Watching ends with Ctrl-C, or when the host stays away.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        match (self.watch, self.remote.json) {
            (false, true) => self.print_documents(&client).await?,
            (false, false) => {
                let (rows, goes_on) = self.page(&client).await?;
                if !rows.is_empty() {
                    // What reads it instead of a terminal wants a line for each job.
                    let width = Term::stdout().size_checked().map(|(_, width)| width.into());
                    say(&drawn(&rows, width))?;
                } else if !self.doubt_kind(&client).await? {
                    notes::tell(false, &self.nothing());
                }
                if goes_on {
                    let more = format!("there are more; --limit {} shows twice as many", self.limit.saturating_mul(2));
                    notes::tell(false, &Note::new("more", more));
                }
            }
            (true, as_json) => {
                let again = || "the jobs go on; `dropforge list` shows where they are".to_owned();
                let watch = async {
                    if as_json {
                        self.tell_changes(&client).await?
                    } else {
                        self.redraw(&client).await?
                    }
                    Ok(Exit::Success)
                };
                return unless_interrupted(as_json, again, watch).await;
            }
        }
        Ok(Exit::Success)
    }

    /// Why there is nothing to show.
    fn nothing(&self) -> Note {
        let is_chosen = self.kind.is_some() || self.state.is_some() || self.tag.is_some();
        Note::new(
            "no_jobs",
            match (self.limit, is_chosen) {
                (0, _) => "none were asked for: --limit is 0",
                (_, true) => "no job is like that; `dropforge list` shows all",
                (_, false) => {
                    "no jobs yet; `dropforge kinds` says what there is to run, `dropforge submit KIND` runs it"
                }
            },
        )
    }

    /// Page after page, up to the limit. Answers where those begin that are left.
    async fn pages(
        &self,
        client: &Client,
        mut each: impl FnMut(&str) -> anyhow::Result<(usize, Option<String>)>,
    ) -> anyhow::Result<Option<String>> {
        let (mut left, mut cursor) = (self.limit, None::<String>);
        while left > 0 {
            let limit = left.min(1000).to_string();
            let fields = [("kind", &self.kind), ("state", &self.state), ("tag", &self.tag), ("cursor", &cursor)];
            let mut query = vec![("limit", limit.as_str())];
            query.extend(fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
            let answer = client.text(client.request_with(Method::GET, &["v1", "jobs"], &query)).await?;
            let (count, next) = each(&answer)?;
            left = left.saturating_sub(count);
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(None),
            }
        }
        Ok(cursor)
    }

    /// One list of all pages, each job as the host said it.
    async fn print_documents(&self, client: &Client) -> anyhow::Result<()> {
        let mut jobs: Vec<String> = Vec::new();
        let next = self.pages(client, |answer| {
            let page: RawPage = client.parse(answer)?;
            jobs.extend(page.jobs.iter().map(|job| job.get().to_owned()));
            Ok((page.jobs.len(), page.next_cursor))
        });
        let next = next.await?;
        if jobs.is_empty() {
            self.doubt_kind(client).await?;
        }
        say(&format!("{{\"jobs\":[{}],\"next_cursor\":{}}}", jobs.join(","), json!(next)))
    }

    /// A list may be empty because the kind that it was to be of was misspelt. Says so, and whether it did.
    async fn doubt_kind(&self, client: &Client) -> anyhow::Result<bool> {
        let Some(kind) = &self.kind else { return Ok(false) };
        let answer = client.text(client.request(Method::GET, &["v1", "kinds"])).await?;
        let Kinds { kinds } = client.parse(&answer)?;
        let known = || kinds.iter().map(|known| known.kind.as_str());
        if known().any(|known| known == kind) {
            return Ok(false);
        }
        let meant = match nearest(kind, known(), ALIKE) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "`dropforge kinds` lists those that are".to_owned(),
        };
        notes::tell(
            self.remote.json,
            &Note::new("unknown_kind", format!("no kind {kind} is known to this host; {meant}")),
        );
        Ok(true)
    }

    /// The jobs as rows, and whether there are more.
    async fn page(&self, client: &Client) -> anyhow::Result<(Vec<Vec<String>>, bool)> {
        let mut rows = Vec::new();
        let next = self.pages(client, |answer| {
            let Page { jobs, next_cursor } = client.parse(answer)?;
            rows.extend(jobs.iter().map(row));
            Ok((jobs.len(), next_cursor))
        });
        let goes_on = next.await?.is_some();
        Ok((rows, goes_on))
    }
}

fn row(job: &JobView) -> Vec<String> {
    vec![
        printable(&job.id).into_owned(),
        printable(&job.kind).into_owned(),
        painted(&job.state),
        duration(Time::now().since(job.created_at)),
        run_time(job),
        match &job.failure {
            Some(failure) => why(failure),
            // How far it was when it last said so, which does not matter any more.
            None if job.has_ended() => String::new(),
            None => progress(job),
        },
    ]
}

/// Why a job failed, where there is room for one line. That a guest trapped is less than what it said of it: the line that begins with the
/// name of an error, or else the last one that is no call.
fn why(failure: &FailureView) -> String {
    let is_error = |line: &&str| {
        let name = line.split_once(':').map(|(name, _)| name.trim()).unwrap_or_default();
        (name.ends_with("Error") || name.ends_with("Exception")) && !name.contains(char::is_whitespace)
    };
    let is_call = |line: &&str| {
        line.trim_start().starts_with("at ") || line.contains('@') && line.ends_with(|c: char| c.is_ascii_digit())
    };
    let last_words = failure.message.split_once(Failure::LAST_WORDS).and_then(|(_, words)| {
        let lines = || words.lines().rev().filter(|line| !line.trim().is_empty());
        lines().find(is_error).or_else(|| lines().find(|line| !is_call(line))).map(str::trim)
    });
    first_line(&format!("{}: {}", failure.code, last_words.unwrap_or(&failure.message)))
}

/// The rows as a table. On a terminal that is too narrow for it each note stands below its row, cut where the terminal ends.
fn drawn(rows: &[Vec<String>], width: Option<usize>) -> String {
    let whole = table(&HEADING, rows);
    let is_too_wide = |width: &usize| whole.lines().any(|line| measure_text_width(line) > *width);
    let Some(width) = width.filter(is_too_wide) else { return whole };
    let (heading, notes) = (&HEADING[..HEADING.len() - 1], rows.iter().map(|row| row[HEADING.len() - 1].trim()));
    let without: Vec<Vec<String>> = rows.iter().map(|row| row[..heading.len()].to_vec()).collect();
    let table = table(heading, &without);
    let below = std::iter::once("").chain(notes).map(|note| match note {
        "" => String::new(),
        note => format!("{}\n", truncate_str(&format!("  {note}"), width, "…")),
    });
    table.lines().zip(below).map(|(line, below)| format!("{line}\n{below}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: &str) -> FailureView {
        FailureView { code: "trap".to_owned(), message: message.to_owned(), fault: "plugin".to_owned() }
    }

    #[test]
    fn one_line_about_a_failure_is_the_one_that_says_most() {
        for (message, told) in [
            ("the guest trapped", "trap: the guest trapped"),
            ("it trapped; it wrote last:\nthread 'main' panicked at src/lib.rs:3:5:\nno page", "trap: no page"),
            (
                "it trapped; it wrote last:\n  File \"/0/app.py\", line 17, in run\nurllib.error.URLError: no way\n\
                 thread '<unnamed>' (1) panicked at runtime/src/lib.rs:1293:29:\nPython function threw an unexpected exception",
                "trap: urllib.error.URLError: no way",
            ),
            (
                "it trapped; it wrote last:\nReferenceError: x is not defined\nrun@plugin.js:39:12\ninvalid variant tag: none\nStack:\n\
                 export_run@/tmp/initializer.js:2408:17\nRedirecting call to abort()",
                "trap: ReferenceError: x is not defined",
            ),
            (
                "it trapped; it wrote last:\nError: no page\n    at run (a.js:1:2)\nrun@a.js:1:2\n",
                "trap: Error: no page",
            ),
            ("it trapped; it wrote last:\n    at run", "trap: it trapped; it wrote last: …"),
        ] {
            assert_eq!(why(&failed(message)), told);
        }
    }

    #[test]
    fn notes_stand_below_their_rows_where_a_terminal_is_too_narrow() {
        let row = |id: &str, note: &str| [id, "kind", "failed", "1 s", "2 ms", note].map(str::to_owned).to_vec();
        let rows = [row("a", "trap: no page, and a word more"), row("b", "")];
        let drawn = |width| console::strip_ansi_codes(&drawn(&rows, width)).into_owned();
        let whole = "ID  KIND  STATE   AGE  TIME  NOTE\na   kind  failed  1 s  2 ms  trap: no page, and a word more\nb   kind  failed  1 s  2 ms\n";
        assert_eq!((drawn(None).as_str(), drawn(Some(60)).as_str()), (whole, whole));
        assert_eq!(
            drawn(Some(28)),
            "ID  KIND  STATE   AGE  TIME\na   kind  failed  1 s  2 ms\n  trap: no page, and a word…\nb   kind  failed  1 s  2 ms\n"
        );
    }
}
