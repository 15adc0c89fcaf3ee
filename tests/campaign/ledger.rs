//! What clients were told, held against what the host says in the end.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::{Answer, client};
use crate::support::{Host, eventually, is_terminal};

/// Every acknowledged job, with the outcome a client has seen, if one has.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<HashMap<String, Option<Value>>>);

/// How a campaign ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) accepted: usize,
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
    pub(crate) cancelled: usize,
    pub(crate) pending: usize,
}

impl Ledger {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, Option<Value>>) -> T) -> T {
        act(&mut self.0.lock().expect("no client panics with the ledger in hand"))
    }

    /// How many jobs were acknowledged so far.
    pub(crate) fn len(&self) -> usize {
        self.with(|jobs| jobs.len())
    }

    /// Submits a job, and writes it down if that was acknowledged. The host may be gone at any moment.
    pub(crate) fn submit(&self, address: &str, kind: &str, body: Vec<u8>) -> Option<String> {
        self.submit_with(address, kind, "", body)
    }

    /// The same with more options, such as `&delay=1s`.
    pub(crate) fn submit_with(&self, address: &str, kind: &str, options: &str, body: Vec<u8>) -> Option<String> {
        self.submit_within(Duration::from_secs(20), address, kind, options, body)
    }

    fn submit_within(
        &self,
        patience: Duration,
        address: &str,
        kind: &str,
        options: &str,
        body: Vec<u8>,
    ) -> Option<String> {
        let url = format!("{address}/v1/kinds/{kind}/jobs?timeout=20s{options}");
        let request = client().request(Method::POST, url).timeout(patience).body(body);
        let answer = Answer::try_of(request).ok().filter(|answer| answer.status == 202)?;
        let id = answer.json()["id"].as_str().expect("a job has an id").to_owned();
        let before = self.with(|jobs| jobs.insert(id.clone(), None));
        assert!(before.is_none(), "two submits were answered with the same job {id}");
        Some(id)
    }

    /// Submits a job that may be answered late.
    pub(crate) fn submit_patiently(&self, address: &str, kind: &str) -> Option<String> {
        self.submit_within(Duration::from_secs(120), address, kind, "", Vec::new())
    }

    /// Looks at a job, and writes down its outcome if it has one.
    pub(crate) fn look(&self, address: &str, id: &str) {
        let request = client().request(Method::GET, format!("{address}/v1/jobs/{id}"));
        let Ok(answer) = Answer::try_of(request.timeout(Duration::from_secs(20))) else { return };
        assert_eq!(answer.status, 200, "an acknowledged job is gone: {}", answer.text());
        self.write_down(id, &answer.json());
    }

    /// Asks for a job to be cancelled, and writes down what was answered.
    pub(crate) fn cancel(&self, address: &str, id: &str) {
        let request = client().request(Method::POST, format!("{address}/v1/jobs/{id}/cancel"));
        let Ok(answer) = Answer::try_of(request.timeout(Duration::from_secs(20))) else { return };
        if answer.status == 200 {
            self.write_down(id, &answer.json());
        }
    }

    fn write_down(&self, id: &str, job: &Value) {
        if is_terminal(job) {
            // An attempt that was stopped by a cancel reports later; everything else is final.
            let outcome = json!([job["state"], job["failure"], job["attempts"], job["finished_at"]]);
            let before = self.with(|jobs| jobs.insert(id.to_owned(), Some(outcome.clone())));
            if let Some(Some(before)) = before {
                assert_eq!(before, outcome, "job {id} has two outcomes");
            }
        }
    }

    /// Waits until every acknowledged job has ended, and counts how.
    pub(crate) fn settle(&self, host: &Host) -> Balance {
        // In whatever order they run: as long as some end, the others will.
        let mut left = unfinished(host);
        while left > 0 {
            left = eventually("another job ends", || Some(unfinished(host)).filter(|now| *now < left));
        }
        let ids: Vec<String> = self.with(|jobs| jobs.keys().cloned().collect());
        let mut balance = Balance { accepted: ids.len(), ..Balance::default() };
        for id in ids {
            let job = eventually(&format!("job {id} ends"), || {
                let answer = host.get(&format!("/v1/jobs/{id}"));
                assert_eq!(answer.status, 200, "an acknowledged job is lost: {}", answer.text());
                Some(answer.json()).filter(is_terminal)
            });
            self.write_down(&id, &job);
            match job["state"].as_str() {
                Some("succeeded") => balance.succeeded += 1,
                Some("failed") => balance.failed += 1,
                Some("cancelled") => balance.cancelled += 1,
                _ => balance.pending += 1,
            }
        }
        let Balance { accepted, succeeded, failed, cancelled, pending } = balance;
        eprintln!(
            "accepted {accepted} = succeeded {succeeded} + failed {failed} + cancelled {cancelled} + pending {pending}"
        );
        assert_eq!(accepted, succeeded + failed + cancelled + pending);
        balance
    }
}

/// Jobs that have not ended yet.
fn unfinished(host: &Host) -> u64 {
    let kinds = host.get("/v1/kinds").json();
    let counts = kinds["kinds"].as_array().expect("a list").iter().map(|kind| &kind["counts"]);
    let of = |counts: &Value, state: &str| counts[state].as_u64().expect("a number");
    counts
        .map(|counts| ["queued", "running", "scheduled", "blocked"].map(|state| of(counts, state)).iter().sum::<u64>())
        .sum()
}
