//! `dropforge list --watch`: jobs as they change, also across a host that is started again.

use std::collections::BTreeMap;

use anyhow::bail;
use console::Term;
use reqwest::Method;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::{LOOK_EVERY, List, RawPage, drawn};
use crate::cli::notes;
use crate::cli::remote::say;
use crate::client::{Client, ClientError, JobView, Patience};

/// Jobs that are looked at again when the host cannot tell any more what happened while it was not heard: of those that had not ended
/// by then the newest, and of those that are new.
const CAUGHT_UP_MAX: usize = 10_000;
/// Jobs asked for at a time.
const PAGE: &str = "1000";
/// The states a job can go on from.
const UNFINISHED: [&str; 4] = ["running", "queued", "scheduled", "blocked"];

/// Where a job is in its life.
type Place = (String, u32, u32, u32);

fn place(job: &JobView) -> Place {
    (job.state.clone(), job.attempts, job.crashes, job.interruptions)
}

impl List {
    /// The table again and again, with a line below it while the host is away.
    pub(super) async fn redraw(&self, client: &Client) -> anyhow::Result<()> {
        let terminal = Term::stdout();
        if !terminal.is_term() {
            bail!("--watch redraws a terminal, and standard output is none; --watch --json tells changes line by line");
        }
        let mut patience = client.patience();
        loop {
            match self.page(client).await {
                Ok((rows, _)) => {
                    patience.found();
                    let width = terminal.size().1.into();
                    terminal.clear_screen()?;
                    for line in drawn(&rows, Some(width)).lines() {
                        terminal.write_line(&console::truncate_str(line, width, "…"))?;
                    }
                }
                Err(error) => {
                    patience.bear(error.downcast::<ClientError>()?)?;
                    if patience.lost() {
                        notes::tell(false, &notes::away(patience.most()));
                    }
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The states of all jobs as they are reached, a line each.
    pub(super) async fn tell_changes(&self, client: &Client) -> anyhow::Result<()> {
        if self.state.is_some() || self.tag.is_some() {
            bail!("changes can be chosen by --kind alone");
        }
        let mut told = Told::default();
        let (mut last, mut patience) = (String::new(), client.patience());
        loop {
            match self.tell_while_there(client, &mut told, &mut last, &mut patience).await {
                Ok(()) => {}
                Err(error) => patience.bear(error.downcast::<ClientError>()?)?,
            }
            if patience.lost() {
                notes::tell(true, &notes::away(patience.most()));
            }
            patience.pause().await;
        }
    }

    async fn tell_while_there(
        &self,
        client: &Client,
        told: &mut Told,
        last: &mut String,
        patience: &mut Patience,
    ) -> anyhow::Result<()> {
        let query: Vec<(&str, &str)> = self.kind.iter().map(|kind| ("kind", kind.as_str())).collect();
        let mut events = client.listen(&["v1", "events"], &query, last).await?;
        if patience.found() {
            notes::tell(true, &notes::back());
        }
        if last.is_empty() {
            // Heard from here on; what is there already is only remembered.
            self.remember_unfinished(client, told).await?;
        }
        while let Some(event) = events.next(client).await? {
            match event.name.as_str() {
                "state" if told.is_news(&client.parse(&event.data)?) => say(&event.data)?,
                "resync" => self.catch_up(client, told).await?,
                _ => {}
            }
            events.last().clone_into(last);
        }
        events.last().clone_into(last);
        Ok(())
    }

    async fn remember_unfinished(&self, client: &Client, told: &mut Told) -> anyhow::Result<()> {
        let mut newest = vec![("limit", "1")];
        newest.extend(self.kind.as_deref().map(|kind| ("kind", kind)));
        self.each_job(client, &newest, |_, job| {
            told.newest = job.id;
            false
        })
        .await?;
        for state in UNFINISHED {
            let mut query = vec![("limit", PAGE), ("state", state)];
            query.extend(self.kind.as_deref().map(|kind| ("kind", kind)));
            let mut left = CAUGHT_UP_MAX;
            self.each_job(client, &query, |_, job| {
                told.is_news(&job);
                left -= 1;
                left > 0
            })
            .await?;
        }
        Ok(())
    }

    /// What became of the jobs that had not ended, and which are new.
    async fn catch_up(&self, client: &Client, told: &mut Told) -> anyhow::Result<()> {
        for id in told.unfinished() {
            match client.job(&id).await {
                Ok(answer) => {
                    if told.is_news(&client.parse(&answer)?) {
                        say(&answer)?;
                    }
                }
                // It was deleted.
                Err(ClientError::Refused(refusal)) if refusal.status == 404 => told.forget(&id),
                Err(error) => return Err(error.into()),
            }
        }
        let mut query = vec![("limit", PAGE)];
        query.extend(self.kind.as_deref().map(|kind| ("kind", kind)));
        let (newest, mut new) = (told.newest.clone(), Vec::new());
        self.each_job(client, &query, |text, job| {
            let is_new = job.id > newest && new.len() < CAUGHT_UP_MAX;
            if is_new {
                new.push((text.to_owned(), job));
            }
            is_new
        })
        .await?;
        // The oldest first, as they would have been told.
        for (text, job) in new.iter().rev() {
            if told.is_news(job) {
                say(text)?;
            }
        }
        Ok(())
    }

    /// Goes through jobs, the newest first, for as long as `each` wants more.
    async fn each_job(
        &self,
        client: &Client,
        query: &[(&str, &str)],
        mut each: impl FnMut(&str, JobView) -> bool,
    ) -> anyhow::Result<()> {
        let mut cursor = None::<String>;
        loop {
            let mut query = query.to_vec();
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let answer = client.text(client.request_with(Method::GET, &["v1", "jobs"], &query)).await?;
            let page: RawPage = client.parse(&answer)?;
            for job in page.jobs.iter().copied().map(RawValue::get) {
                if !each(job, client.parse(job)?) {
                    return Ok(());
                }
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// Where jobs were when they were told last, the newest ones.
#[derive(Default)]
struct Told {
    /// By id, so in the order of their submits.
    places: BTreeMap<String, (Place, bool)>,
    /// The newest job that was heard of.
    newest: String,
}

impl Told {
    /// Notes where a job is, and says whether it was not told to be there before.
    fn is_news(&mut self, job: &JobView) -> bool {
        if job.id > self.newest {
            self.newest.clone_from(&job.id);
        }
        let now = (place(job), job.has_ended());
        let before = self.places.insert(job.id.clone(), now.clone());
        if self.places.len() > CAUGHT_UP_MAX {
            self.places.pop_first();
        }
        before != Some(now)
    }

    /// The jobs that had not ended, the oldest first.
    fn unfinished(&self) -> Vec<String> {
        self.places.iter().filter(|(_, (_, has_ended))| !has_ended).map(|(id, _)| id.clone()).collect()
    }

    fn forget(&mut self, id: &str) {
        self.places.remove(id);
    }
}
