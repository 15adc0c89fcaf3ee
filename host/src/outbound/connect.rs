//! Looks a name up, judges every address it stands for, and connects to one of those that passed, and to no other.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::names;
use super::{HostName, Place, Scheme, is_public};

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// How long an address is waited for before the next one is tried beside it (RFC 8305).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Whom to trust: the certificate authorities that browsers trust, built in.
static TLS: LazyLock<TlsConnector> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the protocol versions it is built with");
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
});

/// An open connection, with TLS or without.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// The addresses a host stands for.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// Connect to one of these, and to no other: the name is not looked up again.
    Addresses(Vec<SocketAddr>),
    /// All of them are private, and that was not allowed.
    OnlyPrivate,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Unreachable {
    /// The name could not be looked up.
    UnknownName(io::Error),
    /// Every address it stands for is private, and that was not allowed.
    OnlyPrivate,
    /// No address let us in.
    Refused(io::Error),
    /// Whoever answered could not show that it is who it was taken for, or does not speak TLS.
    Distrusted(io::Error),
}

/// Looks a host up. An address is what it is; a name may lead to private addresses only where `private` allows it.
pub(crate) async fn resolve(host: &HostName, port: u16, private: bool) -> io::Result<Resolved> {
    let name = match host {
        HostName::Address(address) => return Ok(Resolved::Addresses(vec![SocketAddr::new(*address, port)])),
        HostName::Name(name) => name,
    };
    let found = names::look_up(name).await?;
    Ok(allowed(found.into_iter().map(|address| SocketAddr::new(address, port)), private))
}

/// Connects to a place, through what `wrap` makes of the connection; TLS is spoken above that. There is no limit of time here; the
/// caller has one.
pub(crate) async fn connect<C: Connection + 'static>(
    place: &Place,
    private: bool,
    wrap: impl FnOnce(TcpStream) -> C,
) -> Result<Box<dyn Connection>, Unreachable> {
    let resolved = resolve(&place.host, place.port, private).await.map_err(Unreachable::UnknownName)?;
    let Resolved::Addresses(addresses) = resolved else { return Err(Unreachable::OnlyPrivate) };
    let stream = wrap(connect_to_any(&addresses).await.map_err(Unreachable::Refused)?);
    match place.scheme {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => {
            let name = match &place.host {
                HostName::Address(address) => Ok(ServerName::from(*address)),
                HostName::Name(name) => ServerName::try_from(name.clone()),
            };
            let name = name.map_err(|error| Unreachable::Distrusted(io::Error::other(error)))?;
            Ok(Box::new(TLS.connect(name, stream).await.map_err(Unreachable::Distrusted)?))
        }
    }
}

/// Of what a name was found to stand for, what may be connected to. Whoever answers for a name decides what stands there, so
/// every address is judged, not only the first.
fn allowed(found: impl Iterator<Item = SocketAddr>, private: bool) -> Resolved {
    let allowed = found.filter(|address| private || is_public(address.ip()));
    let addresses: Vec<SocketAddr> = allowed.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Resolved::OnlyPrivate } else { Resolved::Addresses(addresses) }
}

async fn connect_to_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = first_to_answer(addresses, TcpStream::connect, NEXT_AFTER).await?;
    // Small requests should not wait for more.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Tries addresses in their order, each as soon as the one before it has failed, or has not answered for `next_after`; those before it
/// may still win.
async fn first_to_answer<T, F: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
    next_after: Duration,
) -> io::Result<T> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let (mut left, mut tries) = (addresses.iter(), FuturesUnordered::new());
    loop {
        tries.extend(left.next().map(|address| connect(*address)));
        tokio::select! {
            ended = tries.next() => match ended {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = tokio::time::sleep(next_after), if left.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed_of(found: &[&str], private: bool) -> Vec<String> {
        let found = found.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 80));
        match allowed(found, private) {
            Resolved::Addresses(addresses) => addresses.iter().map(|address| address.ip().to_string()).collect(),
            Resolved::OnlyPrivate => Vec::new(),
        }
    }

    /// Fault: a name answers with a public address, which is looked at, and a private one, which is connected to.
    #[test]
    fn every_address_a_name_stands_for_is_judged() {
        let mixed =
            ["127.0.0.1", "1.1.1.1", "10.0.0.1", "::ffff:192.168.0.1", "64:ff9b::7f00:1", "2606:4700::1111", "::1"];
        assert_eq!(allowed_of(&mixed, false), ["1.1.1.1", "2606:4700::1111"]);
        assert_eq!(allowed_of(&mixed, true).len(), mixed.len());
        assert_eq!(allowed_of(&["169.254.169.254", "::ffff:127.0.0.1", "fd00::1"], false), Vec::<String>::new());
        assert_eq!(allowed_of(&[], true), Vec::<String>::new());
    }

    /// What trying these comes to: 1 and 2 answer, 3 is taken and does not answer, and the rest refuse.
    async fn tried(last: &[u8]) -> Option<u8> {
        let addresses: Vec<_> = last.iter().map(|last| SocketAddr::from(([127, 0, 0, *last], 80))).collect();
        let connect = |address: SocketAddr| async move {
            match address.ip() {
                std::net::IpAddr::V4(ip) if ip.octets()[3] < 3 => Ok(ip.octets()[3]),
                std::net::IpAddr::V4(ip) if ip.octets()[3] == 3 => std::future::pending().await,
                _ => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            }
        };
        let first = first_to_answer(&addresses, connect, Duration::from_millis(1));
        tokio::time::timeout(Duration::from_secs(10), first).await.ok()?.ok()
    }

    /// Fault: the first of a name's addresses swallows what is sent to it, and no other is ever tried.
    #[tokio::test]
    async fn one_dead_address_does_not_keep_a_name_from_being_reached() {
        assert_eq!(tried(&[3, 1, 2]).await, Some(1));
        assert_eq!(tried(&[9, 3, 9, 3, 2]).await, Some(2));
        assert_eq!(tried(&[1, 3]).await, Some(1));
        assert_eq!(tried(&[9, 9]).await, None);
        assert_eq!(tried(&[]).await, None);
    }

    #[test]
    fn of_many_addresses_a_few_are_tried() {
        let many: Vec<String> = (0..100).map(|last| format!("1.1.1.{last}")).collect();
        assert_eq!(allowed_of(&many.iter().map(String::as_str).collect::<Vec<_>>(), false).len(), ADDRESSES_MAX);
    }
}
