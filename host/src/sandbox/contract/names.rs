//! What guests may call their artifacts and the media types of these.

/// A guest's media type if it can stand in an HTTP header, else the neutral one.
pub(in crate::sandbox) fn checked_media_type(media_type: String) -> String {
    let well_formed = (1..=255).contains(&media_type.len())
        && media_type.contains('/')
        && media_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if well_formed { media_type } else { "application/octet-stream".to_owned() }
}

pub(in crate::sandbox) fn check_artifact_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 255 {
        Err("a name has 1 to 255 bytes")
    } else if name.starts_with('.') {
        Err("a name does not begin with a dot")
    } else if name.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
        Err("a name has no slash, backslash or control character")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifact_names_cannot_be_paths() {
        for name in ["page-001.png", "Übersicht.txt", "a b"] {
            assert!(check_artifact_name(name).is_ok(), "{name}");
        }
        for name in ["", "..", ".hidden", "../x", "a/b", "a\\b", "a\nb", "a\0b", &"x".repeat(256)] {
            assert!(check_artifact_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn media_types_cannot_break_out_of_a_header() {
        assert_eq!(checked_media_type("image/png".to_owned()), "image/png");
        for hostile in ["", "png", "a/b\r\nSet-Cookie: x=y", "ä/ö"] {
            assert_eq!(checked_media_type(hostile.to_owned()), "application/octet-stream");
        }
    }
}
