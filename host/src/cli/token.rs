//! `dropforge token new | list | revoke`: who may use a host. Works on the data folder, whether or not a host uses it.

use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::Complaint;
use crate::config::{Config, Flags};
use crate::job::{Kind, Owner};
use crate::tokens::{self, NewToken, Scope, Tokens};

#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token and print it, once; only its hash is kept
    New(New),
    /// Show the tokens there are, without their secrets
    List(List),
    /// Take a token back; a running host refuses it within a second
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct New {
    /// What it is for: submit, read, admin
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',', value_enum, default_value = "submit,read")]
    scope: Vec<Scope>,
    /// The only kinds it is for [default: all]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    kind: Vec<String>,
    /// What to call it
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Its number: the part of the token between dfk_ and the next _
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Place {
    /// The data folder [default: dropforge-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// TOML file that may name the data folder
    #[arg(long, value_name = "FILE", env = "DROPFORGE_CONFIG")]
    config: Option<PathBuf>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

impl Place {
    /// The folder a host with the same settings would use.
    fn folder(&self) -> anyhow::Result<PathBuf> {
        let flags = Flags { data: self.data.clone(), ..Flags::default() };
        Ok(Config::load(&flags, self.config.as_deref())?.data)
    }
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::New(new) => new.run(),
            What::List(list) => list.run(),
            What::Revoke(revoke) => revoke.run(),
        }
    }
}

impl New {
    fn run(self) -> anyhow::Result<()> {
        let mut kinds = Vec::new();
        for name in &self.kind {
            match Kind::new(name) {
                Some(kind) => kinds.push(kind),
                None => {
                    let detail = format!("{name:?} is no kind: 1 to 63 of a-z, 0-9 and -, not beginning with -");
                    return Err(Complaint::usage(detail, "`dropforge kinds` lists those of a host").into());
                }
            }
        }
        let mut scopes = self.scope;
        scopes.sort_by_key(|scope| scope.as_str());
        scopes.dedup();
        let folder = self.place.folder()?;
        let is_first = !Tokens::open(folder.clone(), false)?.were_made();
        let may_all = scopes.contains(&Scope::Admin) && kinds.is_empty();
        let (token, text) = tokens::issue(folder.clone(), NewToken { name: self.name, scopes, kinds })?;
        if self.place.json {
            let mut view = view(&token);
            view["token"] = json!(text);
            writeln!(stdout(), "{view}")?;
        } else {
            // The token alone is on standard output, for scripts.
            writeln!(stdout(), "{text}")?;
            writeln!(stderr(), "This is token {}. It is not kept and cannot be shown again.", token.id)?;
            if is_first {
                writeln!(stderr(), "{}", about_the_first(&folder, may_all))?;
            }
        }
        Ok(())
    }
}

/// What changes with the first token, for those who have used the host without one.
fn about_the_first(folder: &Path, may_all: bool) -> String {
    let file = folder.join("tokens.json");
    let mut lines = vec![
        "It is the first: from now on every client needs one, on this machine too, and gets 401".to_owned(),
        "without. Give it with --token or DROPFORGE_TOKEN, or as `Authorization: Bearer`.".to_owned(),
    ];
    if !may_all {
        lines.push("Pausing kinds, and jobs from before now, need one with --scope admin.".to_owned());
    }
    lines.push(format!("Revoking it does not change that; deleting {} does.", file.display()));
    lines.join("\n")
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let folder = self.place.folder()?;
        let tokens = tokens::list(folder.clone())?;
        let mut output = stdout().lock();
        if self.place.json {
            let tokens: Vec<_> = tokens.iter().map(view).collect();
            writeln!(output, "{}", json!({"tokens": tokens}))?;
            return Ok(());
        }
        if tokens.is_empty() {
            writeln!(stderr(), "there are no tokens in {}; `dropforge token new` makes one", folder.display())?;
        }
        for token in tokens {
            let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
            let kinds = match &token.kinds {
                Some(kinds) => kinds.iter().map(Kind::as_str).collect::<Vec<_>>().join(","),
                None => "all kinds".to_owned(),
            };
            let name = token.name.as_deref().unwrap_or_default();
            writeln!(output, "{}  {}  {:<17}  {kinds}  {name}", token.id, token.created_at, scopes.join(","))?;
        }
        Ok(())
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<()> {
        // Whoever has the whole token at hand may give that.
        let id = self.id.strip_prefix("dfk_").unwrap_or(&self.id);
        let id = id.split_once('_').map_or(id, |(id, _)| id);
        let Some(id) = Owner::parse(id) else {
            let detail = format!("{:?} is no token's number, which is 16 digits of 0-9 and a-f", self.id);
            return Err(Complaint::usage(detail, "`dropforge token list` shows those there are").into());
        };
        let token = tokens::revoke(self.place.folder()?, id)?;
        if self.place.json {
            writeln!(stdout(), "{}", view(&token))?;
        } else {
            writeln!(stdout(), "revoked {id}")?;
        }
        Ok(())
    }
}

fn view(token: &tokens::Token) -> serde_json::Value {
    json!({"id": token.id, "name": token.name, "scopes": token.scopes, "kinds": token.kinds.as_deref(),
           "created_at": token.created_at})
}
