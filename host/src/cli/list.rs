//! `dropforge list`: the newest jobs, once or as they change.

mod watch;

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::value::RawValue;

use super::exit::Exit;
use super::notes::{self, Note};
use super::remote::{Remote, say};
use super::text::{duration, first_line, painted, printable, progress, run_time, table};
use crate::client::Client;
use crate::client::view::{Kinds, Page};
use crate::job::State;
use crate::plugins::nearest;
use crate::time::Time;

/// Between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    #[arg(long, value_name = "N", default_value_t = 20)]
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
                let (page, count) = self.page(&client).await?;
                if count == 0 {
                    self.doubt_kind(&client).await?;
                }
                say(&page)?;
            }
            (true, true) => self.tell_changes(&client).await?,
            (true, false) => self.redraw(&client).await?,
        }
        Ok(Exit::Success)
    }

    async fn pages(
        &self,
        client: &Client,
        mut each: impl FnMut(&str) -> anyhow::Result<(usize, Option<String>)>,
    ) -> anyhow::Result<()> {
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
                None => break,
            }
        }
        Ok(())
    }

    /// One list of all pages, each job as the host said it.
    async fn print_documents(&self, client: &Client) -> anyhow::Result<()> {
        let mut jobs: Vec<String> = Vec::new();
        self.pages(client, |answer| {
            let page: RawPage = client.parse(answer)?;
            jobs.extend(page.jobs.iter().map(|job| job.get().to_owned()));
            Ok((page.jobs.len(), page.next_cursor))
        })
        .await?;
        if jobs.is_empty() {
            self.doubt_kind(client).await?;
        }
        say(&format!("{{\"jobs\":[{}]}}", jobs.join(",")))
    }

    /// A list may be empty because the kind that it was to be of was misspelt.
    async fn doubt_kind(&self, client: &Client) -> anyhow::Result<()> {
        let Some(kind) = &self.kind else { return Ok(()) };
        let answer = client.text(client.request(Method::GET, &["v1", "kinds"])).await?;
        let Kinds { kinds } = client.parse(&answer)?;
        let known = || kinds.iter().map(|known| known.kind.as_str());
        if known().any(|known| known == kind) {
            return Ok(());
        }
        let meant = match nearest(kind, known(), ALIKE) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "`dropforge kinds` lists those that are".to_owned(),
        };
        notes::tell(
            self.remote.json,
            &Note::new("unknown_kind", format!("no kind {kind} is known to this host; {meant}")),
        );
        Ok(())
    }

    /// The table of the jobs, and how many they are.
    async fn page(&self, client: &Client) -> anyhow::Result<(String, usize)> {
        let mut rows = Vec::new();
        self.pages(client, |answer| {
            let Page { jobs, next_cursor } = client.parse(answer)?;
            rows.extend(jobs.iter().map(|job| {
                vec![
                    job.id.clone(),
                    printable(&job.kind).into_owned(),
                    painted(&job.state),
                    duration(Time::now().since(job.created_at)),
                    run_time(job),
                    match &job.failure {
                        Some(failure) => first_line(&format!("{}: {}", failure.code, failure.message)),
                        // How far it was when it last said so, which does not matter any more.
                        None if job.has_ended() => String::new(),
                        None => progress(job),
                    },
                ]
            }));
            Ok((jobs.len(), next_cursor))
        })
        .await?;
        Ok((table(&["ID", "KIND", "STATE", "AGE", "TIME", "NOTE"], &rows), rows.len()))
    }
}
