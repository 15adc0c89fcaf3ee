//! Who may come in: the tokens of a data folder, what each may do, and whether one that is shown is among them.
//!
//! A token is `dfk_`, its public number, and 256 random bits. Only the SHA-256 of the whole is kept: nothing slower is needed, as
//! there is nothing to guess. Tokens are made and revoked by the command line while a host runs; the host looks at the file
//! several times a second. Once the file is there every client needs a token, also when all of them are revoked.

mod file;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

pub use self::file::TokensError;
use self::file::{Seen, TokenFile};
use crate::job::{Kind, Owner, Sight};
use crate::time::Time;

/// How often the host looks whether tokens were made or revoked.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What every token begins with, so that people and scanners know it for what it is.
const PREFIX: &str = "dfk_";
/// Bytes of a token's secret.
const SECRET_BYTES: usize = 32;

/// Something a token may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Submit jobs, and cancel, retry and delete one's own.
    Submit,
    /// Look at one's own jobs and at kinds.
    Read,
    /// Everything, with everybody's jobs.
    Admin,
}

impl Scope {
    /// The name in files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Submit => "submit",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public number, which is also the owner of the jobs that come with it.
    pub id: Owner,
    /// What people call it.
    pub name: Option<String>,
    /// Of the whole token, in hexadecimal.
    sha256: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// The only kinds it is for; all if there are none here.
    pub kinds: Option<Arc<[Kind]>>,
    /// When it was made.
    pub created_at: Time,
}

impl Token {
    /// Whether it may be used so.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Which jobs it may see.
    pub fn sight(&self) -> Sight {
        Sight { owner: Some(self.id).filter(|_| !self.may(Scope::Admin)), kinds: self.kinds.clone() }
    }
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What people call it; at most 64 bytes.
    pub name: Option<String>,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// The only kinds it is for; all if empty.
    pub kinds: Vec<Kind>,
}

/// Makes a token in a data folder, whether or not a host uses that. Answers its text, which is kept nowhere. Durable when
/// this returns.
pub fn issue(folder: PathBuf, new: NewToken) -> Result<(Token, String), TokensError> {
    let mut random = [0; 8 + SECRET_BYTES];
    getrandom::fill(&mut random).map_err(|error| TokensError::Random(error.to_string()))?;
    let (number, secret) = random.split_at(8);
    let id = Owner::new(number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    let text = format!("{PREFIX}{id}_{}", hex::encode(secret));
    let token = Token {
        id,
        name: new.name,
        sha256: hex::encode(Sha256::digest(&text)),
        scopes: new.scopes,
        kinds: Some(new.kinds).filter(|kinds| !kinds.is_empty()).map(Arc::from),
        created_at: Time::now(),
    };
    TokenFile::of(folder).add(token.clone())?;
    Ok((token, text))
}

/// The tokens of a data folder, oldest first.
pub fn list(folder: PathBuf) -> Result<Vec<Token>, TokensError> {
    Ok(TokenFile::of(folder).read()?.unwrap_or_default())
}

/// Takes a token out of a data folder, whether or not a host uses that. Durable when this returns.
pub fn revoke(folder: PathBuf, id: Owner) -> Result<Token, TokensError> {
    TokenFile::of(folder).remove(id)
}

/// The tokens as a host knows them.
pub struct Tokens {
    file: TokenFile,
    /// Whether clients need a token even where there is no file.
    always: bool,
    known: watch::Sender<Known>,
}

#[derive(Default)]
struct Known {
    /// Nothing while there is no file.
    by_id: Option<HashMap<Owner, Arc<Token>>>,
}

impl Known {
    fn of(tokens: Option<Vec<Token>>) -> Self {
        Self { by_id: tokens.map(|tokens| tokens.into_iter().map(|token| (token.id, Arc::new(token))).collect()) }
    }

    fn get(&self, id: Owner) -> Option<&Arc<Token>> {
        self.by_id.as_ref()?.get(&id)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads a data folder's tokens. With `always` clients need one even while none was ever made.
    pub fn open(folder: PathBuf, always: bool) -> Result<Self, TokensError> {
        let file = TokenFile::of(folder);
        let known = watch::Sender::new(Known::of(file.read()?));
        Ok(Self { file, always, known })
    }

    /// Whether clients need a token.
    pub fn are_required(&self) -> bool {
        self.always || self.were_made()
    }

    /// Whether a token was ever made here.
    pub fn were_made(&self) -> bool {
        self.known.borrow().by_id.is_some()
    }

    /// The token that this is the text of. Takes as long for a wrong secret as for the right one.
    pub fn find(&self, text: &str) -> Option<Arc<Token>> {
        let (id, _) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let token = Arc::clone(self.known.borrow().get(Owner::parse(id)?)?);
        let shown = hex::encode(Sha256::digest(text));
        bool::from(shown.as_bytes().ct_eq(token.sha256.as_bytes())).then_some(token)
    }

    /// Returns once a token is revoked.
    pub async fn revoked(&self, token: &Token) {
        let mut known = self.known.subscribe();
        // The sender lives as long as this; gone, it could say nothing any more.
        let _ = known.wait_for(|known| known.get(token.id).is_none_or(|found| found.sha256 != token.sha256)).await;
    }

    /// Takes up what the command line makes and revokes. Never returns.
    pub async fn keep_reading(&self) {
        let (mut seen, mut failing): (Option<Seen>, bool) = (None, false);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let file = self.file.clone();
            let last = seen;
            let looked = tokio::task::spawn_blocking(move || {
                let now = file.look();
                // The first look has nothing to compare with: what changed since the file was read is found as well.
                (last != Some(now)).then(|| (now, file.read()))
            });
            // A look that panicked is made again.
            let Ok(Some((now, read))) = looked.await else { continue };
            match read {
                Ok(tokens) => {
                    self.known.send_replace(Known::of(tokens));
                    (seen, failing) = (Some(now), false);
                }
                // Fewer or more could come in than the operator meant; who was known stays known, and the next look tries again.
                Err(error) if !failing => {
                    tracing::error!(%error, "the tokens stay as they were");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }
}
