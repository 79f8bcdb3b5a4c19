//! `sidecloak apps`.

use http::Method;
use serde_json::json;

use super::super::exit::Failure;
use super::super::out::Out;
use super::{Link, LinkArgs, Named, all, done, segment, show};

/// See `sidecloak apps --help`.
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
    /// List applications
    List,
    /// Show an application
    Show(Named),
    /// Make an application: the partitions NAME.*
    Create {
        #[command(flatten)]
        named: Named,
        /// What people call it [default: its name]
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
    },
    /// Pause all partitions of an application, and make no more: the breach switch
    Pause(Named),
    /// Give every partition the state back that it was paused in
    Resume(Named),
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let link = Link::open(&args.link, out)?;
    match &args.action {
        Action::List => {
            let items = all(&link, "apps", out)?;
            show::list(out, &["APP", "STATE", "CREATED", "LABEL"], &items, |app| {
                vec![
                    show::text(app, "id"),
                    show::text(app, "state"),
                    show::time(app, "created", "-"),
                    show::text(app, "label"),
                ]
            })
        }
        Action::Show(named) => {
            show::one(out, &link.call(Method::GET, &format!("apps/{}", segment(&named.name)), None)?)
        }
        Action::Create { named, label } => {
            let body = json!({ "id": named.name, "label": label.as_ref().unwrap_or(&named.name) });
            let made = link.call(Method::POST, "apps", Some(&body))?;
            done(out, &format!("application {} is made; its partitions are called {0}.*", named.name), &made)
        }
        Action::Pause(named) => state(&link, named, "paused", "is paused with all its partitions", out),
        Action::Resume(named) => state(&link, named, "active", "goes on", out),
    }
}

fn state(link: &Link, named: &Named, word: &str, means: &str, out: &mut Out) -> Result<(), Failure> {
    let set =
        link.call(Method::PUT, &format!("apps/{}/state", segment(&named.name)), Some(&json!({ "state": word })))?;
    done(out, &format!("application {} {means}; running processes follow by themselves", named.name), &set)
}
