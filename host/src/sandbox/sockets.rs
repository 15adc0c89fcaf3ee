//! Connections that guests make through `wasi:sockets`: to granted addresses only, and never the other way round.
//!
//! The engine's own sockets do the work; this file stands before them. A name is looked up only if it is granted, and only
//! an address that such a lookup of this very attempt has found, or that is granted itself, may be connected to.

mod lookup;
mod streams;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{tcp, tcp_create_socket};
use wasmtime_wasi::p2::{TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsView};

use super::contract::Guest;
use super::grants::{Grants, TcpGrant};
use super::reach::{CONNECTIONS_MAX, Denials, Traffic};
use crate::outbound::{HostName, is_public};

/// Addresses of granted names that an attempt may connect to; a server may give others each time it is asked.
const FOUND_MAX: usize = 1_024;

/// One attempt's connections.
pub(super) struct Sockets {
    reachable: Arc<Reachable>,
    denials: Arc<Denials>,
    traffic: Arc<Traffic>,
    connections: Arc<Semaphore>,
    /// What each socket holds, by its number in the table.
    held: HashMap<u32, OwnedSemaphorePermit>,
}

/// What may be connected to.
struct Reachable {
    grants: Arc<Grants>,
    /// What granted names were found to stand for.
    found: Mutex<HashSet<(HostName, IpAddr)>>,
}

impl Sockets {
    /// `connections` are those the attempt may still make, whoever makes them.
    pub(super) fn new(
        grants: Arc<Grants>,
        denials: Arc<Denials>,
        traffic: Arc<Traffic>,
        connections: Arc<Semaphore>,
    ) -> Self {
        let reachable = Arc::new(Reachable { grants, found: Mutex::default() });
        Self { reachable, denials, traffic, connections, held: HashMap::new() }
    }

    /// Has the engine ask before it connects. It makes sockets also where nothing is granted, so that the log can say which
    /// address was wanted.
    pub(super) fn guard(&self, wasi: &mut WasiCtxBuilder) {
        let (reachable, denials) = (Arc::clone(&self.reachable), Arc::clone(&self.denials));
        wasi.allow_tcp(true).allow_udp(false).allow_ip_name_lookup(false);
        wasi.socket_addr_check(move |address, purpose| {
            let granted = match purpose {
                SocketAddrUse::TcpConnect => reachable.may_connect(address, &denials),
                // What every connection does before it connects: any free port.
                SocketAddrUse::TcpBind if address.port() == 0 && address.ip().is_unspecified() => true,
                _ => {
                    denials.refuse(&format!("listening on {address}, which cannot be granted"));
                    false
                }
            };
            Box::pin(std::future::ready(granted))
        });
    }
}

impl Reachable {
    fn may_connect(&self, address: SocketAddr, denials: &Denials) -> bool {
        let ip = address.ip().to_canonical();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let allows = |grant: &&TcpGrant| match &grant.host {
            HostName::Address(granted) => *granted == ip,
            name => found.contains(&(name.clone(), ip)) && (grant.private || is_public(ip)),
        };
        let granted = self.grants.tcp.iter().filter(|grant| grant.port == address.port()).find(allows);
        if granted.is_none() {
            let lines = ["[[tcp]]".to_owned(), format!("host = \"{ip}\""), format!("port = {}", address.port())];
            denials.explain(&format!("a connection to {}", SocketAddr::new(ip, address.port())), &lines);
        }
        granted.is_some()
    }

    fn note(&self, name: &HostName, address: IpAddr) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        // What is not noted is not granted.
        if found.len() < FOUND_MAX {
            found.insert((name.clone(), address.to_canonical()));
        }
    }
}

/// Puts the checks before the engine's sockets, which are linked already.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance("wasi:sockets/tcp-create-socket@0.2.12")?
        .func_wrap("create-tcp-socket", |mut store, (family,): (IpAddressFamily,)| {
            Ok((create(store.data_mut(), family)?,))
        })?;
    linker.instance("wasi:sockets/udp-create-socket@0.2.12")?.func_wrap(
        "create-udp-socket",
        |mut store, (_family,): (IpAddressFamily,)| {
            store.data_mut().sockets.denials.refuse("a UDP socket, which cannot be granted");
            Ok((Err::<Resource<UdpSocket>, _>(ErrorCode::AccessDenied),))
        },
    )?;
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.resource("tcp-socket", ResourceType::host::<TcpSocket>(), |mut store, rep| {
        let guest: &mut Guest = store.data_mut();
        guest.sockets.held.remove(&rep);
        tcp::HostTcpSocket::drop(&mut guest.sockets(), Resource::new_own(rep))
    })?;
    streams::link(&mut tcp)?;
    lookup::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn create(guest: &mut Guest, family: IpAddressFamily) -> wasmtime::Result<Result<Resource<TcpSocket>, ErrorCode>> {
    let Ok(held) = Arc::clone(&guest.sockets.connections).try_acquire_owned() else {
        guest.sockets.denials.refuse(&format!("a socket: {CONNECTIONS_MAX} connections are open, which is the most"));
        return Ok(Err(ErrorCode::NewSocketLimit));
    };
    match tcp_create_socket::Host::create_tcp_socket(&mut guest.sockets(), family) {
        Ok(socket) => {
            guest.sockets.held.insert(socket.rep(), held);
            Ok(Ok(socket))
        }
        Err(error) => Ok(Err(error.downcast()?)),
    }
}
