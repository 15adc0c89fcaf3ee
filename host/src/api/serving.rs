//! Which plugin serves a kind; if none does, why, and which kind may have been meant.

use std::sync::Arc;

use super::caller::Caller;
use super::problem::Problem;
use super::{Api, explain};
use crate::job::Kind;
use crate::plugins::{FileReport, Plugin, Unusable, nearest};
use crate::store::StoreError;
use crate::tokens::Scope;

/// Kinds that are compared with one that is not there.
const NEAR_KINDS_MAX: usize = 100;
/// From this likeness on one kind may have been meant by another; 1 is the same.
const NEAR: f64 = 0.8;

/// The plugin that serves a kind, or why nothing can be submitted to it now.
pub(super) async fn serving(api: &Api, caller: &Caller, name: &str) -> Result<Arc<Plugin>, Problem> {
    caller.require_kind(name)?;
    // Before the body is read: it would only make the room scarcer.
    if api.queue.store().is_short_of_room() {
        return Err(StoreError::DiskFull.into());
    }
    find(api, caller, name).await
}

/// The plugin that serves a kind, or why there is none.
pub(super) async fn find(api: &Api, caller: &Caller, name: &str) -> Result<Arc<Plugin>, Problem> {
    let kind = Kind::new(name).ok_or_else(|| Problem::unknown_kind(name))?;
    match api.plugins.find(&kind) {
        Err(Unusable::Unknown) if api.plugins.lies_there(&kind).await => {
            let detail =
                format!("{kind} is not ready yet: its file has just been put into the plugin folder; try again in 1 s");
            Err(Problem::not_ready(detail).or_retry_after(Some(1)))
        }
        found => found.map_err(|why| unusable(api, caller, &kind, why)),
    }
}

/// Why a kind cannot be used, or which one may have been meant.
fn unusable(api: &Api, caller: &Caller, kind: &Kind, why: Unusable) -> Problem {
    match why {
        Unusable::NotReady { what, again_in } => {
            let seconds = explain::whole_seconds(again_in);
            let detail = format!("{kind} is not ready yet: {what}; try again in {seconds} s");
            Problem::not_ready(detail).or_retry_after(Some(seconds))
        }
        // A reason can name files of the host. It is for those who may see the list of plugin files.
        Unusable::Rejected { file, reason } if caller.require(Scope::Read).is_ok() => {
            Problem::unknown_kind_but(kind.as_str(), &format!("{file} was rejected: {reason}"))
        }
        Unusable::Rejected { .. } => {
            let help = "its file was rejected; ask the operator (GET /v1/plugins says why)";
            Problem::unknown_kind_but(kind.as_str(), help)
        }
        Unusable::Unknown => meant(&api.plugins.files(), caller, kind),
    }
}

/// There is no such kind. Another one may have been meant.
fn meant(files: &[FileReport], caller: &Caller, kind: &Kind) -> Problem {
    let known = files.iter().filter_map(|file| file.kind.as_ref()).filter(|known| caller.may_see_file(Some(known)));
    match nearest(kind.as_str(), known.take(NEAR_KINDS_MAX).map(Kind::as_str), NEAR) {
        Some(meant) => Problem::unknown_kind_but(kind.as_str(), &format!("did you mean {meant}?")),
        None => Problem::unknown_kind(kind.as_str()),
    }
}
