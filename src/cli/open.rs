//! `sidecloak open`: tokens, or fields of documents, from files or standard input.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::common::KeyringArgs;
use super::documents::{Fields, Streams, Work};
use super::exit::Failure;
use super::out::Out;
use crate::config::Purpose;
use crate::transform::plan::Direction;

/// See `sidecloak open --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, `-` or none for standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write here instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The partition that the tokens must belong to
    #[arg(long, value_name = "NAME", default_value = "default", conflicts_with = "rules")]
    pub partition: String,
    /// The logical field, part of the key [default: the last name in the selector]
    #[arg(long, value_name = "NAME", conflicts_with = "rules")]
    pub class: Option<String>,
    /// Select these values of a document; without, the input is one token
    #[arg(long, value_name = "JSONPATH", conflicts_with = "rules")]
    pub fields: Vec<String>,
    /// Do what these rules do to the response to a request with --method and --path
    #[arg(long, value_name = "PATH", requires = "path")]
    pub rules: Option<PathBuf>,
    /// The method for --rules
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// The path for --rules
    #[arg(long, value_name = "PATH", requires = "rules")]
    pub path: Option<String>,
    /// Every line is a document
    #[arg(long)]
    pub ndjson: bool,
    /// Refuse what is not signed
    #[arg(long, conflicts_with = "rules")]
    pub sign: bool,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let config = args.keyring.load(&args.keyring.overrides(), Purpose::Keys, out)?;
    let fields = match (&args.rules, &args.path) {
        (Some(path), Some(request_path)) => Fields::Rules { path, method: &args.method, request_path },
        _ => Fields::Action(action(args)?),
    };
    let streams = Streams { files: &args.files, output: args.output.as_deref(), ndjson: args.ndjson };
    Work::new(Direction::Response, &fields, &config, out)?.run(&streams, out)
}

fn action(args: &Args) -> Result<Value, Failure> {
    let mut action =
        json!({ "open": super::seal::selectors(&args.fields, args.class.as_deref())?, "key": args.partition });
    if let Some(members) = action.as_object_mut() {
        if let Some(class) = &args.class {
            members.insert("class".to_owned(), json!(class));
        }
        if args.sign {
            members.insert("sign".to_owned(), json!(true));
        }
    }
    Ok(action)
}
