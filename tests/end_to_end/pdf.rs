//! The shipped renderer, on the shipped document: 17 pages of A4.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::{Host, shipped};

const PAGES: usize = 17;
/// A4 in points, which are pixels at 72 dpi.
const SIZE: (u32, u32) = (595, 842);

/// Compiling the renderer takes seconds, so tests that run at the same time share a host. It ends with the last of them.
static SHARED: Mutex<Weak<Host>> = Mutex::new(Weak::new());

fn host() -> Arc<Host> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let host = Arc::new(Host::prepare().with_plugin("pdf-to-png").start());
        *shared = Arc::downgrade(&host);
        host
    })
}

fn document() -> Vec<u8> {
    shipped("host/assets/demo.pdf")
}

/// A decoded page, as grey values.
struct Picture {
    size: (u32, u32),
    grey: Vec<u8>,
}

impl Picture {
    fn decode(png: &[u8]) -> Self {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().expect("the artifact is a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a page fits into memory")];
        let info = reader.next_frame(&mut pixels).expect("the picture is whole");
        let samples = info.color_type.samples();
        // With transparency, the last sample is not a colour.
        let colours = if samples == 2 || samples == 4 { samples - 1 } else { samples };
        let grey = pixels[..info.buffer_size()].chunks(samples).map(|pixel| {
            let sum: u32 = pixel[..colours].iter().map(|&sample| u32::from(sample)).sum();
            (sum / u32::try_from(colours).expect("a few")) as u8
        });
        Self { size: (info.width, info.height), grey: grey.collect() }
    }

    /// How much of the page is dark, and how much is light.
    fn shades(&self) -> (f64, f64) {
        let share = |count: usize| count as f64 / self.grey.len() as f64;
        let dark = self.grey.iter().filter(|&&grey| grey < 100).count();
        let light = self.grey.iter().filter(|&&grey| grey > 200).count();
        (share(dark), share(light))
    }

    /// Darkest and lightest spot of the page number, which stands in the middle of the foot of every page.
    fn page_number(&self) -> (u8, u8) {
        let row = |y: u32| (y * self.size.0 + 260) as usize..(y * self.size.0 + 335) as usize;
        let spots = (762..800).flat_map(|y| &self.grey[row(y)]);
        spots.fold((255, 0), |(darkest, lightest), &grey| (grey.min(darkest), grey.max(lightest)))
    }
}

fn pages(host: &Host, id: &str) -> Vec<(String, Picture)> {
    let artifacts = host.artifacts(id);
    let fetch = |artifact: &Value| {
        let name = artifact["name"].as_str().expect("a name").to_owned();
        let png = host.get(&format!("/v1/jobs/{id}/artifacts/{name}"));
        assert_eq!((png.status, png.header("content-type")), (200, "image/png"));
        assert_eq!(artifact["size"], png.body.len());
        (name, Picture::decode(&png.body))
    };
    artifacts.iter().map(fetch).collect()
}

#[test]
fn a_document_becomes_a_picture_for_each_page() {
    let host = host();
    let id = host.submit_raw("pdf-to-png?dpi=72", document());
    let result: Value = serde_json::from_slice(&host.output(&id)).expect("the result is JSON");
    let pages = pages(&host, &id);
    assert_eq!(pages.len(), PAGES);
    for (number, (name, picture)) in (1..).zip(&pages) {
        assert_eq!((name, picture.size), (&format!("page-{number:03}.png"), SIZE));
        let expected = json!({"page": number, "artifact": name, "width": SIZE.0, "height": SIZE.1});
        assert_eq!(result["pages"][number - 1], expected);
        let (dark, light) = picture.shades();
        assert!(dark > 0.001 && light > 0.001, "{name} is blank: {dark} dark, {light} light");
        let (darkest, lightest) = picture.page_number();
        assert!(darkest < 100 && lightest > 200, "{name} has no page number");
    }
    // The title stands on a dark ground, the table of contents is print on paper.
    let (title, contents) = (pages[0].1.shades(), pages[1].1.shades());
    assert!(title.0 > 0.5 && contents.1 > 0.8 && contents.0 > 0.01, "{title:?}, {contents:?}");
    for (index, (name, picture)) in pages.iter().enumerate() {
        for (other, other_picture) in &pages[..index] {
            assert!(picture.grey != other_picture.grey, "{name} shows the same as {other}");
        }
    }
    assert_eq!(result["pages"].as_array().map(Vec::len), Some(PAGES));
    assert_eq!(host.job(&id)["usage"][0]["bytes_in"], document().len());
}

#[test]
fn parameters_choose_pages_and_size() {
    let host = host();
    for (query, numbers, size) in [
        ("dpi=36&first_page=3&last_page=5", 3..=5, (298, 421)),
        ("scale=2&first_page=17", 17..=17, (1190, 1684)),
        ("last_page=1&dpi=72", 1..=1, SIZE),
    ] {
        let id = host.submit_raw(&format!("pdf-to-png?{query}"), document());
        host.wait_for(&id, "succeeded");
        let pages = pages(&host, &id);
        let names: Vec<_> = pages.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, numbers.map(|number| format!("page-{number:03}.png")).collect::<Vec<_>>(), "{query}");
        for (name, picture) in pages {
            let off = picture.size.0.abs_diff(size.0).max(picture.size.1.abs_diff(size.1));
            assert!(off <= 1, "{query}: {name} has {:?} pixels, not {size:?}", picture.size);
        }
    }
}

#[test]
fn progress_counts_the_pages() {
    let host = host();
    let id = host.submit_raw("pdf-to-png?dpi=150", document());
    let job = host.wait_until(&id, "draws a page", |job| job["progress"]["fraction"].as_f64() > Some(0.0));
    let message = job["progress"]["message"].as_str().expect("a text");
    assert!(message.starts_with("page ") && message.ends_with(" of 17"), "{job}");
    host.cancel(&id);
}

#[test]
fn impossible_parameters_are_refused_before_a_job_is_made() {
    let host = host();
    for (query, pointer) in [
        ("dpi=0", "/parameters/dpi"),
        ("dpi=many", "/parameters/dpi"),
        ("first_page=0", "/parameters/first_page"),
        ("last_page=1.5", "/parameters/last_page"),
        ("dpy=72", "/parameters"),
    ] {
        let problem = host
            .post(&format!("/v1/kinds/pdf-to-png/jobs?tag=wrong&{query}"), document())
            .refused(422, "invalid_input");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    assert_eq!(host.get("/v1/jobs?tag=wrong").json()["jobs"], json!([]));
}

#[test]
fn a_page_that_is_not_there_is_the_clients_mistake() {
    let host = host();
    let id = host.submit_raw("pdf-to-png?first_page=18", document());
    let failure = host.failure(&id);
    assert_eq!((&failure["code"], &failure["fault"]), (&json!("invalid_input"), &json!("job")));
    assert!(failure["message"].as_str().is_some_and(|text| text.contains("17")), "{failure}");
}

#[test]
fn a_damaged_document_is_the_clients_mistake() {
    let host = host();
    for damaged in [b"%PDF-1.7\nthis is not one".to_vec(), Vec::new(), b"\x89PNG\r\n\x1a\n".to_vec(), vec![0; 100_000]]
    {
        let id = host.submit_raw("pdf-to-png", damaged);
        let job = host.wait_for(&id, "failed");
        assert_eq!(
            (&job["failure"]["code"], &job["failure"]["fault"]),
            (&json!("invalid_input"), &json!("job")),
            "{job}"
        );
        assert_eq!(host.artifacts(&id), Vec::<Value>::new());
    }
    assert_eq!(host.wait_for(&host.submit_raw("pdf-to-png?dpi=20", document()), "succeeded")["attempts"], 1);
}

#[test]
fn a_document_sent_as_json_is_refused_with_the_way_to_send_it() {
    let host = host();
    let problem = host.post_job(&json!({"kind": "pdf-to-png", "input": "x"})).refused(422, "invalid_input");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("/v1/kinds/pdf-to-png/jobs")), "{problem}");
}

#[test]
fn who_waits_gets_the_list_of_pages_at_once() {
    let host = host();
    let request =
        host.request(Method::POST, "/v1/kinds/pdf-to-png/jobs?dpi=20&last_page=2").header("prefer", "wait=60");
    let answer = Answer::of(request.header("content-type", "application/pdf").body(document()));
    assert_eq!((answer.status, answer.json()["pages"].as_array().map(Vec::len)), (200, Some(2)));
}
