//! Small PDFs, whole and broken.

use super::*;
use crate::options;

/// A page of 200 x 100 points with a red square and a slanted line, and one of 59.5 x 84.2 points, turned.
pub(crate) fn two_pages() -> Arc<Vec<u8>> {
    let drawing = "1 0 0 rg 20 20 60 60 re f 0 0 1 RG 3 w 90 5 m 190 95 l S";
    let content = format!("<< /Length {} >>\nstream\n{drawing}\nendstream", drawing.len());
    build(&[
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Count 2 /Kids [3 0 R 4 0 R] >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 5 0 R >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 59.5 84.2] /Rotate 90 >>",
        &content,
    ])
}

fn build(objects: &[&str]) -> Arc<Vec<u8>> {
    let mut file = String::from("%PDF-1.7\n");
    let mut table = String::from("0000000000 65535 f \n");
    for (index, object) in objects.iter().enumerate() {
        table += &format!("{:010} 00000 n \n", file.len());
        file += &format!("{} 0 obj\n{object}\nendobj\n", index + 1);
    }
    let (start, count) = (file.len(), objects.len() + 1);
    file += &format!("xref\n0 {count}\n{table}trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n");
    Arc::new(file.into_bytes())
}

fn options<const N: usize>(parameters: [(&str, &str); N]) -> Options {
    options::parse(parameters).expect("valid")
}

fn refusal(file: &[u8]) -> String {
    match open(&Arc::new(file.to_vec())) {
        Ok(_) => panic!("opened"),
        Err(message) => message,
    }
}

#[test]
fn what_cannot_be_read_is_told_apart() {
    let whole = two_pages();
    assert!(refusal(b"").starts_with("not a PDF: the input is empty"));
    assert!(refusal(b"\x89PNG\r\n").starts_with("not a PDF"));
    assert!(refusal(&whole[..whole.len() / 2]).starts_with("damaged: the end of the PDF is missing"));
    assert!(refusal(b"%PDF-1.7\nstartxref\n0\n%%EOF").starts_with("damaged"));
    let no_pages = build(&["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Count 0 /Kids [] >>"]);
    assert!(refusal(&no_pages).starts_with("damaged"));
}

#[test]
fn junk_around_the_file_does_no_harm() {
    let mut file = b"\xef\xbb\xbf\r\n".to_vec();
    file.extend_from_slice(&two_pages());
    file.extend_from_slice(&[0; 3000]);
    assert_eq!(open(&Arc::new(file)).expect("a PDF").pages().len(), 2);
}

#[test]
fn pages_outside_the_document_are_refused() {
    let pdf = open(&two_pages()).expect("a PDF");
    assert_eq!(select(&pdf, &options([])), Ok(1..=2));
    assert_eq!(select(&pdf, &options([("first_page", "2")])), Ok(2..=2));
    assert_eq!(select(&pdf, &options([("last_page", "1")])), Ok(1..=1));
    let message = "last_page: 3 is out of range, the PDF has 2 pages";
    assert_eq!(select(&pdf, &options([("last_page", "3")])), Err(message.into()));
    let message = "first_page: 3 is out of range, the PDF has 2 pages";
    assert_eq!(select(&pdf, &options([("first_page", "3")])), Err(message.into()));
}

#[test]
fn sizes_are_rounded_up_after_turning() {
    let pdf = open(&two_pages()).expect("a PDF");
    let size = |page: usize, scale| measure(&pdf.pages()[page - 1], page, scale).map(|size| (size.width, size.height));
    assert_eq!(size(1, 1.0), Ok((200, 100)));
    assert_eq!(size(1, 0.333), Ok((67, 34)));
    assert_eq!(size(2, 1.0), Ok((85, 60)));
    assert_eq!(size(2, 0.01), Ok((1, 1)));
    // Just inside the limit of 100 million pixels, and just outside.
    assert_eq!(size(1, 70.71), Ok((14_142, 7071)));
    let message = size(1, 70.72).expect_err("too large");
    assert!(message.starts_with("page 1 would be 14144 x 7072 pixels"), "{message}");
}

#[test]
fn names_sort_like_pages() {
    assert_eq!(artifact_name(7, 17), "page-007.png");
    assert_eq!(artifact_name(7, 999), "page-007.png");
    assert_eq!(artifact_name(7, 1000), "page-0007.png");
    assert_eq!(artifact_name(1000, 1000), "page-1000.png");
}
