//! Sends one granted request over a connection of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::http::{HeaderValue, Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use wasmtime_wasi::runtime;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::Sent;
use super::body::Watched;
use super::target::Target;
use super::wire::Wire;
use crate::outbound::{self, Connection, Unreachable};
use crate::sandbox::grants::HttpGrant;
use crate::sandbox::reach::{Denials, Traffic};

/// Waited for a connection and for the beginning of a response, unless the guest wants less. The attempt's deadline comes
/// first anyhow.
const PATIENCE: Duration = Duration::from_secs(600);
/// The head of a response may be so long, and have so many fields.
const HEAD_BYTES_MAX: usize = 128 * 1024;
const FIELDS_MAX: usize = 200;

/// Sends the request, and answers as soon as the head of the response is there. `held` is given back with the connection.
pub(super) async fn send(
    request: Request<WasiBody>,
    options: RequestOptions,
    target: Target,
    grant: &HttpGrant,
    denials: &Denials,
    traffic: Arc<Traffic>,
    held: OwnedSemaphorePermit,
) -> Sent {
    let patience = options.connect_timeout.unwrap_or(PATIENCE).min(PATIENCE);
    let connecting = connect(&target, grant, denials, &traffic);
    let stream = timeout(patience, connecting).await.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    // Dropped with the response or with the attempt, and the connection with it.
    let driver = runtime::spawn(async move {
        let ended = connection.await;
        drop(held);
        ended
    });
    let request = rewritten(request, &target, &traffic)?;
    let patience = options.first_byte_timeout.unwrap_or(PATIENCE).min(PATIENCE);
    let answered = timeout(patience, sender.send_request(request)).await.map_err(|_| Error::ConnectionReadTimeout)?;
    let response = match answered {
        // Whatever the protocol makes of a connection that was cut off for that.
        Err(_) if traffic.is_exceeded() => return Err(Error::HttpResponseBodySize(None)),
        answered => answered?,
    };
    let response = response.map(|body| {
        let silence = options.between_bytes_timeout;
        Watched::response(body.map_err(Error::from), traffic, silence).boxed_unsync()
    });
    Ok((response, Box::new(async move { driver.await.map_err(Error::from) })))
}

/// As it goes over the wire: the path alone, and the host that was checked.
fn rewritten(request: Request<WasiBody>, target: &Target, traffic: &Arc<Traffic>) -> Result<Request<WasiBody>, Error> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>().map_err(|_| Error::HttpRequestUriInvalid)?;
    parts.headers.insert(
        header::HOST,
        HeaderValue::try_from(target.place.host_field()).map_err(|_| Error::HttpRequestUriInvalid)?,
    );
    // One request for each connection: there is nobody to keep it for.
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(Request::from_parts(parts, Watched::request(body, Arc::clone(traffic)).boxed_unsync()))
}

async fn connect(
    target: &Target,
    grant: &HttpGrant,
    denials: &Denials,
    traffic: &Arc<Traffic>,
) -> Result<Box<dyn Connection>, Error> {
    let counted = |stream| Wire { stream, traffic: Arc::clone(traffic) };
    outbound::connect(&target.place, grant.private, counted).await.map_err(|unreachable| match unreachable {
        Unreachable::OnlyPrivate => {
            let lines = ["private = true".to_owned()];
            denials.explain(
                &format!("{target}: the name leads to a private address, and its [[http]] does not allow that"),
                &lines,
            );
            Error::DestinationIpProhibited
        }
        Unreachable::UnknownName(error) => no_such_name(&error),
        Unreachable::Refused(error) => refused(&error),
        Unreachable::Distrusted(error) => distrusted(&error),
    })
}

fn no_such_name(error: &io::Error) -> Error {
    tracing::debug!(%error, "a guest's name could not be looked up");
    Error::DnsError { rcode: Some("the name could not be looked up".to_owned()), info_code: None }
}

fn refused(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        _ => Error::DestinationUnavailable,
    }
}

fn distrusted(error: &io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        _ => Error::TlsProtocolError,
    }
}
