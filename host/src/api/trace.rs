//! Where a request comes from: W3C Trace Context, kept with the job and handed on.

use axum::http::HeaderMap;
use utoipa::IntoParams;

/// The field [`parent`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(super) struct Traced {
    /// Where the request comes from (W3C Trace Context), kept with the job and handed on; one that is malformed counts as none.
    traceparent: Option<String>,
}

/// The `traceparent` field. One that is not well-formed counts as none, as the standard wants.
pub(super) fn parent(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all("traceparent").iter();
    let text = values.next().filter(|_| values.next().is_none())?.to_str().ok()?.trim();
    is_well_formed(text).then(|| text.to_owned())
}

fn is_well_formed(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return false };
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_something = |part: &str| part.bytes().any(|byte| byte != b'0');
    is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_something(trace)
        && is_hex(span, 16)
        && is_something(span)
        && is_hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_standard_allows_is_taken() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_well_formed(good));
        for wrong in [
            "",
            "00",
            &good[..54],
            &format!("{good}0"),
            &good.to_uppercase(),
            &good.replacen("00", "ff", 1),
            &good.replace("b7ad6b7169203331", "0000000000000000"),
            &good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        ] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }
}
