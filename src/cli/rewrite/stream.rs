//! `sidecloak rewrite ndjson | csv | copy`: rows from a file or standard input, as the proxy would have had them stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};

use super::super::common::KeyringArgs;
use super::super::documents::{Engine, deliver, input};
use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use crate::app::profiles;
use crate::config::{Config, Purpose};
use crate::rewrite::rows::copy::Copy;
use crate::rewrite::rows::csv::Csv;
use crate::rewrite::rows::ndjson::Ndjson;
use crate::rewrite::rows::{self, BadRow, Column, Columns, Done, Format, Kind, fill};
use crate::rules::compile::{Context, Loaded, load, load_text};
use crate::rules::route::{RequestFacts, normalize};
use crate::rules::{Action, Binding, Mode, OnBad, OnToken, Part, Reveal, RuleKind, RuleSet, Verb};
use crate::transform::plan::{Direction, HalfPlan};

/// What all streams have.
#[derive(Debug, clap::Args)]
pub(crate) struct Stream {
    /// The file; `-` or none: standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Write here instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The way back: tokens are opened, and what is plaintext already stays
    #[arg(long)]
    pub open: bool,
    /// The partition whose keys seal
    #[arg(long, value_name = "NAME", default_value = "default", conflicts_with = "rules")]
    pub partition: String,
    /// Equal values give equal tokens
    #[arg(long, conflicts_with_all = ["sign", "rules", "bind"])]
    pub deterministic: bool,
    /// Sign what is sealed, or refuse what is not signed
    #[arg(long, conflicts_with = "rules")]
    pub sign: bool,
    /// Pad values to multiples of this many bytes
    #[arg(long, value_name = "N", conflicts_with = "rules")]
    pub pad: Option<usize>,
    /// Refuse a value whose token would be longer: what the column takes
    #[arg(long, value_name = "N", conflicts_with = "rules")]
    pub max_length: Option<usize>,
    /// What each value is bound to: $.id is the member, or the column, `id`
    #[arg(long, value_name = "JSONPATH", conflicts_with = "rules")]
    pub bind: Option<String>,
    /// Do what these rules do to a request with --method and --path
    #[arg(long, value_name = "PATH", requires = "path")]
    pub rules: Option<PathBuf>,
    /// The method for --rules
    #[arg(long, value_name = "METHOD", default_value = "PUT")]
    pub method: String,
    /// The path for --rules; {id} in it is the member, or the column, `id` of each row
    #[arg(long, value_name = "PATH", requires = "rules")]
    pub path: Option<String>,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

/// See `sidecloak rewrite ndjson --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct NdjsonArgs {
    /// Select these values of each document
    #[arg(long, value_name = "JSONPATH", conflicts_with = "rules", required_unless_present = "rules")]
    pub fields: Vec<String>,
    /// The logical field, part of the key [default: the last name in the selector]
    #[arg(long, value_name = "NAME", conflicts_with = "rules")]
    pub class: Option<String>,
    #[command(flatten)]
    pub stream: Stream,
}

/// Which columns, for both formats that have such.
#[derive(Debug, clap::Args)]
pub(crate) struct Chosen {
    /// A column of texts [default class: its name]
    #[arg(long = "column", value_name = "NAME[=CLASS]", conflicts_with = "rules")]
    pub texts: Vec<String>,
    /// A column of numbers, or of true and false; with --rules, only its name
    #[arg(long = "number", value_name = "NAME[=CLASS]")]
    pub numbers: Vec<String>,
    /// Values in a column of JSON, whose class is the last name in the selector; with --rules, only the column's name
    #[arg(long = "json-column", value_name = "NAME=JSONPATH")]
    pub json_columns: Vec<String>,
    /// With --rules: the documents that the rules are about stand in this column
    #[arg(long, value_name = "NAME", requires = "rules", conflicts_with_all = ["numbers", "json_columns"])]
    pub document: Option<String>,
}

/// See `sidecloak rewrite csv --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct CsvArgs {
    #[command(flatten)]
    pub chosen: Chosen,
    /// What stands between fields: one character, or `\t`
    #[arg(long, value_name = "CHAR", default_value = ",", value_parser = delimiter)]
    pub delimiter: u8,
    /// There is no row of names: columns are called 1, 2, 3
    #[arg(long)]
    pub no_header: bool,
    /// What says NULL, without quotes around it [default: nothing]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub null: String,
    #[command(flatten)]
    pub stream: Stream,
}

/// See `sidecloak rewrite copy --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub chosen: Chosen,
    /// The columns' names, in order [default: they are called 1, 2, 3]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with_all = ["header", "table"])]
    pub columns: Vec<String>,
    /// The first row has the columns' names (`COPY … WITH (HEADER)`)
    #[arg(long, conflicts_with = "table")]
    pub header: bool,
    /// The input is what pg_dump writes, and this is the table
    #[arg(long, value_name = "[SCHEMA.]NAME")]
    pub table: Option<String>,
    #[command(flatten)]
    pub stream: Stream,
}

/// A selector with the class of what it selects, if that is not its last name.
type Item = (String, Option<String>);

pub(super) fn ndjson(args: &NdjsonArgs, out: &mut Out) -> Result<(), Failure> {
    let items = args.fields.iter().map(|field| (field.clone(), args.class.clone())).collect();
    let columns = Columns { document: Some("1".to_owned()), ..Columns::default() };
    run(&args.stream, items, (&columns, None), &mut Ndjson::default(), out)
}

pub(super) fn csv(args: &CsvArgs, out: &mut Out) -> Result<(), Failure> {
    let (columns, items) = chosen(&args.chosen, args.stream.rules.is_some())?;
    let mut format = Csv::new(args.delimiter, !args.no_header, &args.null);
    run(&args.stream, items, (&columns, None), &mut format, out)
}

pub(super) fn copy(args: &CopyArgs, out: &mut Out) -> Result<(), Failure> {
    let (columns, items) = chosen(&args.chosen, args.stream.rules.is_some())?;
    let mut format = match &args.table {
        Some(table) => Copy::dump(table),
        None => Copy::rows(args.header),
    };
    let names = (!args.columns.is_empty()).then_some(args.columns.as_slice());
    run(&args.stream, items, (&columns, names), &mut format, out)
}

fn run(
    args: &Stream,
    items: Vec<Item>,
    columns: (&Columns, Option<&[String]>),
    format: &mut dyn Format,
    out: &mut Out,
) -> Result<(), Failure> {
    let config = args.keyring.load(&args.keyring.overrides(), Purpose::Keys, out)?;
    let mut plans = Plans::new(args, items, &config)?;
    let engine = Engine::open(&config, out)?;
    let file = args.file.as_deref().unwrap_or_else(|| Path::new("-"));
    let (mut input, progress) = input(file, out.err_terminal())?;
    let (mut done, mut selected, mut whole) = (Done::default(), 0u64, false);
    let result = deliver(args.output.as_deref(), out, |write| {
        let mut edit = |document: &[u8], edited: &mut Vec<u8>| -> Result<(), Failure> {
            let plan = plans.of(document)?;
            let values = engine.document(&plan, &mut &*document, "", &mut |bytes| {
                edited.extend_from_slice(bytes);
                Ok(())
            })?;
            selected = selected.saturating_add(values);
            Ok(())
        };
        rows::rewrite(format, columns, &mut input, &mut edit, write, &mut done)?;
        whole = true;
        if done.rows > 0 && selected == 0 && !args.open {
            let text = format!("nothing is selected in any of the {} rows: none was sealed", done.rows);
            return Err(Failure::new(Exit::No, text)
                .help("do the selectors, or --rules and --path, fit these rows? see `sidecloak explain`"));
        }
        Ok(())
    });
    progress.finish_and_clear();
    if let Err(mut failure) = result {
        if failure.code != Exit::Ok && !failure.message.is_empty() {
            let input = if file == Path::new("-") { "standard input".into() } else { file.display().to_string() };
            let row = if whole || done.rows == 0 { String::new() } else { format!(", row {}", done.rows) };
            failure.message = format!("{input}{row}: {}", failure.message);
        }
        return Err(failure);
    }
    let text = json!({ "rows": done.rows, "changed": done.changed });
    let line = format!("{} rows, {} changed", done.rows, done.changed);
    out.note(&if out.json() { text.to_string() } else { line });
    Ok(())
}

impl From<BadRow> for Failure {
    fn from(bad: BadRow) -> Self {
        Self::new(Exit::Data, bad.0)
    }
}

/// The rules, and what they do to each row.
struct Plans {
    rules: RuleSet,
    direction: Direction,
    method: String,
    path: String,
    /// Of the row before: most often it is this one's, too.
    last: Option<(String, Arc<HalfPlan>)>,
}

impl Plans {
    fn new(args: &Stream, items: Vec<Item>, config: &Config) -> Result<Self, Failure> {
        let context = Context { profiles: profiles::facts(config), ..Context::default() };
        let loaded = match &args.rules {
            Some(path) => load(path, &context),
            None => load_text("the command line", &actions(args, items), &context),
        };
        let Loaded { rules: Some(mut rules), .. } = loaded else {
            return Err(Failure::findings(Exit::Usage, loaded.findings));
        };
        let direction = if args.open { Direction::Response } else { Direction::Request };
        settle(&mut rules, direction)?;
        let path = args.path.clone().unwrap_or_else(|| "/".to_owned());
        let mut plans = Self { rules, direction, method: args.method.clone(), path, last: None };
        if !plans.path.contains('{') {
            let plan = plans.at(&plans.path)?;
            let bound = plan.fields.iter().find(|field| matches!(field.action.bind, Some(Binding::Segment(_))));
            if let Some(field) = bound {
                let text = format!(
                    "rule `{}` binds values to a segment of the path, which is another for each row",
                    field.action.rule
                );
                return Err(Failure::new(Exit::Usage, text)
                    .help("give it as in --path '/customers/{id}', with the member or column"));
            }
            plans.last = Some((plans.path.clone(), plan));
        }
        Ok(plans)
    }

    fn of(&mut self, document: &[u8]) -> Result<Arc<HalfPlan>, Failure> {
        if !self.path.contains('{')
            && let Some((_, plan)) = &self.last
        {
            return Ok(Arc::clone(plan));
        }
        let path = fill(&self.path, document).ok_or_else(|| {
            let failure =
                Failure::new(Exit::Data, "what --path names is not there, or no text or number that a segment can be");
            failure.help("{id} in --path is a member of the document, or a column")
        })?;
        match &self.last {
            Some((known, plan)) if *known == path => Ok(Arc::clone(plan)),
            _ => {
                let plan = self.at(&path)?;
                self.last = Some((path, Arc::clone(&plan)));
                Ok(plan)
            }
        }
    }

    fn at(&self, path: &str) -> Result<Arc<HalfPlan>, Failure> {
        let normal = normalize(path, false).map_err(|e| Failure::new(Exit::Usage, format!("--path: {e}")))?;
        let headers = HeaderMap::new();
        let facts = RequestFacts {
            method: &self.method,
            path: &normal,
            ignore_case: false,
            listener: "front",
            host: None,
            words: (&headers).into(),
        };
        let plan = HalfPlan::new(self.direction, &self.rules.route(&facts).rules, &headers)?;
        plan.map(Arc::new).ok_or_else(|| {
            Failure::new(Exit::No, "no rule does anything to such a message").help("see `sidecloak explain`")
        })
    }
}

/// The flags as a file of rules.
fn actions(args: &Stream, items: Vec<Item>) -> String {
    let verb = if args.open { "open" } else { "seal" };
    let action = |(selector, class): Item| {
        let mut members = serde_json::Map::new();
        let mut set = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
        set(verb, json!([selector]));
        set("key", json!(args.partition));
        set("mode", json!("migrate"));
        let optional = [("class", class.map(Value::from)), ("bind", args.bind.clone().map(Value::from))];
        let sealing = [("pad", args.pad.map(Value::from)), ("max_length", args.max_length.map(Value::from))];
        let sealing = sealing.into_iter().filter(|_| !args.open);
        for (name, value) in optional.into_iter().chain(sealing) {
            if let Some(value) = value {
                set(name, value);
            }
        }
        if args.sign {
            set("sign", json!(true));
        }
        if args.deterministic && !args.open {
            set("deterministic", json!(true));
        }
        Value::Object(members)
    };
    let half = if args.open { "response" } else { "request" };
    let actions: Vec<Value> = items.into_iter().map(action).collect();
    json!({ "rules": [{ "name": "command-line", "match": { "path": "/" }, half: actions }] }).to_string()
}

/// What holds for stored rows, whatever step the roll-out is at: tokens that are there stay if they are good for their place, plaintext
/// is no error on the way back, and nothing is ever stored instead of a value.
fn settle(rules: &mut RuleSet, direction: Direction) -> Result<(), Failure> {
    let broken = || Failure::internal("rules that are shared");
    for rule in &mut rules.rules {
        let rule = Arc::get_mut(rule).ok_or_else(broken)?;
        let RuleKind::Fields { request, response } = &mut rule.kind else { continue };
        let actions = if direction == Direction::Request { request } else { response };
        for action in actions {
            let action = Arc::get_mut(action).ok_or_else(broken)?;
            if action.part == Part::Json {
                sound(action, direction)?;
            }
            action.mode = Mode::Migrate;
            action.on_token = OnToken::Keep;
            action.on_error = OnBad::Reject;
            action.on_plaintext = OnBad::Pass;
        }
    }
    Ok(())
}

fn sound(action: &Action, direction: Direction) -> Result<(), Failure> {
    let refused =
        |what: &str, help: &str| Err(Failure::new(Exit::Usage, format!("rule `{}` {what}", action.rule)).help(help));
    match (direction, action.verb) {
        (Direction::Request, Verb::Open) | (Direction::Response, Verb::Seal) => refused(
            "is one that exposes: what is stored behind it is plaintext",
            "rewrite what stands on its other side",
        ),
        _ if action.mode == Mode::Observe => {
            refused("only observes: tokens would reach callers", "put it into `mode: read` first, at every replica")
        }
        (Direction::Response, _) if action.mode == Mode::Enforce => {
            refused("refuses plaintext", "put it into `mode: read` first, at every replica")
        }
        (Direction::Response, _) if action.reveal != Reveal::Plain => refused(
            "shows no more than a mask, which must not be stored",
            "open with --fields or --column instead of --rules",
        ),
        _ => Ok(()),
    }
}

fn chosen(args: &Chosen, by_rules: bool) -> Result<(Columns, Vec<Item>), Failure> {
    let usage = |message: &str, help: &str| Err(Failure::new(Exit::Usage, message).help(help));
    let mut columns = Columns { all: by_rules, document: args.document.clone(), ..Columns::default() };
    let mut items = Vec::new();
    let named = |name: &str| format!("$['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"));
    let texts = args.texts.iter().map(|text| (text, Kind::Text));
    for (text, kind) in texts.chain(args.numbers.iter().map(|text| (text, Kind::Bare))) {
        let (name, class) = text.split_once('=').map_or((text.as_str(), None), |(name, class)| (name, Some(class)));
        if by_rules && class.is_some() {
            return usage("with --rules the rules say the class", "give --number NAME alone");
        }
        if !by_rules && class.is_none() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            return usage("a column without a name needs a class: it is part of the key", "give it as NUMBER=CLASS");
        }
        columns.chosen.push(Column { name: name.to_owned(), kind });
        items.push((named(name), class.map(str::to_owned)));
    }
    for text in &args.json_columns {
        let (name, selector) = text.split_once('=').map_or((text.as_str(), None), |(name, rest)| (name, Some(rest)));
        match selector.map(|selector| selector.strip_prefix('$')) {
            None if by_rules => {}
            Some(Some(rest)) if !by_rules => items.push((format!("{}{rest}", named(name)), None)),
            _ => {
                return usage(
                    "--json-column is NAME=JSONPATH, with --rules NAME alone",
                    "as in --json-column 'data=$..ssn'",
                );
            }
        }
        if !columns.chosen.iter().any(|known| known.name == name) {
            columns.chosen.push(Column { name: name.to_owned(), kind: Kind::Json });
        }
    }
    if !by_rules && items.is_empty() {
        return usage("no column is named", "name one with --column, --number or --json-column, or give --rules");
    }
    Ok((columns, items))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("one character, or \\t".to_owned()),
    }
}
