//! Stored bytes as answers: entity tags, conditional requests and ranges (RFC 9110), streamed from where they lie.

mod conditions;
mod range;

use std::io;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use utoipa::IntoResponses;

pub(super) use self::conditions::{Conditions, Wanted};
use self::range::Part;
pub(super) use self::range::Ranges;
use super::problem::Problem;
use crate::store::{Content, ContentReader, Payload, StoreError};

/// How much of a file is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What [`answer`] answers.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes answers and is never made")]
pub(super) enum Contents {
    /// All of it, with the media type it was given.
    #[response(status = 200, content_type = "*/*", headers(("ETag"), ("Accept-Ranges"), ("Content-Disposition")))]
    Whole(Vec<u8>),
    /// The part that Range asks for.
    #[response(status = 206, content_type = "*/*", headers(("ETag"), ("Content-Range"), ("Accept-Ranges")))]
    Part(Vec<u8>),
    /// It is what If-None-Match names.
    #[response(status = 304, headers(("ETag")))]
    Unchanged,
    /// It is not what If-Match names.
    #[response(status = 412)]
    Other,
    /// Range begins beyond the end.
    #[response(status = 416, headers(("Content-Range")))]
    Beyond,
}

/// A strong entity tag: equal tags mean equal bytes.
pub(super) fn entity_tag(sha256: &[u8; 32]) -> String {
    format!("\"{}\"", hex::encode(sha256))
}

/// Answers with a stored content, or as much of it as the client wants.
pub(super) fn answer(payload: Payload, wanted: &Wanted) -> Result<Response, Problem> {
    let Payload { media_type, content } = payload;
    let (size, tag) = (content.size(), entity_tag(&content.sha256()));
    if let Some(unchanged) = wanted.precondition(&tag)? {
        return Ok(unchanged);
    }
    let mut response = match wanted.part_of(&tag, size) {
        Part::Whole => body(&content, 0, size)?.into_response(),
        Part::From(start, length) => {
            let range = format!("bytes {start}-{}/{size}", start + length - 1);
            let body = body(&content, start, length)?;
            (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], body).into_response()
        }
        Part::Unsatisfiable => return Err(Problem::range_not_satisfiable(size)),
    };
    let headers = response.headers_mut();
    let media_type = HeaderValue::try_from(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    protect(headers, &tag);
    Ok(response)
}

/// What every answer with a plugin's bytes says: which they are, and that a browser must not act on them.
pub(super) fn protect(headers: &mut HeaderMap, tag: &str) {
    let tag = HeaderValue::try_from(tag).expect("a tag is hexadecimal digits in quotes");
    headers.insert(header::ETAG, tag);
    // A finished job may be deleted, or run again; whoever keeps a copy asks whether it is still so.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    // A plugin's HTML must not run as this host's page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("content-security-policy"), HeaderValue::from_static("sandbox"));
}

fn body(content: &Content, start: u64, length: u64) -> Result<SizedBody, Problem> {
    // Opening a file that is in the folder is quick; reading it happens in pieces, off this thread.
    let body = match content.open(start).map_err(|error| Problem::from(StoreError::Disk(error)))? {
        ContentReader::Inline(bytes) => {
            Body::from(bytes.slice(..usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len())))
        }
        file => Body::from_stream(pieces(file, length)),
    };
    Ok(SizedBody { body, length })
}

/// Reads so many bytes piece by piece, as fast as the client takes them and off the threads that serve. An error breaks
/// the answer off, so that the client notices.
pub(super) fn pieces(reader: ContentReader, length: u64) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((reader, length), |(mut reader, left)| async move {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        if most == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let piece = reader.next_chunk(most)?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let left = left - piece.len() as u64;
            Ok(Some((piece, (reader, left))))
        });
        read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    })
}

/// A body whose length is known, so that the client learns it first and notices if it breaks off.
struct SizedBody {
    body: Body,
    length: u64,
}

impl IntoResponse for SizedBody {
    fn into_response(self) -> Response {
        ([(header::CONTENT_LENGTH, HeaderValue::from(self.length))], self.body).into_response()
    }
}

/// The fields that name a file for whoever saves it. No name can break out of them.
pub(super) fn disposition(kind: &str, name: &str) -> HeaderValue {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | '/') || c == ' ';
    let fallback: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut text = format!("{kind}; filename=\"{fallback}\"");
    if fallback != name {
        text.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    HeaderValue::try_from(text).expect("every other character was replaced")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_name_breaks_out_of_its_field() {
        for (name, expected) in [
            ("page-001.png", "inline; filename=\"page-001.png\""),
            ("a \"b\".txt", "inline; filename=\"a _b_.txt\"; filename*=UTF-8''a%20%22b%22.txt"),
            ("Übersicht.txt", "inline; filename=\"_bersicht.txt\"; filename*=UTF-8''%C3%9Cbersicht.txt"),
            ("a\r\nb", "inline; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
        ] {
            assert_eq!(disposition("inline", name), expected);
        }
    }
}
