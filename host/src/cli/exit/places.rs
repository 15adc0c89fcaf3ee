//! Where mistakes are, in the words of the command line: what a host calls a query parameter was typed as a flag.

use crate::cli::input::OPTIONS;
use crate::cli::text::{as_commands, paragraph, printable};
use crate::client::{Mistake, Refusal};

/// What lists are asked for with, besides options of jobs.
const FLAGS_OF_LISTS: [&str; 4] = ["kind", "state", "tag", "limit"];

/// What is wrong, and each mistake after its place. Most details end with what the list of mistakes says once more; then it is said
/// there alone.
pub(super) fn described(refusal: &Refusal) -> Vec<String> {
    let Refusal { status, errors, detail, .. } = refusal;
    let detail = as_commands(detail);
    let is_placed = |mistake: &Mistake| mistake.parameter.is_some() || mistake.pointer.as_deref() != Some("");
    // Others are about who asks, or what is there: a sentence, and no value that was given.
    if !matches!(status, 400 | 413 | 422) || !errors.iter().any(is_placed) {
        return vec![format!("  {}", paragraph(&detail, "  "))];
    }
    let all = errors.iter().map(|mistake| mistake.detail.as_str()).collect::<Vec<_>>().join("; ");
    let mut lines = Vec::new();
    let before = detail.strip_suffix(&*as_commands(&all)).map(|before| before.trim_end().trim_end_matches(':'));
    // A name before it is the place.
    let names =
        |before: &str| errors.iter().any(|one| one.parameter.as_deref().is_some_and(|name| before.ends_with(name)));
    match before {
        Some(before) if before.is_empty() || names(before) => {}
        Some(before) => lines.push(format!("  {}:", paragraph(before, "  "))),
        None => lines.push(format!("  {}", paragraph(&detail, "  "))),
    }
    let untold =
        errors.iter().filter(|one| before.is_some() || is_placed(one) && !refusal.detail.contains(&one.detail));
    lines.extend(untold.map(|mistake| {
        let what = as_commands(&mistake.detail);
        format!("  {}: {}", printable(&place(mistake, refusal)), paragraph(&what, "    "))
    }));
    lines
}

/// Where it is, as it was typed.
fn place(mistake: &Mistake, refusal: &Refusal) -> String {
    match (mistake.parameter.as_deref(), mistake.pointer.as_deref()) {
        (Some("Idempotency-Key"), _) => "--idempotency-key".to_owned(),
        (Some("Authorization"), _) => "--token".to_owned(),
        (Some(name), None) if OPTIONS.contains(&name) => format!("--{}", name.replace('_', "-")),
        // Of a job these would be parameters of the plugin.
        (Some(name), None) if refusal.path == ["jobs"] && FLAGS_OF_LISTS.contains(&name) => format!("--{name}"),
        (Some(name), _) => format!("--param {name}"),
        (None, Some("/parameters")) => "--param".to_owned(),
        (None, Some("") | None) => "the input".to_owned(),
        (None, Some(pointer)) => pointer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(detail: &str, errors: &[(Option<&str>, Option<&str>, &str)]) -> Refusal {
        let mistake = |(pointer, parameter, detail): &(Option<&str>, Option<&str>, &str)| Mistake {
            pointer: pointer.map(str::to_owned),
            parameter: parameter.map(str::to_owned),
            detail: (*detail).to_owned(),
        };
        let errors = errors.iter().map(mistake).collect();
        Refusal { status: 422, detail: detail.to_owned(), errors, ..Refusal::default() }
    }

    #[test]
    fn each_mistake_stands_after_its_place_and_once() {
        let both = refusal(
            "no: too small; \"b\" is missing",
            &[(Some("/a"), None, "too small"), (Some(""), None, "\"b\" is missing")],
        );
        assert_eq!(described(&both), ["  no:", "  /a: too small", "  the input: \"b\" is missing"]);
        let option =
            refusal("the query parameter max_attempts: 0 is none", &[(None, Some("max_attempts"), "0 is none")]);
        assert_eq!(described(&option), ["  --max-attempts: 0 is none"]);
        let parameter = refusal("no: low", &[(Some("/parameters/dpi"), Some("dpi"), "low")]);
        assert_eq!(described(&parameter), ["  no:", "  --param dpi: low"]);
        let whole = refusal("it reads JSON, and there is none", &[(Some(""), None, "there is none")]);
        assert_eq!(described(&whole), ["  it reads JSON, and there is none"]);
        let apart = refusal("no", &[(Some("/a"), None, "too small")]);
        assert_eq!(described(&apart), ["  no", "  /a: too small"]);
    }
}
