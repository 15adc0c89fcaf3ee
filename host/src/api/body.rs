//! Takes request bodies in: whole into memory, or piece by piece to where payloads go.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;

use super::problem::Problem;
use crate::store::{Payload, StoreError, Upload};

/// Of a body that is too large, so much is read and thrown away before the answer, and for so long: many clients only
/// listen once they have sent everything, and would find a closed connection instead.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARDING_MAX: Duration = Duration::from_secs(10);
const OCTETS: &str = "application/octet-stream";

/// What curl sends by default says nothing about a file, so it counts as nothing said.
pub(super) fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(OCTETS.to_owned()) };
    match value.to_str() {
        Ok("application/x-www-form-urlencoded" | "") => Ok(OCTETS.to_owned()),
        Ok(text) if text.len() <= 255 => Ok(text.to_owned()),
        _ => {
            let detail = "it is not visible ASCII of at most 255 bytes";
            Err(Problem::malformed(format!("the Content-Type field: {detail}")).in_parameter("Content-Type", detail))
        }
    }
}

pub(super) async fn read_whole(body: Body, headers: &HeaderMap, most: u64, advice: &str) -> Result<Bytes, Problem> {
    let mut chunks = body.into_data_stream();
    if is_longer(headers, most) {
        return Err(refuse(chunks, headers, most, advice).await);
    }
    let mut whole: Vec<u8> = Vec::new();
    let mut first = Bytes::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
        if (whole.len() + first.len() + chunk.len()) as u64 > most {
            return Err(refuse(chunks, headers, most, advice).await);
        }
        // Most bodies are one chunk, which needs no copy.
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.into() })
}

pub(super) async fn stream(mut upload: Upload, body: Body, headers: &HeaderMap, most: u64) -> Result<Upload, Problem> {
    let mut chunks = body.into_data_stream();
    if is_longer(headers, most) {
        return Err(refuse(chunks, headers, most, "").await);
    }
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
        if upload.size() + chunk.len() as u64 > most {
            drop(upload);
            return Err(refuse(chunks, headers, most, "").await);
        }
        upload = match write(upload, chunk).await {
            Ok(upload) => upload,
            Err(problem) => {
                discard(chunks, headers).await;
                return Err(problem);
            }
        };
    }
    Ok(upload)
}

fn is_longer(headers: &HeaderMap, most: u64) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > most)
}

/// The refusal of a body that is too large.
async fn refuse(chunks: BodyDataStream, headers: &HeaderMap, most: u64, advice: &str) -> Problem {
    discard(chunks, headers).await;
    Problem::too_large(most, advice)
}

/// Reads on for a while what nobody wants, so that the client is likely to listen to the refusal.
async fn discard(mut chunks: BodyDataStream, headers: &HeaderMap) {
    // A client that asks first has not begun to send.
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let discard = async {
        let mut discarded = 0;
        while let Some(Ok(chunk)) = chunks.next().await
            && discarded < DISCARDED_BYTES_MAX
        {
            discarded += chunk.len();
        }
    };
    // Whether it was all or not, the answer is the same.
    let _ = tokio::time::timeout(DISCARDING_MAX, discard).await;
}

/// Takes up bytes; on a thread that may block if they go to a file.
pub(super) async fn write(mut upload: Upload, bytes: Bytes) -> Result<Upload, Problem> {
    if !upload.spills(bytes.len()) {
        upload.write(&bytes).map_err(disk_failed)?;
        return Ok(upload);
    }
    let written = tokio::task::spawn_blocking(move || upload.write(&bytes).map(|()| upload)).await;
    written.map_err(std::io::Error::other).flatten().map_err(disk_failed)
}

pub(super) async fn finish(upload: Upload, media_type: String) -> Result<Payload, Problem> {
    let content = if upload.spills(0) {
        let finished = tokio::task::spawn_blocking(move || upload.finish()).await;
        finished.map_err(std::io::Error::other).flatten()
    } else {
        upload.finish()
    };
    Ok(Payload { media_type, content: content.map_err(disk_failed)? })
}

fn disk_failed(error: std::io::Error) -> Problem {
    StoreError::Disk(error).into()
}
