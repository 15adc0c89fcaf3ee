//! Mistakes in the settings of a host, as sentences that say where each is: in the file, in a variable, or in a flag.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::value::Value;

use super::bounds::Rule;
use super::places::{Place, variable};
use crate::plugins::{mistake_in_text, mistake_in_value, nearest};

/// A name further off is not meant.
const NEAR: f64 = 0.6;

/// What is wrong with the settings, and where it was said.
#[derive(Debug)]
pub enum ConfigError {
    /// The config file that was named is not there.
    Missing(PathBuf),
    /// Sentences about each mistake.
    Wrong(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(file) => write!(f, "the config file {} is not there", file.display()),
            Self::Wrong(mistakes) => f.write_str(mistakes),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A file of settings, as far as it is TOML. Where it is not the line itself is not told: it may hold a secret.
pub(super) fn read(file: &Path) -> Result<toml::Table, ConfigError> {
    let wrong = |what: String| ConfigError::Wrong(format!("{}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    text.parse().map_err(|error| wrong(mistake_in_text(&text, &error)))
}

/// What is wrong with one value. Whoever writes a secret where its place belongs must not find it in a log.
pub(super) fn told(error: &figment::Error, file: Option<&Path>) -> String {
    let unknown = match &error.kind {
        Kind::UnknownField(name, known) if error.path.len() <= 1 => Some((name.as_str(), *known)),
        _ => None,
    };
    let Some(key) = unknown.map(|(name, _)| name).or(error.path.first().map(String::as_str)) else {
        // Of the text as such, with its lines.
        return error.to_string();
    };
    let place = Place::of_mistake(error.metadata.as_ref(), key, file);
    if let (Some((_, known)), Place::Variable) = (unknown, place) {
        return match nearest(key, known.iter().copied(), NEAR) {
            Some(meant) => format!("{}: unknown setting; did you mean {}?", variable(key), variable(meant)),
            None => format!("{}: unknown setting", variable(key)),
        };
    }
    place.told(key, &what(key, error))
}

/// What is wrong with a value of the right type. Where the setting itself was left alone, the other one is the mistake.
pub(super) fn told_of_rule(rule: &Rule, figment: &Figment, file: Option<&Path>) -> String {
    let places = rule.keys.iter().map(|key| (*key, Place::of(figment, key, file)));
    let is_said = |(_, place): &(&str, Place<'_>)| !matches!(place, Place::Nowhere);
    let (key, place) = places.clone().find(is_said).unwrap_or((rule.keys[0], Place::Nowhere));
    let found = figment.find_value(rule.keys[0]).ok().filter(|_| rule.is_bound).and_then(|value| match value {
        Value::Num(_, number) => {
            number.to_i128().map(|number| number.to_string()).or(number.to_u128().map(|number| number.to_string()))
        }
        Value::String(_, text) => Some(format!("{text:?}")),
        _ => None,
    });
    let (name, expected) = (place.name(key), rule.expected);
    match found {
        _ if !rule.is_bound => format!("{name}: {expected}"),
        _ if key != rule.keys[0] => format!("{name}: {} must be {expected}", rule.keys[0]),
        Some(found) => format!("{name}: found {found}, expected {expected}"),
        None => format!("{name}: expected {expected}"),
    }
}

/// The mistake after its key.
fn what(key: &str, error: &figment::Error) -> String {
    match key {
        "webhook_secrets" => {
            "webhook_secrets: expected places such as [{ file = \"webhook.secret\" }] or [{ variable = \"WEBHOOK_SECRET\" }], \
             never a secret itself"
                .to_owned()
        }
        // The library's own words are about syntax.
        "listen" => {
            "listen: expected the address of an interface and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned()
        }
        _ => mistake_in_value(error),
    }
}

#[cfg(test)]
// A closure of figment's test jail returns its large error type.
#[expect(clippy::result_large_err, reason = "the jail's closure type is figment's choice")]
mod tests {
    use figment::Jail;

    use super::super::tests::load;
    use super::super::{Config, Flags};

    #[test]
    fn a_secret_in_the_place_of_its_place_is_not_repeated() {
        for value in ["whsec_Zm9v", "[\"whsec_Zm9v\"]", "[{whsec_Zm9v=1}]", "{file=\"whsec_Zm9v\"}"] {
            Jail::expect_with(|jail| {
                jail.set_env("DROPFORGE_WEBHOOK_SECRETS", value);
                let error = load(&Flags::default()).expect_err("refused").to_string();
                assert!(error.starts_with("DROPFORGE_WEBHOOK_SECRETS: ") && !error.contains("Zm9v"), "{error}");
                Ok(())
            });
        }
        for line in
            ["webhook_secrets = [whsec_Zm9v]", "webhook_secrets = [\"whsec_Zm9v]", "webhook_secrets = \"whsec_Zm9v\""]
        {
            Jail::expect_with(|jail| {
                jail.create_file("dropforge.toml", line)?;
                let error = load(&Flags::default()).expect_err("refused").to_string();
                assert!(error.starts_with("dropforge.toml: ") && !error.contains("Zm9v"), "{error}");
                Ok(())
            });
        }
    }

    #[test]
    fn a_mistake_names_its_place_what_was_found_and_what_is_expected() {
        for (file, variable, told) in [
            ("timeoutx = 3", None, "dropforge.toml: unknown key \"timeoutx\"; did you mean \"timeout\"?"),
            (
                "",
                Some(("DROPFORGE_TIMEOUTX", "3")),
                "DROPFORGE_TIMEOUTX: unknown setting; did you mean DROPFORGE_TIMEOUT?",
            ),
            ("workers = \"x\"", None, "dropforge.toml: workers: found \"x\", expected a whole number, not below zero"),
            (
                "",
                Some(("DROPFORGE_WORKERS", "many")),
                "DROPFORGE_WORKERS: found \"many\", expected a whole number, not below zero",
            ),
            ("workers = 3\nlisten = 5", None, "dropforge.toml: listen: expected the address"),
            ("workers = -1", None, "dropforge.toml: workers: "),
            ("insecure = 1", None, "dropforge.toml: insecure: found 1, expected true or false"),
            ("hosts = [1]", None, "dropforge.toml: hosts.0: "),
        ] {
            Jail::expect_with(|jail| {
                jail.create_file("dropforge.toml", file)?;
                if let Some((name, value)) = variable {
                    jail.set_env(name, value);
                }
                let error = load(&Flags::default()).expect_err(told).to_string();
                assert!(error.starts_with(told), "{error}");
                Ok(())
            });
        }
        for (flags, told) in [
            (Flags { grace: Some("soon".to_owned()), ..Flags::default() }, "--grace: "),
            (Flags { listen: Some("foo".to_owned()), ..Flags::default() }, "--listen: expected the address"),
            (Flags { workers: Some(5_000), ..Flags::default() }, "--workers: found 5000, expected at most 1024"),
            (Flags { tls_key: Some("key.pem".into()), ..Flags::default() }, "--tls-key: give both"),
        ] {
            let error = Config::load(&flags, None).expect_err(told).to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn values_out_of_bounds_are_told_all_at_once_each_with_its_place() {
        Jail::expect_with(|jail| {
            jail.create_file(
                "dropforge.toml",
                "queue_max = 0\ntimeout_max = \"30s\"\nwebhooks = [{ host = \"a.example\" }]",
            )?;
            jail.set_env("DROPFORGE_KEEP_ALIVE", "0s");
            let error = load(&Flags { workers: Some(5_000), ..Flags::default() }).expect_err("refused").to_string();
            for told in [
                "--workers: found 5000, expected at most 1024",
                "dropforge.toml: queue_max: found 0, expected at least 1",
                "dropforge.toml: timeout_max: timeout must be not longer than timeout_max",
                "DROPFORGE_KEEP_ALIVE: found \"0s\", expected at least 1ms",
                "dropforge.toml: webhooks: webhooks are allowed",
            ] {
                assert!(error.contains(told), "{told}: {error}");
            }
            Ok(())
        });
        let flags = |plugins: &str| Flags { plugins: Some(plugins.into()), ..Flags::default() };
        Jail::expect_with(|jail| {
            jail.set_env("DROPFORGE_DATA", "d");
            let named = load(&flags("p")).expect("valid").named;
            assert_eq!((named.data.as_str(), named.plugins.as_str()), ("DROPFORGE_DATA", "--plugins"));
            Ok(())
        });
        Jail::expect_with(|jail| {
            jail.create_file("dropforge.toml", "plugins = \"p\"")?;
            let named = load(&Flags::default()).expect("valid").named;
            assert_eq!((named.data.as_str(), named.plugins.as_str()), ("data", "dropforge.toml: plugins"));
            Ok(())
        });
    }
}
