//! `tokens.json` of a data folder: read whole, replaced whole, so that a crash leaves the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Token;
use crate::job::Owner;

/// Tokens of a data folder.
const TOKENS_MAX: usize = 10_000;
/// A larger file is none of ours: so many tokens with so many kinds were never made.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a token's name.
const NAME_BYTES_MAX: usize = 64;
/// Kinds a token can be limited to.
const KINDS_MAX: usize = 16;

/// Why tokens cannot be read or changed.
#[derive(Debug)]
pub enum TokensError {
    /// The file cannot be read or written.
    Disk(PathBuf, io::Error),
    /// What is in the file is not ours.
    Damaged(PathBuf, String),
    /// There is no such token.
    Unknown(Owner),
    /// A value that cannot be accepted, and what can.
    Refused(String),
    /// The system gives no random numbers.
    Random(String),
}

impl std::fmt::Display for TokensError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TokensError::Disk(path, error) => write!(f, "{}: {error}", path.display()),
            TokensError::Damaged(path, what) => {
                write!(f, "{} is no list of tokens: {what}; mend it, or make new tokens without it", path.display())
            }
            TokensError::Unknown(id) => {
                write!(f, "there is no token {id}; `dropforge token list` shows those there are")
            }
            TokensError::Refused(why) => f.write_str(why),
            TokensError::Random(error) => write!(f, "the system gives no random numbers: {error}"),
        }
    }
}

impl std::error::Error for TokensError {}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    tokens: Vec<Token>,
}

/// What tells one version of the file from another without reading it; nothing while there is none.
pub(super) type Seen = Option<(u64, i64, i64, u64)>;

/// The file, which need not be there.
#[derive(Debug, Clone)]
pub(super) struct TokenFile {
    folder: PathBuf,
    path: PathBuf,
}

impl TokenFile {
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { path: folder.join("tokens.json"), folder }
    }

    /// Which version is there now. One that cannot be looked at counts as gone; reading it says why.
    pub(super) fn look(&self) -> Seen {
        let about = fs::metadata(&self.path).ok()?;
        Some((about.ino(), about.mtime(), about.mtime_nsec(), about.len()))
    }

    /// All tokens; nothing if there is no file.
    pub(super) fn read(&self) -> Result<Option<Vec<Token>>, TokensError> {
        let mut text = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(self.failed())?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed()(error)),
        };
        let damaged = |what: String| TokensError::Damaged(self.path.clone(), what);
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(damaged(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let Content { tokens } = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(tokens))
    }

    pub(super) fn add(&self, token: Token) -> Result<(), TokensError> {
        let refuse = |why: String| Err(TokensError::Refused(why));
        let name = token.name.as_deref().unwrap_or_default();
        if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return refuse(format!("a token's name has at most {NAME_BYTES_MAX} bytes and no control characters"));
        }
        if token.kinds.as_ref().is_some_and(|kinds| kinds.len() > KINDS_MAX) {
            return refuse(format!("a token can be limited to at most {KINDS_MAX} kinds"));
        }
        fs::create_dir_all(&self.folder).map_err(self.failed())?;
        let _lock = self.lock()?;
        let mut tokens = self.read()?.unwrap_or_default();
        if tokens.len() >= TOKENS_MAX {
            return refuse(format!("there are {TOKENS_MAX} tokens already, the most there can be; revoke some"));
        }
        tokens.push(token);
        self.replace(tokens).map_err(self.failed())
    }

    pub(super) fn remove(&self, id: Owner) -> Result<Token, TokensError> {
        let unknown = TokensError::Unknown(id);
        if !self.path.exists() {
            return Err(unknown);
        }
        let _lock = self.lock()?;
        let mut tokens = self.read()?.unwrap_or_default();
        let Some(at) = tokens.iter().position(|token| token.id == id) else { return Err(unknown) };
        let removed = tokens.remove(at);
        self.replace(tokens).map_err(self.failed())?;
        Ok(removed)
    }

    /// Two commands at once take turns, so that none undoes what the other did. The host only reads.
    fn lock(&self) -> Result<File, TokensError> {
        let path = self.folder.join("tokens.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let lock = lock.map_err(self.failed())?;
        lock.lock().map_err(self.failed())?;
        Ok(lock)
    }

    fn replace(&self, tokens: Vec<Token>) -> io::Result<()> {
        let new = self.folder.join("tokens.json.new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&Content { tokens })?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        sync_folder(&self.folder)
    }

    fn failed(&self) -> impl Fn(io::Error) -> TokensError {
        let path = self.path.clone();
        move |error| TokensError::Disk(path.clone(), error)
    }
}

/// A new name survives a power cut once its folder was synced.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::{NewToken, Scope, Tokens, issue, list, revoke};

    fn new(name: &str) -> NewToken {
        NewToken { name: Some(name.to_owned()), scopes: vec![Scope::Read], kinds: Vec::new() }
    }

    #[test]
    fn a_token_is_known_by_its_text_alone_until_it_is_revoked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = || folder.path().join("data");
        assert!(!Tokens::open(path(), false).expect("no file is fine").are_required());
        let (token, text) = issue(path(), new("a")).expect("writable");
        let (_, other) = issue(path(), new("b")).expect("writable");
        let tokens = Tokens::open(path(), false).expect("readable");
        assert!(tokens.are_required() && text.starts_with("dfk_"));
        assert_eq!(tokens.find(&text).as_deref(), Some(&token));
        let mixed = format!("{}{}", &text[..21], &other[21..]);
        let cut = &text[..text.len() - 1];
        for wrong in ["", "dfk_", "dfk_x_y", &text.to_uppercase(), cut, &mixed, &format!("{text} ")] {
            assert_eq!(tokens.find(wrong), None, "{wrong}");
        }
        let kept = fs::read_to_string(path().join("tokens.json")).expect("it is there");
        assert!(!kept.contains(&text[21..]), "the secret is kept nowhere");
        assert_eq!(fs::metadata(path().join("tokens.json")).expect("it is there").mode() & 0o777, 0o600);
        assert_eq!(revoke(path(), token.id).expect("it is there"), token);
        assert!(matches!(revoke(path(), token.id), Err(TokensError::Unknown(_))));
        assert_eq!(list(path()).expect("readable").len(), 1);
        let tokens = Tokens::open(path(), false).expect("readable");
        assert!(tokens.find(&text).is_none() && tokens.find(&other).is_some());
    }

    #[test]
    fn tokens_made_at_once_are_all_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let making: Vec<_> = (0..8)
            .map(|number| {
                let path = folder.path().to_owned();
                std::thread::spawn(move || {
                    (0..5).filter(|_| issue(path.clone(), new(&number.to_string())).is_ok()).count()
                })
            })
            .collect();
        making.into_iter().for_each(|thread| assert_eq!(thread.join().expect("no panic"), 5));
        assert_eq!(list(folder.path().to_owned()).expect("readable").len(), 40);
    }

    #[test]
    fn a_file_that_is_not_ours_is_an_error_and_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tokens.json");
        for text in ["", "{", "[]", r#"{"tokens": [{"id": "1"}]}"#] {
            fs::write(&path, text).expect("writable");
            let opened = Tokens::open(folder.path().to_owned(), false).map(drop);
            assert!(matches!(opened, Err(TokensError::Damaged(..))), "{text}");
            assert!(issue(folder.path().to_owned(), new("a")).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
        }
    }

    #[test]
    fn what_a_token_may_be_has_bounds() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let try_new = |new| issue(folder.path().to_owned(), new).is_ok();
        assert!(try_new(new(&"x".repeat(NAME_BYTES_MAX))) && !try_new(new(&"x".repeat(NAME_BYTES_MAX + 1))));
        let kind = crate::job::Kind::new("a").expect("well-formed");
        let of = |count| NewToken { kinds: vec![kind.clone(); count], ..new("a") };
        assert!(try_new(of(KINDS_MAX)) && !try_new(of(KINDS_MAX + 1)));
    }
}
