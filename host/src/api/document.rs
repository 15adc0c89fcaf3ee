//! `GET /openapi.json`: everything the host offers, for programs (OpenAPI 3.1).
//!
//! What a route takes and answers stands beside its handler; what stands around every route is added in `around`, what the host sends of itself
//! in `told`, and each kind that serves with its own schemas in `kinds`. A document is made once for each change of the plugins and kept.

mod around;
mod embed;
mod kinds;
mod told;

use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::OpenApi;

use super::caller::Caller;
use super::content::{self, Conditions, Wanted};
use super::problem::{self, Problem};
use super::{
    Api, artifacts, batch, blobs, docs, events, explain, host, jobs, kinds as kind_routes, logs, metrics, result,
    submit, ws,
};
use crate::job::Kind;
use crate::plugins::Plugin;

/// Documents kept: one for those who see all kinds, and for tokens that see some, the newest.
const KEPT_MAX: usize = 16;

/// What the host offers, whichever kinds there are.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dropforge",
        description = "Durable, asynchronous jobs over HTTP. A job is accepted with `202` once it is on disk, and ends `succeeded`, `failed` or `cancelled`. \
            `HEAD` works wherever `GET` does. Every refusal is `application/problem+json` (RFC 9457). Times are RFC 3339 in UTC.",
    ),
    tags(
        (name = "submit", description = "Have something done"),
        (name = "jobs", description = "Look at jobs, stop them, run them again"),
        (name = "results", description = "What came out of a job"),
        (name = "events", description = "Hear what happens"),
        (name = "kinds", description = "What can be run"),
        (name = "blobs", description = "Files that are sent once and named by many inputs"),
        (name = "host", description = "The host itself"),
    ),
    paths(
        submit::json, submit::raw, batch::post,
        jobs::list, jobs::get, jobs::delete, jobs::cancel, jobs::retry, explain::get,
        result::get, artifacts::list, artifacts::one, artifacts::all, logs::get,
        events::of_job, events::of_all, ws::connect, ws::schema,
        kind_routes::list, kind_routes::one, kind_routes::pause, kind_routes::resume,
        blobs::post, blobs::get,
        host::plugins, host::healthz, host::readyz, host::index, docs::get, metrics::get, get,
    ),
    components(schemas(
        problem::Members, batch::BatchAnswer, logs::Line,
        events::ProgressEvent, events::LogEvent, events::ResyncEvent,
    ))
)]
struct Offered;

/// The document without any kind.
static WITHOUT_KINDS: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::to_value(Offered::openapi()).unwrap_or_default();
    around::complete(&mut document);
    told::add(&mut document);
    document
});

/// The documents that were made.
#[derive(Default)]
pub(super) struct Documents {
    kept: Mutex<Vec<Document>>,
    /// Held by whoever makes one: all others who want it wait, and find it made.
    making: tokio::sync::Mutex<()>,
}

/// What a client is given.
#[derive(Clone)]
struct Document {
    /// For those who see these kinds, or all.
    kinds: Option<Arc<[Kind]>>,
    /// True for as long as these serve. Names them without holding on to them.
    made_of: Vec<Weak<Plugin>>,
    bytes: Bytes,
    tag: String,
}

impl Document {
    fn is_of(&self, kinds: Option<&Arc<[Kind]>>, plugins: &[Arc<Plugin>]) -> bool {
        let same = |(known, plugin): (&Weak<Plugin>, &Arc<Plugin>)| known.as_ptr() == Arc::as_ptr(plugin);
        self.kinds.as_ref() == kinds
            && self.made_of.len() == plugins.len()
            && self.made_of.iter().zip(plugins).all(same)
    }

    fn make(kinds: Option<Arc<[Kind]>>, plugins: &[Arc<Plugin>]) -> Self {
        let mut document = WITHOUT_KINDS.clone();
        kinds::add(&mut document, plugins);
        let bytes = serde_json::to_vec(&document).unwrap_or_default();
        let tag = content::entity_tag(&Sha256::digest(&bytes).into());
        Self { kinds, made_of: plugins.iter().map(Arc::downgrade).collect(), bytes: bytes.into(), tag }
    }
}

impl Documents {
    /// The document about these plugins, for those who see these kinds.
    async fn of(&self, kinds: Option<Arc<[Kind]>>, plugins: Vec<Arc<Plugin>>) -> Result<Document, Problem> {
        if let Some(known) = self.known(kinds.as_ref(), &plugins) {
            return Ok(known);
        }
        let _making = self.making.lock().await;
        if let Some(known) = self.known(kinds.as_ref(), &plugins) {
            return Ok(known);
        }
        // Many kinds with large schemas take a moment, in which others are served.
        let made = tokio::task::spawn_blocking(move || Document::make(kinds, &plugins)).await;
        let made = made.map_err(|_| Problem::internal("the host panicked over its document"))?;
        let mut kept = self.locked();
        kept.retain(|known| known.kinds != made.kinds);
        kept.truncate(KEPT_MAX - 1);
        kept.insert(0, made.clone());
        Ok(made)
    }

    fn known(&self, kinds: Option<&Arc<[Kind]>>, plugins: &[Arc<Plugin>]) -> Option<Document> {
        self.locked().iter().find(|known| known.is_of(kinds, plugins)).cloned()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Document>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This document.
///
/// With a path for each kind that serves, and its schemas. With a token for some kinds, of those alone.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "host", params(Conditions),
    responses(
        (status = 200, description = "The document", body = Object, headers(("ETag"))),
        (status = 304, description = "It is what If-None-Match names", headers(("ETag"))),
        (status = 412, description = "It is not what If-Match names"),
    )
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(documents): Extension<Arc<Documents>>,
    caller: Caller,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut plugins = api.plugins.all_serving();
    plugins.retain(|plugin| caller.sight().covers_kind(&plugin.kind));
    let Document { bytes, tag, .. } = documents.of(caller.sight().kinds.clone(), plugins).await?;
    if let Some(unchanged) = Wanted::by(&method, &headers).precondition(&tag)? {
        return Ok(unchanged);
    }
    let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response();
    content::protect(response.headers_mut(), &tag);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Fault: a hundred clients ask for the document after a plugin was changed, and it is made a hundred times at once.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn however_many_ask_at_once_it_is_made_once() {
        let documents = Arc::<Documents>::default();
        let asking = (0..50).map(|_| {
            let documents = Arc::clone(&documents);
            tokio::spawn(async move { documents.of(None, Vec::new()).await.expect("it can be made").bytes })
        });
        let given = futures_util::future::join_all(asking).await;
        let places: std::collections::HashSet<usize> =
            given.iter().map(|bytes| bytes.as_ref().expect("nobody panics").as_ptr() as usize).collect();
        assert_eq!(places.len(), 1, "each has the same bytes at the same place");
    }

    #[test]
    fn every_route_is_in_the_document_and_no_other() {
        let offered = WITHOUT_KINDS["paths"].as_object().expect("paths");
        let documented: BTreeSet<&str> = offered.keys().map(String::as_str).collect();
        let routed: BTreeSet<&str> = super::super::front::routes().into_iter().map(|(path, _)| path).collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_says_what_it_does() {
        let items = WITHOUT_KINDS["paths"].as_object().expect("paths").values();
        let operations: Vec<&Value> = items.flat_map(|item| item.as_object().expect("an item").values()).collect();
        let names: BTreeSet<&str> = operations.iter().filter_map(|one| one["operationId"].as_str()).collect();
        assert_eq!(names.len(), operations.len());
        assert!(operations.iter().all(|one| one["summary"].as_str().is_some_and(|text| text.len() > 5)));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, root: &Value) {
            if let Some(target) = value["$ref"].as_str() {
                let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                assert!(found.is_some(), "{target}");
            }
            let inner: Vec<&Value> = match value {
                Value::Object(members) => members.values().collect(),
                Value::Array(values) => values.iter().collect(),
                _ => Vec::new(),
            };
            inner.into_iter().for_each(|value| walk(value, root));
        }
        walk(&WITHOUT_KINDS, &WITHOUT_KINDS);
    }
}
