//! `sidecloak rewrite api`: by way of the application's own API.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::progress::{self, Progress};
use crate::app;
use crate::bounded;
use crate::clock::SystemClock;
use crate::config::{self, Machine, Overrides, Purpose};
use crate::jsonpath::{Path as JsonPath, compile};
use crate::keyring::check_private;
use crate::rewrite::client::{Client, Manner, Shared};
use crate::rewrite::journal::{Counts, Failures, Journal};
use crate::rewrite::pages::{Lines, List, Source};
use crate::rewrite::record::Records;
use crate::rewrite::shape::Shape;
use crate::rewrite::stored::Stored;
use crate::rewrite::walk::{Ended, Walk};
use crate::rewrite::{Halt, HaltKind};
use crate::rules::compile::{Context, Loaded, load};
use crate::tls::ClientTls;

mod args;

pub(crate) use args::Args;

const MAX_HEADERS: u64 = 64 << 10;
/// So many times a record is read again that others have written meanwhile.
const CONFLICTS: u32 = 8;
/// What the name of a header has in it whose value is a secret.
const SECRET: [&str; 5] = ["token", "secret", "password", "api-key", "apikey"];
/// Running processes follow a roll-over within a second: what is sealed anew right after it shall be so under the new epoch.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| Failure::io("a runtime", &e))?;
    runtime.block_on(async {
        let walk = walk(args, out)?;
        if walk.resumed.as_ref().is_some_and(|state| state.finished) {
            out.note("this walk is done, as its state file says; take that away to walk again");
        }
        let shared = walk.shared.clone();
        if args.stored.all && !args.written.dry_run {
            shared.pause(SETTLED).await;
        }
        let mut progress = Progress::new(out);
        let mut tell = |counts: &_| progress.tell(counts, out);
        let ended = tokio::select! {
            ended = walk.run(&mut tell) => ended,
            () = stopped(&shared) => return Err(Failure::new(Exit::No, "stopped at once")),
        };
        progress.end();
        report(args, &ended, shared.sent(), out)
    })
}

fn walk(args: &Args, out: &mut Out) -> Result<Walk, Failure> {
    let headers = headers(args)?;
    let manner = Manner {
        rate: args.pace.rate,
        tries: args.pace.tries.into(),
        timeout: Duration::from_secs(args.pace.timeout),
        max_body: usize::from(args.pace.max_body) << 20,
        tls: ClientTls {
            ca: args.whom.ca.clone(),
            identity: args.whom.client_cert.clone().zip(args.whom.client_key.clone()),
            pq_only: false,
        },
        headers: headers.clone(),
    };
    let shared = Shared::new(manner, SystemClock::shared());
    let client = |url: &str| Client::new(url, &shared).map_err(failure);
    for url in std::iter::once(&args.whom.through).chain(&args.stored.direct) {
        if goes_in_the_clear(url) {
            out.note("warning: values and credentials go over the network in the clear; give an https:// URL if there is one");
        }
    }
    let item = item(args)?;
    let source = source(args)?;
    let method = args.written.method.parse().map_err(|_| Failure::internal("a method"))?;
    let through = client(&args.whom.through)?;
    let direct = args.stored.direct.as_deref().map(client).transpose()?;
    if args.stored.direct.is_none() && !args.written.dry_run && !args.stored.without_direct {
        let failure = Failure::new(Exit::Usage, "nobody would see whether what is written is stored sealed");
        return Err(failure.help("give --direct URL and --rules PATH; --without-direct goes on without looking"));
    }
    let rules = match &args.stored.rules {
        None => None,
        Some(path) => {
            let mut headers = headers;
            if !headers.contains_key(HOST) {
                headers.extend(HeaderValue::from_str(through.host()).ok().map(|host| (HOST, host)));
            }
            let (listener, prefix) = (args.stored.listener.clone(), through.prefix().to_owned());
            let stored = Stored::new(rules(args, path)?, method, headers, listener, prefix);
            if args.which.paths.is_none() {
                check(&stored, &item.replace("{id}", "1"), args)?;
            }
            Some(stored)
        }
    };
    // With another size of page a page's number is another place.
    let page_size = args.which.list.as_ref().filter(|list| list.contains("{page}")).map(|_| args.which.page_size);
    let description = json!([
        args.whom.through,
        args.which.list,
        page_size,
        args.which.items,
        args.which.id,
        args.which.next,
        args.which.ids,
        args.which.paths,
        item,
        args.written.method,
        args.written.record,
        args.written.members,
        args.written.without,
        args.written.open,
        args.written.dry_run,
        args.stored.all
    ]);
    let opened = args.left.state.as_ref().map(|path| Journal::open(path, &description.to_string()));
    let (journal, resumed) = opened.transpose().map_err(failure)?.unzip();
    let failures = args.left.failures.as_ref().map(|path| Failures::open(path, args.left.with_ids));
    Ok(Walk {
        source,
        list: client(&args.whom.through)?,
        item,
        records: Records {
            through,
            direct,
            rules,
            shape: shape(args)?,
            method: args.written.method.parse().map_err(|_| Failure::internal("a method"))?,
            without_etag: args.written.without_etag,
            all: args.stored.all,
            opens: args.written.open,
            dry: args.written.dry_run,
            conflicts: CONFLICTS,
            heeds: tokio::sync::Mutex::default(),
        },
        concurrency: args.pace.concurrency.into(),
        max_failures: args.left.max_failures,
        journal,
        resumed: resumed.flatten(),
        failures: failures.transpose().map_err(failure)?,
        shared,
    })
}

/// Rules under which a walk does harm or nothing are refused. A dry run does no harm, and may ask what a walk would do.
fn check(stored: &Stored, path: &str, args: &Args) -> Result<(), Failure> {
    match stored.check(path, args.written.open) {
        Err(halt) if !args.written.dry_run || !halt.message.contains("in its mode") => Err(failure(halt)),
        _ => Ok(()),
    }
}

fn rules(args: &Args, path: &Path) -> Result<crate::rules::RuleSet, Failure> {
    let profiles = if args.stored.config.is_some() || Path::new(config::DEFAULT_FILE).exists() {
        let loaded =
            config::load(args.stored.config.as_deref(), &Overrides::default(), Purpose::Keys, Machine::detect());
        app::context(&Failure::config(loaded)?.0).profiles
    } else {
        Vec::new()
    };
    let Loaded { rules, findings, .. } = load(path, &Context { profiles, ..Context::default() });
    rules.ok_or_else(|| Failure::findings(Exit::Usage, findings))
}

fn item(args: &Args) -> Result<String, Failure> {
    let item = match (&args.which.item, &args.which.list) {
        (Some(item), _) => item.clone(),
        (None, Some(list)) => format!("{}/{{id}}", list.split('?').next().unwrap_or_default().trim_end_matches('/')),
        (None, None) => return Ok(String::new()),
    };
    let sound = |path: &str| path.starts_with('/') && path.is_ascii();
    if !item.contains("{id}") || !sound(&item) || args.which.list.as_ref().is_some_and(|list| !sound(list)) {
        let failure = Failure::new(Exit::Usage, "--list and --item are paths, and --item has {id} where the id stands");
        return Err(failure.help("as in --list '/customers?page={page}' --item '/customers/{id}'"));
    }
    Ok(item)
}

fn source(args: &Args) -> Result<Source, Failure> {
    if let Some(file) = &args.which.ids {
        return Ok(Source::Ids(Lines::new(input(file)?)));
    }
    if let Some(file) = &args.which.paths {
        return Ok(Source::Paths(Lines::new(input(file)?)));
    }
    let path = args.which.list.clone().unwrap_or_default();
    let array =
        args.which.items.strip_suffix("[*]").map(|array| paths("--items", array)).transpose()?.unwrap_or_default();
    let next = args.which.next.as_ref().map(|next| paths("--next", next)).transpose()?.unwrap_or_default();
    let known = ["{page}", "{offset}", "{limit}", "{cursor}"];
    let rest = known.iter().fold(path.clone(), |text, name| text.replace(name, ""));
    let usage = |message: &str, help: &str| Err(Failure::new(Exit::Usage, message).help(help));
    if rest.contains(['{', '}']) {
        return usage("--list has a placeholder that is not known", "there are {page}, {offset}, {limit} and {cursor}");
    }
    let counted = path.contains("{page}") || path.contains("{offset}");
    if counted && !next.is_empty() {
        return usage("--list counts its pages, and --next says where the next one is", "give one of the two");
    }
    if path.contains("{cursor}") && next.is_empty() {
        return usage("{cursor} is what --next selects", "say with --next where the list gives the cursor");
    }
    if path.contains("{page}") && path.contains("{offset}") {
        return usage("--list has both {page} and {offset}", "give the one that the application knows");
    }
    Ok(Source::List(List {
        path,
        items: paths("--items", &args.which.items)?,
        array,
        id: paths("--id", &args.which.id)?,
        next,
        first_page: args.which.first_page,
        page_size: args.which.page_size,
    }))
}

fn input(path: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
    Ok(Box::new(BufReader::new(file)))
}

fn shape(args: &Args) -> Result<Shape, Failure> {
    let record = args.written.record.as_ref().map(|record| paths("--record", record)).transpose()?.unwrap_or_default();
    let content_type = args.written.content_type.as_ref().map(|text| HeaderValue::from_str(text)).transpose();
    let content_type = content_type.map_err(|_| Failure::new(Exit::Usage, "--content-type is no media type"))?;
    Ok(Shape { record, members: args.written.members.clone(), without: args.written.without.clone(), content_type })
}

fn paths(flag: &str, selector: &str) -> Result<Vec<Arc<JsonPath>>, Failure> {
    let compiled = compile(selector).map_err(|error| Failure::new(Exit::Usage, format!("{flag}: {error}")))?;
    Ok(compiled.into_iter().map(|one| one.path).collect())
}

fn headers(args: &Args) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for line in &args.whom.headers {
        let (name, value) = header("--header", line, 1)?;
        let is_secret = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(&name)
            || SECRET.iter().any(|word| name.as_str().contains(word));
        if is_secret {
            let failure = Failure::new(Exit::Usage, format!("--header: everybody on this machine could read {name}"));
            return Err(failure.help("put it into a file, and name that with --header-file or --bearer-file"));
        }
        headers.insert(name, value);
    }
    if let Some(path) = &args.whom.header_file {
        let text = secret(path, "the file of headers")?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (name, mut value) = header("--header-file", line, number + 1)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    if let Some(path) = &args.whom.bearer_file {
        let token = secret(path, "the token")?;
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| Failure::new(Exit::Usage, "--bearer-file holds no token"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The error names the line, and not what stands in it.
fn header(flag: &str, line: &str, number: usize) -> Result<(HeaderName, HeaderValue), Failure> {
    let read = line.split_once(':').and_then(|(name, value)| {
        Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::from_str(value.trim()).ok()?))
    });
    read.ok_or_else(|| Failure::new(Exit::Usage, format!("{flag}, line {number}: no header")).help("write NAME: VALUE"))
}

fn secret(path: &Path, what: &str) -> Result<String, Failure> {
    check_private(path, what)?;
    bounded::read_text_file(path, MAX_HEADERS).map_err(|error| Failure::io(path.display(), &error))
}

fn goes_in_the_clear(url: &str) -> bool {
    let uri: http::Uri = url.parse().unwrap_or_default();
    if uri.scheme_str() != Some("http") {
        return false;
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The first signal has the walk end as soon as what is on its way is done; this ends with the second.
async fn stopped(shared: &Shared) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let [Ok(mut interrupt), Ok(mut terminate)] = kinds.map(signal) else { return std::future::pending().await };
    for time in 0..2 {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if time == 0 {
            shared.stop();
        }
    }
}

fn report(args: &Args, ended: &Ended, requests: u64, out: &mut Out) -> Result<(), Failure> {
    let counts = &ended.counts;
    let finished = ended.halt.is_none();
    if out.json() {
        let mut value = serde_json::to_value(counts).map_err(|error| Failure::internal(error.to_string()))?;
        if let Some(members) = value.as_object_mut() {
            members.insert("finished".to_owned(), finished.into());
            members.insert("requests".to_owned(), requests.into());
        }
        out.value(&value)?;
    } else {
        out.line(&progress::line(counts))?;
        for (class, seen) in &counts.classes {
            out.line(&format!(
                "  {class}: {} values in the clear, {} sealed, as they were found",
                seen.plaintext, seen.sealed
            ))?;
        }
    }
    match &ended.halt {
        Some(halt) => {
            let mut failure = failure(halt.clone());
            if halt.kind == HaltKind::Stopped {
                let resume = if args.left.state.is_some() {
                    "run it again to go on"
                } else {
                    "with --state it would go on where it was"
                };
                failure = failure.help(resume);
            }
            Err(failure)
        }
        None if counts.failed > 0 => {
            let failure = Failure::new(Exit::No, format!("{} records were not written", counts.failed));
            Err(match &args.left.failures {
                Some(path) => failure.help(format!("{} says which, and why", path.display())),
                None => failure.help("--failures FILE says which, and why"),
            })
        }
        None => did_something(counts),
    }
}

/// A walk that found nothing of what it was to seal is no success, whatever the reason.
fn did_something(counts: &Counts) -> Result<(), Failure> {
    let none = |what: String, help: &str| Err(Failure::new(Exit::No, what).help(help));
    match counts.records {
        0 => Ok(()),
        all if counts.gone == all => {
            none(format!("none of the {all} records is there"), "is --item right? and --through, and --direct?")
        }
        all if counts.unselected.saturating_add(counts.gone) == all => none(
            format!("the rules select nothing in any of the {all} records"),
            "are --rules, --record and --method right? see `sidecloak explain`",
        ),
        _ => Ok(()),
    }
}

fn failure(halt: Halt) -> Failure {
    let code = match halt.kind {
        HaltKind::Stopped | HaltKind::Refused => Exit::No,
        HaltKind::Usage => Exit::Usage,
        HaltKind::Away => Exit::Unavailable,
        HaltKind::Denied => Exit::NoPermission,
        HaltKind::Io => Exit::Io,
    };
    let failure = Failure::new(code, halt.message);
    match halt.help {
        Some(help) => failure.help(help),
        None => failure,
    }
}
