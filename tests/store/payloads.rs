//! Bytes of every size come back as they were given: as input, as result and as artifacts, now and after a reopen.

use dropforge::job::Ended;
use dropforge::store::{ArtifactEntry, Attempt, Content, StoreError};

use crate::parts::{NOW, attempt, bytes_of, given, job, no_limit, noise};
use crate::place::Place;

/// Nothing, a little, and both sides of where payloads may come to lie elsewhere.
const SIZES: [usize; 6] = [0, 1, 4 << 10, 64 << 10, (64 << 10) + 1, 5 << 20];

fn bytes(number: usize, what: u64) -> Vec<u8> {
    noise(number as u64 * 10 + what, SIZES[number])
}

#[tokio::test]
async fn inputs_of_every_size_come_back_byte_by_byte() {
    let place = Place::new().await;
    for number in 0..SIZES.len() {
        place.add(place.job_with_input("a", &bytes(number, 0))).await;
    }
    let check = |place: &Place| {
        let claimed = place.claim_all(&[("a", 9)], NOW);
        assert_eq!(claimed.len(), SIZES.len());
        for (number, claimed) in claimed.iter().enumerate() {
            assert_eq!(given(claimed).0.content.size(), SIZES[number] as u64);
            assert_eq!(given(claimed).0.media_type, "application/octet-stream");
            assert!(bytes_of(&given(claimed).0.content) == bytes(number, 0), "an input of {} bytes", SIZES[number]);
        }
    };
    check(&place);
    check(&place.reopened().await);
}

#[tokio::test]
async fn results_and_artifacts_of_every_size_come_back_byte_by_byte() {
    let place = Place::new().await;
    let mut jobs = Vec::new();
    for number in 0..SIZES.len() {
        let id = place.add(job("a")).await;
        let artifacts = vec![
            place.artifact_of("first page.png", &bytes(number, 1)),
            place.artifact_of("a", &bytes(number, 2)),
            place.artifact_of("größe", &bytes(number, 1)),
        ];
        let success = Attempt { artifacts, ..place.success_with(&bytes(number, 0)) };
        place.finish(id, place.take("a").token, success).await.expect("the claim holds");
        jobs.push(id);
    }
    let check = |place: &Place| {
        for (number, id) in jobs.iter().enumerate() {
            assert!(place.output_bytes(*id) == bytes(number, 0), "a result of {} bytes", SIZES[number]);
            let described = place.artifacts(*id).expect("readable");
            let expected = [("first page.png", 1), ("a", 2), ("größe", 1)];
            assert_eq!(described.len(), expected.len());
            for (ArtifactEntry { name, media_type, size, sha256 }, (expected, what)) in described.iter().zip(expected) {
                assert_eq!((name.as_str(), *size), (expected, SIZES[number] as u64));
                assert_eq!(media_type, "application/octet-stream");
                let artifact = place.artifact(*id, name).expect("readable").expect("listed");
                assert_eq!((artifact.name, artifact.sha256), (name.clone(), *sha256));
                assert!(bytes_of(&artifact.payload.content) == bytes(number, what), "an artifact of {size} bytes");
                assert_eq!(artifact.payload.content.sha256(), *sha256);
            }
            assert!(matches!(place.artifact(*id, "missing"), Ok(None)));
        }
    };
    check(&place);
    check(&place.reopened().await);
}

#[tokio::test]
async fn no_result_and_an_empty_result_differ() {
    let place = Place::new().await;
    let (none, empty) = (place.add(job("a")).await, place.add(job("a")).await);
    place.end(&place.take("a"), Ended::Succeeded).await;
    let success = place.success_with(b"");
    place.finish(empty, place.take("a").token, success).await.expect("the claim holds");
    assert!(matches!(place.output(none), Ok(None)));
    assert_eq!(place.output_bytes(empty), b"");
    let place = place.reopened().await;
    assert!(matches!(place.output(none), Ok(None)));
    assert_eq!(place.output_bytes(empty), b"");
}

#[tokio::test]
async fn a_media_type_stays_with_its_bytes() {
    let place = Place::new().await;
    let mut new = job("a");
    new.input.media_type = "text/plain; charset=utf-8".into();
    let id = place.add(new).await;
    let claimed = place.take("a");
    assert_eq!(given(&claimed).0.media_type, "text/plain; charset=utf-8");
    let mut output = place.payload(b"<p>");
    output.media_type = "text/html".into();
    let mut page = place.artifact_of("page", &noise(1, 100_000));
    page.payload.media_type = "image/png".into();
    let success = Attempt { output: Some(output), artifacts: vec![page], ..attempt(Ended::Succeeded) };
    place.finish(id, claimed.token, success).await.expect("the claim holds");
    drop(claimed);
    let place = place.reopened().await;
    let output = place.output(id).expect("readable").expect("there is a result");
    assert_eq!(output.media_type, "text/html");
    let page = place.artifact(id, "page").expect("readable").expect("there is a page");
    assert_eq!(page.payload.media_type, "image/png");
}

#[tokio::test]
async fn a_content_can_be_read_from_any_position_on() {
    let place = Place::new().await;
    for size in [10_000, 200_000] {
        let bytes = noise(7, size);
        let id = place.add(job("a")).await;
        place.finish(id, place.take("a").token, place.success_with(&bytes)).await.expect("the claim holds");
        let content = place.output(id).expect("readable").expect("there is a result").content;
        for offset in [0, 1, size / 2, size - 1, size, size + 1] {
            let expected = bytes.get(offset..).unwrap_or_default();
            assert!(rest(&content, offset as u64) == expected, "{size} bytes from {offset} on");
        }
    }
}

/// A payload that was not taken up in the usual way is no reason to lose the job.
#[tokio::test]
async fn a_large_payload_in_memory_is_refused_or_comes_back_whole() {
    let place = Place::new().await;
    let bytes = noise(1, 200_000);
    let mut new = job("a");
    new.input.content = Content::Inline(bytes.clone().into());
    match place.submit(new, no_limit()).await {
        Ok(_) => assert!(bytes_of(&given(&place.take("a")).0.content) == bytes),
        Err(error) => assert!(matches!(error, StoreError::Refused(_)), "{error}"),
    }
    place.check_counts(&["a"]);
}

fn rest(content: &Content, offset: u64) -> Vec<u8> {
    let mut reader = content.open(offset).expect("the content can be opened");
    let mut bytes = Vec::new();
    loop {
        match reader.next_chunk(777).expect("the content can be read") {
            chunk if chunk.is_empty() => return bytes,
            chunk => bytes.extend_from_slice(&chunk),
        }
    }
}
