//! Requests through `wasi:http`.

use crate::wasi::http::outgoing_handler::handle;
use crate::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use crate::wasi::io::streams::{InputStream, StreamError};

/// Sends a request without a body; answers the status and the body.
pub(crate) fn fetch(method: &str, scheme: &str, authority: &str, path: &str, fields: &[&str]) -> Result<String, String> {
    let response = answered(&handled(request(method, scheme, authority, path, fields)?)?)?;
    let mut body = Vec::new();
    read(&response, |bytes| body.extend_from_slice(bytes))?;
    Ok(format!("{} {}", response.status(), String::from_utf8_lossy(&body)))
}

/// Sends a request with a body of this size; answers the status, or how far it came.
pub(crate) fn send(scheme: &str, authority: &str, bytes: usize) -> Result<String, String> {
    let request = request("POST", scheme, authority, "/", &[])?;
    let body = request.body().map_err(|()| "no body")?;
    let future = handled(request)?;
    let stream = body.write().map_err(|()| "no stream")?;
    let chunk = [b'x'; 4096];
    let mut left = bytes;
    while left > 0 {
        let size = left.min(chunk.len());
        stream.blocking_write_and_flush(&chunk[..size]).map_err(|_| format!("stopped with {left} bytes left"))?;
        left -= size;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(named)?;
    Ok(answered(&future)?.status().to_string())
}

/// Answers how many bytes the response's body has.
pub(crate) fn count(scheme: &str, authority: &str, path: &str) -> Result<String, String> {
    let response = answered(&handled(request("GET", scheme, authority, path, &[])?)?)?;
    let mut count = 0;
    read(&response, |bytes| count += bytes.len()).map_err(|error| format!("{error} after {count} bytes"))?;
    Ok(count.to_string())
}

/// Holds so many requests at once; answers how many were refused at once.
pub(crate) fn crowd(count: usize, authority: &str, path: &str) -> Result<String, String> {
    let mut futures = Vec::new();
    let mut refused = 0;
    for _ in 0..count {
        match handled(request("GET", "http", authority, path, &[])?) {
            Ok(future) => futures.push(future),
            Err(_) => refused += 1,
        }
    }
    let answered = futures.iter().filter(|future| answered(future).is_ok()).count();
    Ok(format!("{answered} answered, {refused} refused"))
}

fn request(method: &str, scheme: &str, authority: &str, path: &str, fields: &[&str]) -> Result<OutgoingRequest, String> {
    let headers = Fields::new();
    for field in fields {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        headers.append(name, value.as_bytes()).map_err(|error| format!("field {name}: {error:?}"))?;
    }
    let request = OutgoingRequest::new(headers);
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.into()),
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.into()),
    };
    request.set_method(&method).map_err(|()| "the method is refused")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme is refused")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority is refused")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path is refused")?;
    Ok(request)
}

fn handled(request: OutgoingRequest) -> Result<FutureIncomingResponse, String> {
    handle(request, None).map_err(named)
}

fn answered(future: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
    future.subscribe().block();
    future.get().ok_or("no answer")?.map_err(|()| "asked twice")?.map_err(named)
}

fn read(response: &IncomingResponse, mut take: impl FnMut(&[u8])) -> Result<(), String> {
    let body = response.consume().map_err(|()| "no body")?;
    let stream: InputStream = body.stream().map_err(|()| "no stream")?;
    loop {
        match stream.blocking_read(65_536) {
            Ok(bytes) => take(&bytes),
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
}

/// Only the cases the tests ask for; their texts would be a large part of this guest.
fn named(error: ErrorCode) -> String {
    match error {
        ErrorCode::HttpRequestDenied => "denied".into(),
        ErrorCode::HttpRequestUriInvalid => "invalid URI".into(),
        ErrorCode::HttpRequestMethodInvalid => "invalid method".into(),
        ErrorCode::DestinationIpProhibited => "prohibited address".into(),
        ErrorCode::ConnectionRefused => "refused".into(),
        ErrorCode::ConnectionLimitReached => "too many connections".into(),
        ErrorCode::TlsCertificateError => "certificate".into(),
        ErrorCode::TlsProtocolError => "tls".into(),
        ErrorCode::HttpRequestBodySize(_) => "request too large".into(),
        ErrorCode::HttpResponseBodySize(_) => "response too large".into(),
        ErrorCode::HttpProtocolError => "protocol".into(),
        ErrorCode::DnsError(_) => "dns".into(),
        ErrorCode::InternalError(text) => format!("internal {}", text.unwrap_or_default()),
        _ => "another error".into(),
    }
}
