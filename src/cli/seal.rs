//! `sidecloak seal`: values, or fields of documents, from files or standard input.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::common::KeyringArgs;
use super::documents::{Fields, Streams, Work};
use super::exit::{Exit, Failure};
use super::out::Out;
use crate::config::Purpose;
use crate::transform::plan::Direction;

/// See `sidecloak seal --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, `-` or none for standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write here instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The partition whose keys seal
    #[arg(long, value_name = "NAME", default_value = "default", conflicts_with = "rules")]
    pub partition: String,
    /// The logical field, part of the key [default: the last name in the selector]
    #[arg(long, value_name = "NAME", conflicts_with = "rules")]
    pub class: Option<String>,
    /// Select these values of a document; without, the input is one value
    #[arg(long, value_name = "JSONPATH", conflicts_with = "rules")]
    pub fields: Vec<String>,
    /// Do what these rules do to a request with --method and --path
    #[arg(long, value_name = "PATH", requires = "path")]
    pub rules: Option<PathBuf>,
    /// The method for --rules
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    pub method: String,
    /// The path for --rules
    #[arg(long, value_name = "PATH", requires = "rules")]
    pub path: Option<String>,
    /// Every line is a document
    #[arg(long)]
    pub ndjson: bool,
    /// Equal values give equal tokens
    #[arg(long, conflicts_with_all = ["sign", "rules"])]
    pub deterministic: bool,
    /// Sign what is sealed
    #[arg(long, conflicts_with = "rules")]
    pub sign: bool,
    /// Pad values to multiples of this many bytes
    #[arg(long, value_name = "N", conflicts_with = "rules")]
    pub pad: Option<usize>,
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
    Work::new(Direction::Request, &fields, &config, out)?.run(&streams, out)
}

fn action(args: &Args) -> Result<Value, Failure> {
    let mut action = json!({ "seal": selectors(&args.fields, args.class.as_deref())?, "key": args.partition });
    if let Some(members) = action.as_object_mut() {
        let mut set = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
        if let Some(class) = &args.class {
            set("class", json!(class));
        }
        if args.deterministic {
            set("deterministic", json!(true));
        }
        if args.sign {
            set("sign", json!(true));
        }
        if let Some(pad) = args.pad {
            set("pad", json!(pad));
        }
    }
    Ok(action)
}

/// `--fields`, or the whole input as one value, which then needs a class.
pub(super) fn selectors(fields: &[String], class: Option<&str>) -> Result<Vec<String>, Failure> {
    if fields.is_empty() && class.is_none() {
        let failure = Failure::new(Exit::Usage, "a single value needs a class: it is part of the key");
        return Err(failure.help("give --class NAME, or select values with --fields"));
    }
    Ok(if fields.is_empty() { vec!["$".to_owned()] } else { fields.to_vec() })
}
