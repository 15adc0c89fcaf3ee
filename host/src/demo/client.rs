//! A small client of the HTTP interface, as any program might have one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::sleep;

/// Time between two looks at a job.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { http: reqwest::Client::new(), url: format!("http://{address}") }
    }

    /// Returns when every plugin has been checked.
    pub(super) async fn until_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        while !self.http.get(format!("{}/readyz", self.url)).send().await?.status().is_success() {
            if Instant::now() > end {
                bail!("the host was not ready after {} s", patience.as_secs());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Submits a file and answers the job's id.
    pub(super) async fn submit(&self, kind: &str, query: &str, file: &'static [u8]) -> anyhow::Result<String> {
        let request = self.http.post(format!("{}/v1/kinds/{kind}/jobs?{query}", self.url)).body(file);
        let job = read(request.send().await?).await?;
        Ok(job["id"].as_str().context("the answer names no job")?.to_owned())
    }

    /// Tells `report` how far the job is until it has succeeded.
    pub(super) async fn follow(&self, id: &str, report: impl Fn(f64, &str)) -> anyhow::Result<()> {
        loop {
            let job = read(self.http.get(format!("{}/v1/jobs/{id}", self.url)).send().await?).await?;
            let progress = &job["progress"];
            report(progress["fraction"].as_f64().unwrap_or(0.0), progress["message"].as_str().unwrap_or_default());
            match job["state"].as_str() {
                Some("succeeded") => return Ok(()),
                Some("failed" | "cancelled") => bail!("job {id} did not succeed: {}", job["failure"]["message"]),
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Fetches every artifact of a job into a folder, and answers their names.
    pub(super) async fn save_artifacts(&self, id: &str, folder: &Path) -> anyhow::Result<Vec<String>> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let url = format!("{}/v1/jobs/{id}/artifacts", self.url);
        let list = read(self.http.get(&url).send().await?).await?;
        let mut names = Vec::new();
        for artifact in list["artifacts"].as_array().context("the answer lists no artifacts")? {
            let name = artifact["name"].as_str().context("an artifact without a name")?;
            let bytes = self.http.get(format!("{url}/{name}")).send().await?.error_for_status()?.bytes().await?;
            std::fs::write(folder.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
            names.push(name.to_owned());
        }
        Ok(names)
    }
}

async fn read(response: reqwest::Response) -> anyhow::Result<Value> {
    let status = response.status();
    let value: Value = serde_json::from_slice(&response.bytes().await?)?;
    if !status.is_success() {
        bail!("the host answered {status}: {}", value["detail"].as_str().unwrap_or_default());
    }
    Ok(value)
}
