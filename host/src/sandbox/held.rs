//! What guests make the host hold for them, beside what their streams, files and connections do.
//!
//! The engine keeps requests, responses and their bodies outside of all memory that is counted as the guest's, and a guest may
//! make them without any grant. So they are few, each is small, and no list of what to wait for is longer than what there is.

use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll;
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};

use super::contract::{Guest, HANDLES_MAX};
use super::meter::Exceeded;
use crate::job::Bound;

/// Requests, responses, bodies and lists of fields a guest may hold at a time. The largest is a request, with 32 KiB of its body, its fields
/// and its trailers: all of them together take some 30 MiB.
const HTTP_OBJECTS_MAX: usize = 256;
/// Bytes of methods, schemes, authorities and paths of all the requests a guest holds.
const HTTP_TEXT_BYTES_MAX: usize = 1 << 20;
/// A guest's list of fields, roughly as it lies in memory. To add more is a trap.
pub(super) const FIELDS_BYTES_MAX: usize = 32 * 1024;
/// A piece of a request's body. Two of them are kept until the connection takes them.
pub(super) const BODY_CHUNK_BYTES: usize = 16 * 1024;

/// Puts a check before the engine's `poll`, which is linked already.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:io/poll@0.2.12")?.func_wrap_async(
        "poll",
        |mut store, (pollables,): (Vec<Resource<DynPollable>>,)| {
            Box::new(async move {
                // A guest that sleeps is charged nothing for the list, which the host holds in a longer form.
                if pollables.len() > HANDLES_MAX {
                    return Err(wasmtime::format_err!("it waits for more than {HANDLES_MAX} things in one call"));
                }
                let guest: &mut Guest = store.data_mut();
                Ok((poll::Host::poll(&mut guest.handles, pollables).await?,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Guest {
    /// Ends a guest whose last call made the host hold more of HTTP than it may. Looked at before each call, for it cannot wait, nor
    /// make the host hold more, without one.
    pub(super) fn check_http(&mut self) -> wasmtime::Result<()> {
        if !std::mem::take(&mut self.http_used) {
            return Ok(());
        }
        let (objects, text) = http_held(&mut self.handles);
        let refused = if objects > HTTP_OBJECTS_MAX {
            format!("to hold more than {HTTP_OBJECTS_MAX} requests, responses, bodies and lists of fields at a time")
        } else if text > HTTP_TEXT_BYTES_MAX {
            format!("methods, authorities and paths of more than {HTTP_TEXT_BYTES_MAX} bytes, together")
        } else {
            return Ok(());
        };
        self.denials.refuse(&refused);
        Err(Exceeded(Bound::Memory).into())
    }
}

/// How many objects of HTTP there are, and the bytes of their texts.
fn http_held(handles: &mut ResourceTable) -> (usize, usize) {
    let (mut objects, mut text) = (0, 0);
    for entry in handles.iter_mut() {
        if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            objects += 1;
            text += text_of(request);
        } else {
            let is_http = entry.is::<FieldMap>()
                || entry.is::<HostOutgoingBody>()
                || entry.is::<HostOutgoingResponse>()
                || entry.is::<HostFutureIncomingResponse>()
                || entry.is::<HostIncomingResponse>()
                || entry.is::<HostIncomingBody>()
                || entry.is::<HostFutureTrailers>();
            objects += usize::from(is_http);
        }
    }
    (objects, text)
}

fn text_of(request: &HostOutgoingRequest) -> usize {
    use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
    let method = if let Method::Other(method) = &request.method { method.len() } else { 0 };
    let scheme = if let Some(Scheme::Other(scheme)) = &request.scheme { scheme.len() } else { 0 };
    let others = [&request.authority, &request.path_with_query].map(|text| text.as_ref().map_or(0, String::len));
    method + scheme + others.iter().sum::<usize>()
}
