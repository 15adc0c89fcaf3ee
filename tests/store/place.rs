//! A place with an open store on it, and the verbs of the stories told about it.

use std::ops::Deref;
use std::path::Path;

use dropforge::job::{Ended, Job, JobId, State};
use dropforge::store::{Artifact, Attempt, Claimed, Filter, NewJob, Payload, Settings, Store};
use dropforge::time::Time;
use tempfile::TempDir;

use crate::child::undisturbed;
use crate::parts::{NOW, all, assert_counts, attempt, bytes_of, job, kind, no_limit, payload, permanent};

/// Crashes after which a guilty job has failed, in every story.
pub(crate) const CRASHES_MAX: u32 = 3;
/// A host that claims few jobs and keeps no room on the disk for itself.
pub(crate) const SETTINGS: Settings = Settings { claims_max: 64, reserve_bytes: 0 };

/// An open store that has judged how its last process ended, as a host has before its first claim.
pub(crate) struct Place {
    /// The jobs that were inside a guest when the last process died.
    pub(crate) suspects: Vec<JobId>,
    // Above the folder, so that it is closed before the folder goes.
    store: Store,
    folder: TempDir,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::open(tempfile::tempdir().expect("a temporary folder")).await
    }

    pub(crate) async fn open(folder: TempDir) -> Self {
        let store = crate::open(folder.path(), &SETTINGS).expect("the place opens");
        let suspects = store.recover(CRASHES_MAX, NOW).await.expect("the disk works");
        Self { suspects: suspects.into_iter().map(|job| job.id).collect(), store, folder }
    }

    /// Closes the store in good order; what it holds stays.
    pub(crate) fn into_folder(self) -> TempDir {
        let Self { store, folder, .. } = self;
        undisturbed(|| drop(store));
        folder
    }

    pub(crate) async fn reopened(self) -> Self {
        Self::open(self.into_folder()).await
    }

    /// The same in another folder, by way of an export.
    pub(crate) async fn moved(self) -> Self {
        let (old, new) = (self.into_folder(), tempfile::tempdir().expect("a temporary folder"));
        let mut exported = Vec::new();
        undisturbed(|| dropforge::store::export(old.path(), &mut exported)).expect("it can be exported");
        undisturbed(|| dropforge::store::import(new.path(), &mut exported.as_slice())).expect("it can be imported");
        Self::open(new).await
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Submits a job that must be accepted.
    pub(crate) async fn add(&self, new: NewJob) -> JobId {
        self.store.submit(new, no_limit()).await.expect("accepted").id
    }

    /// Claims the one job of this kind that is to be next.
    pub(crate) fn take(&self, name: &str) -> Claimed {
        self.claim_all(&[(name, 1)], NOW).pop().unwrap_or_else(|| panic!("no job of kind {name} to be claimed"))
    }

    /// Claims as many as there are, up to so many of each kind.
    pub(crate) fn claim_all(&self, free: &[(&str, usize)], now: Time) -> Vec<Claimed> {
        let free: Vec<_> = free.iter().map(|(name, slots)| (kind(name), *slots)).collect();
        self.store.claim(&free, usize::MAX, now)
    }

    /// Ends an attempt, which must be accepted.
    pub(crate) async fn end(&self, claimed: &Claimed, ended: Ended) -> Job {
        self.store.finish(claimed.job.id, claimed.token, attempt(ended)).await.expect("the claim holds")
    }

    /// A job that has ended so, in a single attempt or none.
    pub(crate) async fn ended(&self, name: &str, state: State) -> JobId {
        let id = self.add(job(name)).await;
        match state {
            State::Cancelled => drop(self.store.cancel(id, None, NOW).await.expect("a queued job can be cancelled")),
            State::Succeeded => drop(self.end(&self.take(name), Ended::Succeeded).await),
            State::Failed => drop(self.end(&self.take(name), permanent()).await),
            other => panic!("{} is no end", other.as_str()),
        }
        assert_eq!(self.job(id).state, state);
        id
    }

    pub(crate) fn job(&self, id: JobId) -> Job {
        self.store.get(id).expect("the disk works").expect("the job exists")
    }

    pub(crate) fn exists(&self, id: JobId) -> bool {
        self.store.get(id).expect("the disk works").is_some()
    }

    /// The bytes of a result that must be there.
    pub(crate) fn output_bytes(&self, id: JobId) -> Vec<u8> {
        bytes_of(&self.store.output(id).expect("readable").expect("there is a result").content)
    }

    /// Turns bytes into a payload, as a request body or a plugin's output would be.
    pub(crate) fn payload(&self, bytes: &[u8]) -> Payload {
        payload(&self.store, bytes)
    }

    /// A job with this input.
    pub(crate) fn job_with_input(&self, name: &str, bytes: &[u8]) -> NewJob {
        NewJob { input: self.payload(bytes), ..job(name) }
    }

    /// A successful attempt with this result.
    pub(crate) fn success_with(&self, output: &[u8]) -> Attempt {
        Attempt { output: Some(self.payload(output)), ..attempt(Ended::Succeeded) }
    }

    /// A file a job wrote.
    pub(crate) fn artifact_of(&self, name: &str, bytes: &[u8]) -> Artifact {
        let payload = self.payload(bytes);
        Artifact { name: name.to_owned(), sha256: payload.content.sha256(), payload }
    }

    /// Every job, newest first.
    pub(crate) fn all(&self) -> Vec<Job> {
        all(&self.store, &Filter::default(), 1_000)
    }

    /// Fails unless the counts of these kinds say what a full list says.
    pub(crate) fn check_counts(&self, names: &[&str]) {
        for name in names {
            let kind = kind(name);
            let filter = Filter { kind: Some(kind.clone()), ..Filter::default() };
            let jobs = all(&self.store, &filter, 1_000);
            assert_counts(&self.store.counts(&kind), &jobs);
        }
    }

    /// What the place takes on the disk, whatever lies there.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        bytes_below(self.path())
    }
}

impl Deref for Place {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = folder.read_dir().expect("the place can be listed");
    let sizes = entries.map(|entry| {
        let entry = entry.expect("the place can be listed");
        // A file may vanish while we look.
        entry.metadata().map_or(0, |about| if about.is_dir() { bytes_below(&entry.path()) } else { about.len() })
    });
    sizes.sum()
}
