//! W3C Trace Context for what guests send: the trace of the submit goes on, below a span of the attempt's own.

use hyper::http::HeaderValue;

/// The `traceparent` of requests that an attempt sends for a job that was submitted with `parent`. `span` is the attempt's; its
/// log carries it as well, so that both ends of the trace can be joined.
pub(in crate::sandbox) fn child_of(parent: &str, span: u64) -> Option<HeaderValue> {
    let mut parts = parent.split('-');
    // Of any version the fields that version 00 has; what later ones add is nothing we could speak for.
    let (_version, trace, _parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    HeaderValue::try_from(format!("00-{trace}-{span:016x}-{flags}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_the_trace_and_flags_of_its_parent_and_a_span_of_its_own() {
        let parent = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let child = child_of(parent, 0x1f).expect("well-formed");
        assert_eq!(child, "00-0af7651916cd43dd8448eb211c80319c-000000000000001f-01");
        for wrong in ["", "00-1", "00-1-2", "00-1-2-\n"] {
            assert_eq!(child_of(wrong, 1), None);
        }
    }
}
