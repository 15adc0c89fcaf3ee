//! A job's webhook as clients see it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::job::{Standing, Webhook};
use crate::time::Time;

/// Whom the job's end is told, and how far that has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobWebhook)]
pub(super) struct WebhookView {
    /// The receiver, without the query.
    url: String,
    state: WebhookState,
    /// How often it was tried.
    tries: u32,
    #[schema(required)]
    next_try_at: Option<Time>,
    #[schema(required)]
    delivered_at: Option<Time>,
    #[schema(required)]
    given_up_at: Option<Time>,
    /// What came of the last try that failed.
    #[schema(required)]
    last_error: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WebhookState {
    /// The job has not ended.
    Waiting,
    /// The job has ended, and the receiver is to be told.
    Due,
    /// The receiver has it.
    Delivered,
    /// The receiver did not want it, or could not be told in time.
    GivenUp,
}

impl WebhookView {
    pub(super) fn new(webhook: Webhook) -> Self {
        // What stands in the query is often a secret between the client and the receiver; who may look at a job need not know it. By
        // the path a client tells its own webhooks apart.
        let url = match webhook.url.split_once('?') {
            Some((path, _)) => format!("{path}?…"),
            None => webhook.url,
        };
        let (tries, last_error) = (webhook.tries, webhook.last_error);
        let (next_try_at, delivered_at, given_up_at) = (None, None, None);
        let state = WebhookState::Waiting;
        let view = Self { url, state, tries, next_try_at, delivered_at, given_up_at, last_error };
        match webhook.standing {
            Standing::Waiting => view,
            Standing::Due { next_try_at, .. } => {
                Self { state: WebhookState::Due, next_try_at: Some(next_try_at), ..view }
            }
            Standing::Delivered { at } => Self { state: WebhookState::Delivered, delivered_at: Some(at), ..view },
            Standing::GivenUp { at } => Self { state: WebhookState::GivenUp, given_up_at: Some(at), ..view },
        }
    }
}
