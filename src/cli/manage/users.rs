//! `sidecloak users`.

use std::path::PathBuf;

use http::Method;
use serde_json::json;

use super::super::exit::Failure;
use super::super::out::Out;
use super::{Link, LinkArgs, Named, all, done, password, segment, show};

/// See `sidecloak users --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub action: Action,
    #[command(flatten)]
    pub link: LinkArgs,
}

/// What is done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// List users
    List,
    /// Show a user
    Show(Named),
    /// Make a user, who logs in with a password
    Create {
        #[command(flatten)]
        named: Named,
        /// The role in partitions [default: default]
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        #[command(flatten)]
        from: From,
    },
    /// Give a user another password, and end all sessions
    Password {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        from: From,
    },
    /// Give a user another role, and end all sessions
    Role {
        #[command(flatten)]
        named: Named,
        /// The role in partitions
        #[arg(value_name = "ROLE")]
        role: String,
    },
    /// End all sessions of a user
    LogOut(Named),
    /// Delete a user
    Delete(Named),
}

/// Where the password comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct From {
    /// File with the password in its first line; `-`: standard input [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let link = Link::open(&args.link, out)?;
    let at = |named: &Named| format!("users/{}", segment(&named.name));
    match &args.action {
        Action::List => {
            let items = all(&link, "users", out)?;
            show::list(out, &["USER", "ROLE"], &items, |user| vec![show::text(user, "name"), show::text(user, "role")])
        }
        Action::Show(named) => show::one(out, &link.call(Method::GET, &at(named), None)?),
        Action::Create { named, role, from } => {
            let password = password::read(from.password_file.as_deref())?;
            let body = json!({ "name": named.name, "password": password, "role": role });
            let made = link.call(Method::POST, "users", Some(&body))?;
            done(out, &format!("user {} is made", named.name), &made)
        }
        Action::Password { named, from } => {
            let password = password::read(from.password_file.as_deref())?;
            let set =
                link.call(Method::PUT, &format!("{}/password", at(named)), Some(&json!({ "password": password })))?;
            done(out, &format!("user {} has another password; all sessions are ended", named.name), &set)
        }
        Action::Role { named, role } => {
            let set = link.call(Method::PUT, &format!("{}/role", at(named)), Some(&json!({ "role": role })))?;
            done(out, &format!("user {} has role {role}; all sessions are ended", named.name), &set)
        }
        Action::LogOut(named) => {
            let ended = link.call(Method::DELETE, &format!("{}/sessions", at(named)), None)?;
            done(out, &format!("all sessions of user {} are ended", named.name), &ended)
        }
        Action::Delete(named) => {
            let gone = link.call(Method::DELETE, &at(named), None)?;
            done(out, &format!("user {} is deleted", named.name), &gone)
        }
    }
}
