//! Stored bytes as answers: entity tags, conditional requests and ranges (RFC 9110), streamed from where they lie.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use utoipa::{IntoParams, IntoResponses};

use super::problem::Problem;
use crate::store::{Content, ContentReader, Payload, StoreError};

/// How much of a file is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The fields [`Wanted`] reads, one by one.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(super) struct Conditions {
    /// Entity tags of what the client has already, or `*`: then 304.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
    /// Entity tags one of which it must have, or `*`: else 412.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// The fields that ask for a part.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(super) struct Ranges {
    /// One range of bytes, such as `bytes=0-1023`; what is not understood is ignored.
    #[param(rename = "Range")]
    range: Option<String>,
    /// The entity tag of what the client has a part of; with another one it gets all.
    #[param(rename = "If-Range")]
    if_range: Option<String>,
}

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

/// Under what conditions a client wants the bytes, and which of them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_range: Option<String>,
    range: Option<String>,
}

impl Wanted {
    /// What a `GET` or `HEAD` says. A range means something with `GET` alone.
    pub(super) fn by(method: &Method, headers: &HeaderMap) -> Self {
        let all = |name| {
            let lines = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            lines.reduce(|before, line| before + ", " + line).map(String::from)
        };
        Self {
            if_match: all(header::IF_MATCH),
            if_none_match: all(header::IF_NONE_MATCH),
            if_range: all(header::IF_RANGE),
            range: all(header::RANGE).filter(|_| method == Method::GET),
        }
    }

    /// `304` if the client has these bytes already, `412` if it wants others; nothing if it is to get them.
    pub(super) fn precondition(&self, tag: &str) -> Result<Option<Response>, Problem> {
        if let Some(tags) = &self.if_match
            && !names(tags, tag, false)
        {
            return Err(Problem::precondition_failed());
        }
        if self.if_none_match.as_ref().is_some_and(|tags| names(tags, tag, true)) {
            let mut unchanged = StatusCode::NOT_MODIFIED.into_response();
            // What is kept is kept under the same terms.
            protect(unchanged.headers_mut(), tag);
            return Ok(Some(unchanged));
        }
        Ok(None)
    }

    fn part_of(&self, tag: &str, size: u64) -> Part {
        match &self.range {
            // Other bytes than the client has the beginning of: it gets all of them. A date never matches, as there is none.
            Some(_) if self.if_range.as_ref().is_some_and(|known| known.trim() != tag) => Part::Whole,
            Some(range) => parse_range(range, size),
            None => Part::Whole,
        }
    }
}

/// Which of the bytes are asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// The first byte and how many.
    From(u64, u64),
    /// Beyond the end.
    Unsatisfiable,
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

/// Whether a list of entity tags, or `*`, names this one.
fn names(tags: &str, tag: &str, weakly: bool) -> bool {
    // A tag of ours has no comma in it, so one that is cut at a comma is not ours.
    tags.split(',').map(str::trim).any(|given| {
        let given = if weakly { given.strip_prefix("W/").unwrap_or(given) } else { given };
        given == "*" || given == tag
    })
}

/// Reads a `Range`. What is not understood is ignored, as the standard asks; so are several ranges at once, which no
/// answer to a whole file is worse than.
fn parse_range(range: &str, size: u64) -> Part {
    let spec = range.trim().split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, spec)| spec.trim().split_once('-')) else { return Part::Whole };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Part::Whole;
    }
    // More digits than fit mean "to the end", however it is written.
    let number = |text: &str| if text.is_empty() { None } else { Some(text.parse().unwrap_or(u64::MAX)) };
    match (number(first), number(last)) {
        (None, None) => Part::Whole,
        (None, Some(0)) => Part::Unsatisfiable,
        (None, Some(_)) if size == 0 => Part::Whole,
        (None, Some(count)) => Part::From(size - count.min(size), count.min(size)),
        (Some(first), Some(last)) if last < first => Part::Whole,
        (Some(first), _) if first >= size => Part::Unsatisfiable,
        (Some(first), last) => Part::From(first, last.unwrap_or(u64::MAX).min(size - 1) - first + 1),
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
    fn ranges_are_read_as_the_standard_has_it() {
        for (range, part) in [
            ("bytes=0-0", Part::From(0, 1)),
            ("bytes=2-5", Part::From(2, 4)),
            ("Bytes = 2-", Part::From(2, 8)),
            ("bytes=9-99999999999999999999999", Part::From(9, 1)),
            ("bytes=-3", Part::From(7, 3)),
            ("bytes=-30", Part::From(0, 10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=1-2,4-5", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("pages=1-2", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(parse_range(range, 10), part, "{range}");
        }
        assert_eq!((parse_range("bytes=0-", 0), parse_range("bytes=-1", 0)), (Part::Unsatisfiable, Part::Whole));
    }

    #[test]
    fn tags_are_compared_strongly_or_weakly() {
        let tag = "\"a\"";
        for (tags, weakly, strongly) in [
            ("\"a\"", true, true),
            ("\"b\" , \"a\"", true, true),
            ("*", true, true),
            ("W/\"a\"", true, false),
            ("a", false, false),
            ("\"b\"", false, false),
        ] {
            assert_eq!((names(tags, tag, true), names(tags, tag, false)), (weakly, strongly), "{tags}");
        }
    }

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
