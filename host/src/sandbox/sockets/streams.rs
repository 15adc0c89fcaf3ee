//! The bytes of a connection, counted.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::pipe::{ClosedInputStream, ClosedOutputStream};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult, TcpSocket,
};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::sandbox::contract::Guest;
use crate::sandbox::reach::Traffic;

type Connected = Result<(Resource<DynInputStream>, Resource<DynOutputStream>), ErrorCode>;

pub(super) fn link(tcp: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    tcp.func_wrap("[method]tcp-socket.finish-connect", |mut store, (socket,): (Resource<TcpSocket>,)| {
        Ok((finish_connect(store.data_mut(), socket)?,))
    })
}

/// Lets the engine finish, then puts a counter before each of the two streams.
fn finish_connect(guest: &mut Guest, socket: Resource<TcpSocket>) -> wasmtime::Result<Connected> {
    let (input, output) = match HostTcpSocket::finish_connect(&mut guest.sockets(), socket) {
        Ok(streams) => streams,
        Err(error) => return Ok(Err(error.downcast()?)),
    };
    let traffic = &guest.sockets.traffic;
    let slot = guest.handles.get_mut(&input)?;
    let inner = mem::replace(slot, Box::new(ClosedInputStream));
    *slot = Box::new(Received { inner, traffic: Arc::clone(traffic) });
    let slot = guest.handles.get_mut(&output)?;
    let inner = mem::replace(slot, Box::new(ClosedOutputStream));
    *slot = Box::new(Sent { inner, traffic: Arc::clone(traffic) });
    Ok(Ok((input, output)))
}

fn too_much() -> StreamError {
    StreamError::LastOperationFailed(wasmtime::format_err!("more was sent and received than network_bytes allows"))
}

struct Received {
    inner: DynInputStream,
    traffic: Arc<Traffic>,
}

#[async_trait]
impl Pollable for Received {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl InputStream for Received {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.read(size)?;
        if self.traffic.add(bytes.len()) { Ok(bytes) } else { Err(too_much()) }
    }
}

struct Sent {
    inner: DynOutputStream,
    traffic: Arc<Traffic>,
}

#[async_trait]
impl Pollable for Sent {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Sent {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !self.traffic.add(bytes.len()) {
            return Err(too_much());
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
