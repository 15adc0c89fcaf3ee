//! Commands about several jobs: stop them, run them again, forget them. What is wrong with one is no reason to leave the others.

use clap::Args;
use console::style;
use reqwest::Method;
use serde_json::json;

use super::exit::{self, Exit};
use super::notes::{self, Note};
use super::remote::{Remote, say};
use super::text::printable;
use super::typed;
use super::wait::summary;
use crate::client::{Client, ClientError, JobView};

/// Some jobs and the host that has them.
#[derive(Debug, Args)]
pub(super) struct Each {
    /// The jobs
    #[arg(value_name = "ID", required = true, value_parser = typed::id)]
    ids: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

/// `dropforge cancel`
pub(super) async fn cancel(each: Each) -> anyhow::Result<Exit> {
    each.carry_out(async |client, id| {
        let answer = each.post(client, id, "cancel").await?;
        if each.remote.json {
            return Ok(answer);
        }
        let job: JobView = client.parse(&answer)?;
        // A cancel of what has ended is no mistake, and it did nothing.
        let before = if matches!(job.state.as_str(), "succeeded" | "failed") { "had ended already: " } else { "" };
        Ok(format!("{before}{}", summary(&job)))
    })
    .await
}

/// `dropforge retry`
pub(super) async fn retry(each: Each) -> anyhow::Result<Exit> {
    each.carry_out(async |client, id| {
        let answer = each.post(client, id, "retry").await?;
        Ok(if each.remote.json { answer } else { summary(&client.parse(&answer)?) })
    })
    .await
}

/// `dropforge delete`
pub(super) async fn delete(each: Each) -> anyhow::Result<Exit> {
    each.carry_out(async |client, id| {
        client.send(client.request(Method::DELETE, &["v1", "jobs", id])).await?;
        Ok(if each.remote.json {
            json!({"id": id, "deleted": true}).to_string()
        } else {
            format!("deleted {}", style(printable(id)).dim())
        })
    })
    .await
}

impl Each {
    /// Does this with one job after the other, and says of each what came of it. The exit code is that of the first that went wrong.
    async fn carry_out(
        &self,
        mut work: impl AsyncFnMut(&Client, &str) -> anyhow::Result<String>,
    ) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let (mut exit, mut unheard) = (Exit::Success, None);
        for (place, id) in self.ids.iter().enumerate() {
            let error = match work(&client, id).await {
                Ok(done) => {
                    // Whoever reads what was done may have had enough; the work goes on.
                    unheard = unheard.or(say(&done).err());
                    continue;
                }
                Err(error) => error,
            };
            exit::tell_of(id, &error, self.remote.json);
            if exit == Exit::Success {
                exit = Exit::of(&error);
            }
            if !is_about_this_job(&error) {
                self.tell_left(&self.ids[place + 1..]);
                break;
            }
        }
        unheard.filter(|_| exit == Exit::Success).map_or(Ok(exit), Err)
    }

    async fn post(&self, client: &Client, id: &str, verb: &str) -> anyhow::Result<String> {
        Ok(client.text(client.request(Method::POST, &["v1", "jobs", id, verb])).await?)
    }

    /// Where nothing can be done with any further job either.
    fn tell_left(&self, left: &[String]) {
        if !left.is_empty() {
            let left: Vec<_> = left.iter().map(|id| printable(id)).collect();
            let sentence = format!("nothing was done about {}", left.join(", "));
            notes::tell(self.remote.json, &Note::new("not_done", sentence));
        }
    }
}

/// Whether others may fare better: not where nobody answers, or nobody who asks is known.
fn is_about_this_job(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Refused(refusal)) if !matches!(refusal.status, 401 | 429 | 500..))
}
