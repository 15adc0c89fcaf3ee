//! `dropforge list`: the newest jobs, once or as they change.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use console::Term;
use reqwest::Method;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::exit::Exit;
use super::remote::{Remote, say};
use super::text::{duration, painted, printable, progress, run_time, table};
use crate::client::view::Page;
use crate::client::{Client, ClientError};
use crate::time::Time;

/// Between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only in this state
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only with this label
    #[arg(long, value_name = "TEXT")]
    tag: Option<String>,
    /// How many at the most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Go on showing them as they change; with --json a line for each change
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
    /// Watching ends with Ctrl-C, or with the host.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        match (self.watch, self.remote.json) {
            (false, true) => self.print_documents(&client).await?,
            (false, false) => say(&self.page(&client).await?)?,
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
            let page: RawPage = serde_json::from_str(answer)
                .map_err(|error| ClientError::NotUnderstood(client.url().to_owned(), error.to_string()))?;
            jobs.extend(page.jobs.iter().map(|job| job.get().to_owned()));
            Ok((page.jobs.len(), page.next_cursor))
        })
        .await?;
        say(&format!("{{\"jobs\":[{}]}}", jobs.join(",")))
    }

    async fn page(&self, client: &Client) -> anyhow::Result<String> {
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
                        Some(failure) => printable(&format!("{}: {}", failure.code, failure.message)).into_owned(),
                        // How far it was when it last said so, which does not matter any more.
                        None if job.has_ended() => String::new(),
                        None => progress(job),
                    },
                ]
            }));
            Ok((jobs.len(), next_cursor))
        })
        .await?;
        Ok(table(&["ID", "KIND", "STATE", "AGE", "TIME", "NOTE"], &rows))
    }

    async fn redraw(&self, client: &Client) -> anyhow::Result<()> {
        let terminal = Term::stdout();
        if !terminal.is_term() {
            bail!("--watch redraws a terminal, and standard output is none; --watch --json tells changes line by line");
        }
        loop {
            let page = self.page(client).await?;
            let width = terminal.size().1.into();
            terminal.clear_screen()?;
            for line in page.lines() {
                terminal.write_line(&console::truncate_str(line, width, "…"))?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The states of all jobs as they are reached.
    async fn tell_changes(&self, client: &Client) -> anyhow::Result<()> {
        if self.state.is_some() || self.tag.is_some() {
            bail!("changes can be chosen by --kind alone");
        }
        let query: Vec<(&str, &str)> = self.kind.iter().map(|kind| ("kind", kind.as_str())).collect();
        let mut events = client.listen(&["v1", "events"], &query, "").await?;
        while let Some(event) = events.next(client).await? {
            if event.name == "state" {
                say(&event.data)?;
            }
        }
        Ok(())
    }
}
