//! The parameters of a job, read and checked.

/// How to draw which pages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    /// Pixels per point; a point is 1/72 inch.
    pub(crate) scale: f64,
    /// 1-based.
    pub(crate) first_page: usize,
    /// 1-based and drawn too. The last one of the document if absent.
    pub(crate) last_page: Option<usize>,
}

const DPI_DEFAULT: f64 = 150.0;
const POINTS_PER_INCH: f64 = 72.0;

/// Reads the client's names and values. The error names the parameter and can be shown to the client.
pub(crate) fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Options, String> {
    let (mut dpi, mut scale, mut first_page, mut last_page) = (None, None, None, None);
    for (name, value) in parameters {
        match name {
            "dpi" => set(&mut dpi, name, number(name, value, 1.0, 1200.0)?)?,
            "scale" => set(&mut scale, name, number(name, value, 0.01, 16.0)?)?,
            "first_page" => set(&mut first_page, name, page(name, value)?)?,
            "last_page" => set(&mut last_page, name, page(name, value)?)?,
            _ => {
                return Err(format!("unknown parameter {name:?}, known are dpi, scale, first_page, last_page"));
            }
        }
    }
    let first_page = first_page.unwrap_or(1);
    if let Some(last_page) = last_page
        && last_page < first_page
    {
        return Err(format!("last_page: {last_page} is before first_page, which is {first_page}"));
    }
    let scale = match (dpi, scale) {
        (Some(_), Some(_)) => return Err("dpi, scale: give one of them, not both".into()),
        (None, Some(scale)) => scale,
        (dpi, None) => dpi.unwrap_or(DPI_DEFAULT) / POINTS_PER_INCH,
    };
    Ok(Options { scale, first_page, last_page })
}

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{name}: given more than once")),
    }
}

fn number(name: &str, value: &str, least: f64, most: f64) -> Result<f64, String> {
    value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("{name}: must be a number from {least} to {most}, found {value:?}"))
}

fn page(name: &str, value: &str) -> Result<usize, String> {
    value
        .parse()
        .ok()
        .filter(|&number| number >= 1)
        .ok_or_else(|| format!("{name}: must be a page number, counted from 1, found {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let all = |scale| Options { scale, first_page: 1, last_page: None };
        assert_eq!(parse([]), Ok(all(150.0 / 72.0)));
        assert_eq!(parse([("dpi", "72")]), Ok(all(1.0)));
        assert_eq!(parse([("dpi", "1200")]), Ok(all(1200.0 / 72.0)));
        assert_eq!(parse([("scale", "0.5")]), Ok(all(0.5)));
        assert_eq!(
            parse([("last_page", "3"), ("first_page", "2")]),
            Ok(Options { scale: 150.0 / 72.0, first_page: 2, last_page: Some(3) })
        );
    }

    #[test]
    fn refusals_name_the_parameter() {
        for (parameters, expected) in [
            (&[("dpi", "0.5")][..], "dpi: must be a number from 1 to 1200, found \"0.5\""),
            (&[("dpi", "1201")], "dpi: must be"),
            (&[("dpi", "NaN")], "dpi: must be"),
            (&[("dpi", "")], "dpi: must be"),
            (&[("scale", "0")], "scale: must be a number from 0.01 to 16"),
            (&[("scale", "inf")], "scale: must be"),
            (&[("dpi", "72"), ("scale", "1")], "dpi, scale: give one of them"),
            (&[("dpi", "72"), ("dpi", "72")], "dpi: given more than once"),
            (&[("first_page", "0")], "first_page: must be a page number"),
            (&[("last_page", "-1")], "last_page: must be a page number"),
            (&[("last_page", "1.5")], "last_page: must be a page number"),
            (&[("first_page", "3"), ("last_page", "2")], "last_page: 2 is before first_page, which is 3"),
            (&[("DPI", "72")], "unknown parameter \"DPI\""),
        ] {
            let message = parse(parameters.iter().copied()).expect_err("wrong");
            assert!(message.starts_with(expected), "{parameters:?}: {message}");
        }
    }
}
