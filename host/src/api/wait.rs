//! `Prefer: wait=N` (RFC 7240), and what `on_timeout=cancel` adds to it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;

use super::content::Wanted;
use super::problem::Problem;
use super::{Api, result, submit};
use crate::job::JobId;

/// The field [`Wait::preferred`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(super) struct Patience {
    /// `wait=N`: answer with the result if the job ends within so many seconds (RFC 7240). At most `wait_max`; the
    /// Preference-Applied field says how long. Other preferences are ignored.
    #[param(rename = "Prefer")]
    prefer: Option<String>,
}

/// What [`cancels_on_timeout`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(super) struct OnTimeout {
    /// With `Prefer: wait=N`: cancel the job if it has not ended by then.
    #[param(inline)]
    on_timeout: Option<super::options::AtTimeout>,
}

/// How long a client is ready to wait for a job's end, and what it wants then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    duration: Duration,
    cancel_on_timeout: bool,
}

impl Wait {
    /// What the client prefers, within what is allowed.
    pub(super) fn preferred(headers: &HeaderMap, cancel_on_timeout: bool, api: &Api) -> Result<Option<Self>, Problem> {
        let seconds = preferred_seconds(headers);
        if cancel_on_timeout && seconds.is_none() {
            let detail = "on_timeout=cancel says what happens after Prefer: wait=N; send that header as well";
            return Err(Problem::invalid_option(detail).in_parameter("on_timeout", detail));
        }
        let duration = |seconds| Duration::from_secs(seconds).min(api.limits.wait_max);
        Ok(seconds.map(|seconds| Self { duration: duration(seconds), cancel_on_timeout }))
    }

    /// The job's result if it ends in time, else what there is to say.
    pub(super) async fn answer(self, api: &Api, id: JobId, wanted: &Wanted) -> Result<Response, Problem> {
        let mut stopping = api.stopping.clone();
        let (job, timed_out) = tokio::select! {
            job = api.queue.wait(id, self.duration) => (job?, true),
            // The client's time is not over; the job is handed back and will go on.
            _ = stopping.wait_for(|stopping| *stopping) => (api.queue.get(id)?, false),
        };
        let location = submit::location(&job);
        let answer = if self.cancel_on_timeout && timed_out && !job.state.is_terminal() {
            let job = api.queue.cancel(id).await?;
            // It may have ended by itself in the last moment.
            match job.state {
                crate::job::State::Cancelled => Err(Problem::wait_timeout(&job)),
                _ => result::of(api, job, wanted),
            }
        } else {
            result::of(api, job, wanted)
        };
        let mut response = answer.unwrap_or_else(IntoResponse::into_response);
        let applied = format!("wait={}", self.duration.as_secs());
        let applied = HeaderValue::try_from(applied).expect("digits can stand in a header");
        response.headers_mut().insert("preference-applied", applied);
        response.headers_mut().insert(header::LOCATION, location);
        Ok(response)
    }
}

/// Whether a query that may hold nothing else says `on_timeout=cancel`.
pub(super) fn cancels_on_timeout(query: &str) -> Result<bool, Problem> {
    let mut cancels = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let detail = match (name.as_ref(), value.as_ref()) {
            ("on_timeout", "cancel") => {
                cancels = true;
                continue;
            }
            ("on_timeout", _) => "cancel is the only choice",
            _ => "here the query takes on_timeout=cancel alone; a job's options stand in the JSON body of its submit",
        };
        return Err(Problem::invalid_option(format!("the query parameter {name}: {detail}")).in_parameter(name, detail));
    }
    Ok(cancels)
}

fn preferred_seconds(headers: &HeaderMap) -> Option<u64> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_found_among_other_preferences() {
        for (text, seconds) in [
            ("wait=10", Some(10)),
            ("respond-async, wait=10", Some(10)),
            ("Wait = \"7\"; x=y", Some(7)),
            ("wait", None),
            ("wait=soon", None),
            ("waiting=3", None),
        ] {
            let headers = [(header::HeaderName::from_static("prefer"), HeaderValue::from_static(text))];
            assert_eq!(preferred_seconds(&headers.into_iter().collect()), seconds, "{text}");
        }
    }
}
