//! `wasi:sockets/ip-name-lookup`, for granted names only.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::{self, AbortOnDropJoinHandle};

use crate::job::shorten;
use crate::outbound::{HostName, Resolved, resolve};
use crate::sandbox::contract::Guest;

/// A name being looked up, or the addresses not yet handed to the guest.
pub(in crate::sandbox) enum Lookup {
    Waiting(AbortOnDropJoinHandle<io::Result<Resolved>>),
    Done(Result<std::vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Lookup {
    /// The answer, once it is there. A name that leads nowhere public is as good as no name.
    fn settle(answer: io::Result<Resolved>) -> Result<std::vec::IntoIter<IpAddr>, ErrorCode> {
        match answer {
            Ok(Resolved::Addresses(addresses)) => {
                let addresses: Vec<IpAddr> = addresses.into_iter().map(|address| address.ip().to_canonical()).collect();
                Ok(addresses.into_iter())
            }
            Ok(Resolved::OnlyPrivate) => Err(ErrorCode::AccessDenied),
            Err(_) => Err(ErrorCode::NameUnresolvable),
        }
    }
}

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Waiting(task) = self {
            let answer = task.await;
            *self = Self::Done(Self::settle(answer));
        }
    }
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut lookup = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    lookup.resource("resolve-address-stream", ResourceType::host::<Lookup>(), |mut store, rep| {
        let guest: &mut Guest = store.data_mut();
        guest.handles.delete(Resource::<Lookup>::new_own(rep))?;
        Ok(())
    })?;
    lookup.func_wrap("resolve-addresses", |mut store, (_network, name): (Resource<Network>, String)| {
        let guest: &mut Guest = store.data_mut();
        Ok((match start(guest, &name) {
            Ok(lookup) => Ok(guest.handles.push(lookup)?),
            Err(error) => Err(error),
        },))
    })?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store, (stream,): (Resource<Lookup>,)| Ok((next(store.data_mut(), &stream)?,)),
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store, (stream,): (Resource<Lookup>,)| -> wasmtime::Result<(Resource<DynPollable>,)> {
            let guest: &mut Guest = store.data_mut();
            Ok((subscribe(&mut guest.handles, stream)?,))
        },
    )
}

fn start(guest: &Guest, name: &str) -> Result<Lookup, ErrorCode> {
    let sockets = &guest.sockets;
    let Some(host) = HostName::parse(name) else {
        let name = shorten(name.to_owned(), 100);
        sockets.denials.refuse(&format!("looking up {name:?}, which is no host name or address as grants have them"));
        return Err(ErrorCode::InvalidArgument);
    };
    if let HostName::Address(address) = host {
        // Nothing to look up; whether it may be connected to is asked when it is.
        return Ok(Lookup::Done(Ok(vec![address].into_iter())));
    }
    let mut granted = sockets.reachable.grants.tcp.iter().filter(|grant| grant.host == host).peekable();
    if granted.peek().is_none() {
        let lines = [
            "[[tcp]]".to_owned(),
            format!("host = \"{host}\""),
            "port = 443 # that of https; 80 is that of http: whichever it connects to".to_owned(),
        ];
        sockets.denials.explain(&format!("looking up {host}"), &lines);
        return Err(ErrorCode::AccessDenied);
    }
    let private = granted.any(|grant| grant.private);
    let (reachable, denials) = (Arc::clone(&sockets.reachable), Arc::clone(&sockets.denials));
    let task = runtime::spawn(async move {
        let resolved = resolve(&host, 0, private).await;
        match &resolved {
            Ok(Resolved::Addresses(addresses)) => addresses.iter().for_each(|found| reachable.note(&host, found.ip())),
            Ok(Resolved::OnlyPrivate) => {
                let denied = format!("{host} leads to a private address, and its [[tcp]] does not allow that");
                denials.explain(&denied, &["private = true".to_owned()]);
            }
            Err(error) => tracing::debug!(%error, "a guest's name could not be looked up"),
        }
        resolved
    });
    Ok(Lookup::Waiting(task))
}

fn next(guest: &mut Guest, stream: &Resource<Lookup>) -> wasmtime::Result<Result<Option<IpAddress>, ErrorCode>> {
    let lookup = guest.handles.get_mut(stream)?;
    if let Lookup::Waiting(task) = lookup
        && let Some(answer) = runtime::poll_noop(Pin::new(task))
    {
        *lookup = Lookup::Done(Lookup::settle(answer));
    }
    Ok(match lookup {
        Lookup::Waiting(_) => Err(ErrorCode::WouldBlock),
        Lookup::Done(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
        Lookup::Done(Err(error)) => Err(*error),
    })
}
