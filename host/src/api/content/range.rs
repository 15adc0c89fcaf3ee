//! Which part of the bytes a client asks for (RFC 9110, section 14).

use utoipa::IntoParams;

/// The fields that ask for a part.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(in crate::api) struct Ranges {
    /// One range of bytes, such as `bytes=0-1023`; what is not understood is ignored.
    #[param(rename = "Range")]
    range: Option<String>,
    /// The entity tag of what the client has a part of; with another one it gets all.
    #[param(rename = "If-Range")]
    if_range: Option<String>,
}

/// Which of the bytes are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// The first byte and how many.
    From(u64, u64),
    /// Beyond the end.
    Unsatisfiable,
}

/// Reads a `Range`. What is not understood is ignored, as the standard asks; so are several ranges at once, which no
/// answer to a whole file is worse than.
pub(super) fn parse_range(range: &str, size: u64) -> Part {
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
}
