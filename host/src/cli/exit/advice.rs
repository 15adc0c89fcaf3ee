//! What to try after an error: a line that can be typed, where there is one.

use super::{Complaint, NotTaken};
use crate::bench::Failed;
use crate::cli::text::printable;
use crate::client::{ClientError, Refusal, Trouble};

/// What may help after this error.
pub(super) fn advised(error: &anyhow::Error) -> Option<String> {
    if let Some(complaint) = error.downcast_ref::<Complaint>() {
        return complaint.advice.clone();
    }
    if let Some(failed) = error.downcast_ref::<Failed>() {
        return Some(failed.advice.clone());
    }
    if let Some(NotTaken(refusal)) = error.downcast_ref() {
        return after_refusal_without_host(refusal);
    }
    match error.downcast_ref::<ClientError>()? {
        ClientError::Refused(refusal) => after_refusal(refusal),
        ClientError::Unreachable(url, trouble) => Some(to_reach(url, trouble)),
        ClientError::NotUnderstood(..) => {
            Some("check that --url or DROPFORGE_URL is the address of a Dropforge host".to_owned())
        }
        ClientError::Address(..) | ClientError::File(..) => None,
    }
}

fn to_reach(url: &str, trouble: &Trouble) -> String {
    let other_scheme = |this: &str, other: &str| {
        let rest = url.strip_prefix(this).unwrap_or(url);
        format!("--url {other}{}", printable(rest))
    };
    match trouble {
        Trouble::NoTls => other_scheme("https://", "http://"),
        Trouble::OnlyTls => other_scheme("http://", "https://"),
        Trouble::AuthorityAsHost => "on the host's machine make a certificate that is none of an authority (openssl req -x509 … -addext \
             basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:NAME), then SSL_CERT_FILE=FILE names a copy of it here"
            .to_owned(),
        Trouble::UnknownIssuer => "SSL_CERT_FILE=FILE with the certificate (PEM) of whoever issued the host's, or with the host's own if it is \
             self-signed"
            .to_owned(),
        Trouble::NobodyTrusted => {
            "install the package ca-certificates, or SSL_CERT_FILE=FILE names those (PEM) to trust".to_owned()
        }
        Trouble::OtherName(_) => "--url with a name that the certificate is for".to_owned(),
        Trouble::OutOfDate(_) => "a new certificate for the host, or the right time on this machine".to_owned(),
        Trouble::Other(_) => {
            "start a host with `dropforge serve`, or name another with --url or DROPFORGE_URL".to_owned()
        }
    }
}

/// A host would have refused the job in these words, but there is none.
fn after_refusal_without_host(refusal: &Refusal) -> Option<String> {
    Some(match refusal.code.as_str() {
        "invalid_input" => {
            "--input JSON or --file FILE gives the input, --param NAME=VALUE a parameter; the plugin says in `describe` what it reads"
        }
        "invalid_option" => "`dropforge run --help` says what each option takes",
        _ => return None,
    }
    .to_owned())
}

fn after_refusal(refusal: &Refusal) -> Option<String> {
    // What the request was about, as far as it said so itself.
    let about = |what: &str| match refusal.path.as_slice() {
        [first, name, ..] if first == what => Some(printable(name).into_owned()),
        _ => None,
    };
    let id = about("jobs").unwrap_or_else(|| "ID".to_owned());
    let kind = about("kinds").unwrap_or_else(|| "KIND".to_owned());
    Some(match (refusal.status, refusal.code.as_str()) {
        (_, "unknown_kind") => {
            "`dropforge kinds` lists the kinds, `dropforge plugins` says what became of each file".to_owned()
        }
        (404, "not_found") => {
            "check --url or DROPFORGE_URL: the address of a host is like http://127.0.0.1:8080".to_owned()
        }
        (_, "unknown_job") => "`dropforge list` shows the newest jobs".to_owned(),
        (422, "invalid_input") => format!(
            "`dropforge kinds {kind}` shows what it reads, with an example; --input JSON or --file FILE gives it"
        ),
        (422, "invalid_option") => "`dropforge submit --help` says what each option takes".to_owned(),
        (409, "cancelled") => format!("`dropforge retry {id}` runs it again"),
        (409, "wrong_state") => format!("`dropforge status {id}` shows where the job stands"),
        (409, _) => format!(
            "`dropforge status {id}` shows what it used, `dropforge logs {id}` what it wrote, if anything; `dropforge retry {id}` runs it again"
        ),
        (410, _) => "submit the job again; the host's setting `keep` says how long results are kept".to_owned(),
        (413, _) => {
            "send large inputs with --file, to a kind that reads files; the host sets `body_bytes_max`".to_owned()
        }
        (401, _) => {
            "give a token with --token or DROPFORGE_TOKEN; `dropforge token new` makes one on the host's machine"
                .to_owned()
        }
        (403, _) => {
            "use a token that may do this; `dropforge token list` on the host's machine shows what each may".to_owned()
        }
        _ => return refusal.retry_after.map(|seconds| format!("the same again in {seconds} s")),
    })
}
