//! What is scheduled, waits, or takes long: done by whichever process is there for it, or by `keys due --run`.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::super::common::operator;
use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::change::done;
use super::list::age;
use super::{advise, hex, named, open, refused};
use crate::audit::Audit;
use crate::audit::line::rfc3339;
use crate::authority::lifecycle::{
    DEFAULT_WAIT, Destruction, Goal, Job, Kinds, Lifecycle, Schedule, StillSealing, Target, Wait,
};
use crate::clock::SystemClock;
use crate::directory::Directory;
use crate::keyring::Options;
use crate::token::EpochId;

/// See `sidecloak keys schedule --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct ScheduleArgs {
    /// The partition
    #[arg(value_name = "PARTITION", required_unless_present = "app", conflicts_with = "app")]
    pub partition: Option<String>,
    /// All partitions whose names begin with this and a dot
    #[arg(long, value_name = "APP")]
    pub app: Option<String>,
    /// The days between two roll-overs; 0: none any more
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=3650))]
    pub every: u32,
    /// Which epochs: rolling deterministic ones ends equality with older tokens
    #[arg(long, value_name = "KIND", default_value = "random", value_parser = ["random", "deterministic", "all"])]
    pub kind: String,
}

/// See `sidecloak keys destroy --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct DestroyArgs {
    /// The partition
    #[arg(value_name = "PARTITION", required_unless_present = "epoch", conflicts_with = "epoch")]
    pub partition: Option<String>,
    /// Destroy this epoch alone
    #[arg(long, value_name = "ID")]
    pub epoch: Option<String>,
    /// The partition's name, or the epoch's id, once more
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// How long it waits, paused, and can be called off [default: 7d]
    #[arg(long, value_name = "TIME", conflicts_with = "now")]
    pub after: Option<String>,
    /// Destroy it now: nothing brings it back
    #[arg(long)]
    pub now: bool,
}

pub(super) fn lifecycle(options: &Options) -> Result<Lifecycle, Failure> {
    let keyring = open(options)?;
    let clock = SystemClock::shared();
    let directory = Directory::new(std::sync::Arc::clone(&keyring), clock, Duration::ZERO)?;
    let audit = Audit::for_acts(std::sync::Arc::clone(&keyring), SystemClock::shared())?;
    Ok(Lifecycle::new(keyring, directory, audit.into())?)
}

pub(super) fn schedule(options: &Options, args: &ScheduleArgs, out: &mut Out) -> Result<(), Failure> {
    let target = match (&args.app, &args.partition) {
        (Some(app), _) => Target::App(named(app)?),
        (None, partition) => Target::Partition(named(partition.as_deref().unwrap_or_default())?),
    };
    let subject = match &target {
        Target::App(app) => format!("application {app}"),
        Target::Partition(partition) => format!("partition {partition}"),
    };
    let kinds = match args.kind.as_str() {
        "random" => Kinds::Random,
        "deterministic" => Kinds::Deterministic,
        _ => Kinds::All,
    };
    lifecycle(options)?.schedule(&operator(), &target, args.every, kinds).map_err(refused)?;
    let text = match args.every {
        0 => format!("{subject} is rolled over by hand alone"),
        days => format!("{subject} is rolled over every {days} days, by any process that runs on this keyring"),
    };
    done(out, &text, &json!({ "target": target.to_string(), "days": args.every, "kinds": args.kind }))
}

pub(super) fn destroy(options: &Options, args: &DestroyArgs, out: &mut Out) -> Result<(), Failure> {
    let what = args.epoch.as_deref().or(args.partition.as_deref()).unwrap_or_default();
    let wait = match (&args.after, args.now) {
        (_, true) => Wait::None,
        (None, false) => Wait::For(DEFAULT_WAIT),
        (Some(text), false) => match crate::config::duration(text).filter(|wait| *wait >= Duration::from_secs(1)) {
            Some(wait) => Wait::For(wait),
            None => {
                let failure = Failure::new(Exit::Usage, format!("`{text}` is no time to wait"));
                return Err(failure.help("write `7d`, `12h` or `30m`; `--now` destroys without waiting"));
            }
        },
    };
    if args.confirm.as_deref() != Some(what) {
        let text = format!("destroying {what} loses for good everything that was ever sealed in it");
        return Err(Failure::new(Exit::Usage, text).help(format!("if that is meant, add `--confirm {what}`")));
    }
    let lifecycle = lifecycle(options)?;
    let mut still = None;
    let (subject, id) = match &args.epoch {
        Some(text) => {
            still = Some(lifecycle.destroy_epoch(&operator(), epoch(text)?, wait).map_err(refused)?);
            (format!("epoch {text}"), format!("epoch:{text}"))
        }
        None => {
            let name = named(what)?;
            lifecycle.destroy_partition(&operator(), &name, wait).map_err(refused)?;
            (format!("partition {name}"), format!("partition:{name}"))
        }
    };
    advise(out, "note: copies count: delete backups, exports and mirrors that hold its epochs, too");
    if let Some(text) = still.and_then(warning) {
        advise(out, &text);
    }
    let told = |mut value: Value| {
        if let (Some(still), Some(value)) = (still, value.as_object_mut()) {
            value.insert("still_sealing".into(), still.word().into());
        }
        value
    };
    let Wait::For(wait) = wait else {
        let text = format!("{subject} is destroyed; what was sealed in it cannot be opened again");
        return done(out, &text, &told(json!({ "what": id, "state": "destroyed" })));
    };
    let text = format!(
        "{subject} is destroyed in {} by any process that runs on this keyring; `sidecloak keys cancel {id}` calls it off",
        age(wait.as_secs())
    );
    done(out, &text, &told(json!({ "what": id, "state": "pending", "seconds": wait.as_secs() })))
}

/// What may be sealed under an epoch and lost with it.
fn warning(still: StillSealing) -> Option<String> {
    match still {
        StillSealing::Nobody => None,
        StillSealing::Shared => Some(
            "warning: it was sealed under until now; what a process seals under it before it follows (within a second, or `max_stale` where it does not reach the keyring) is lost"
                .into(),
        ),
        StillSealing::Own(until) => Some(format!(
            "warning: the process that only encrypts and made it may seal under it until {}; restart that first, or what it seals under it before it follows is lost",
            rfc3339(until)
        )),
    }
}

pub(super) fn cancel(options: &Options, what: &str, out: &mut Out) -> Result<(), Failure> {
    let id = if what.contains(':') { what.to_owned() } else { format!("partition:{what}") };
    lifecycle(options)?.cancel(&operator(), &id).map_err(|error| {
        let failure = refused(error);
        failure.help("`sidecloak keys due` shows what is pending")
    })?;
    done(out, &format!("the destruction of {id} is called off"), &json!({ "what": id, "state": "cancelled" }))
}

pub(super) fn rewrap(options: &Options, partition: Option<&str>, master: bool, out: &mut Out) -> Result<(), Failure> {
    let name = partition.map(named).transpose()?;
    let goal = if master { Goal::Master } else { Goal::Recipients };
    let job = lifecycle(options)?.rewrap(&operator(), goal, name.as_ref()).map_err(refused)?;
    let unit = if master { "entries" } else { "epochs" };
    let text = format!("job {}: {} {unit}; `sidecloak keys due` shows how far it is", job.number, job.total);
    done(out, &text, &job_value(&job))
}

pub(super) fn remove(
    options: &Options,
    partition: &str,
    (id, issuer): (&str, bool),
    out: &mut Out,
) -> Result<(), Failure> {
    let name = named(partition)?;
    let Some(id) = unhex::<16>(id) else {
        let failure = Failure::new(Exit::Usage, format!("`{id}` is no id of a key"));
        return Err(failure.help("`sidecloak keys list PARTITION --json` shows them, 32 hexadecimal digits each"));
    };
    let lifecycle = lifecycle(options)?;
    let value = json!({ "partition": name.as_str(), "removed": hex(&id) });
    if issuer {
        let epochs = lifecycle.remove_issuer(&operator(), &name, id).map_err(refused)?;
        let text = format!("the issuer is off the list of {name}; the owner vouches for the {epochs} epochs it made");
        return done(out, &text, &value);
    }
    let job = lifecycle.remove_recipient(&operator(), &name, id).map_err(refused)?;
    advise(out, "note: what it could open so far, and copied, it can open further on");
    let text =
        format!("the recipient is off the list of {name}; job {} takes it away from {} epochs", job.number, job.total);
    done(out, &text, &value)
}

pub(super) fn due(options: &Options, run: bool, out: &mut Out) -> Result<(), Failure> {
    let lifecycle = lifecycle(options)?;
    if run {
        while lifecycle.run_due() > 0 {}
    }
    let (schedules, destructions, jobs) = (lifecycle.schedules()?, lifecycle.destructions()?, lifecycle.jobs()?);
    if out.json() {
        return out.value(&json!({
            "schedules": schedules.iter().map(schedule_value).collect::<Vec<_>>(),
            "destructions": destructions.iter().map(destruction_value).collect::<Vec<_>>(),
            "jobs": jobs.iter().map(job_value).collect::<Vec<_>>(),
        }));
    }
    super::super::manage::unread(lifecycle.unread(), out);
    if schedules.is_empty() && destructions.is_empty() && jobs.is_empty() {
        return out.line("nothing is scheduled, pending or under way");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["WHAT", "ON", "WHEN", "BY"]);
    for s in &schedules {
        table.add_row([
            format!("roll over every {} days", s.days),
            s.target.clone(),
            rfc3339(s.next),
            s.set_by.clone(),
        ]);
    }
    for d in &destructions {
        table.add_row(["destroy".into(), d.what.clone(), rfc3339(d.due), d.asked_by.clone()]);
    }
    for j in &jobs {
        let what = match j.goal {
            Goal::Recipients => "re-wrap",
            Goal::Master => "re-seal",
        };
        let when = match (j.finished, &j.error) {
            (Some(time), _) => format!("done {}", rfc3339(time)),
            (None, Some(error)) => format!("{}/{}, waits: {error}", j.done, j.total),
            (None, None) => format!("{}/{}", j.done, j.total),
        };
        let on = j.partition.clone().unwrap_or_else(|| "all".into());
        table.add_row([format!("{what} (job {})", j.number), on, when, j.asked_by.clone()]);
    }
    table.lines().try_for_each(|line| out.line(line.trim_end()))
}

fn schedule_value(s: &Schedule) -> Value {
    json!({ "target": s.target, "days": s.days, "kinds": s.kinds, "next": rfc3339(s.next), "last": s.last.map(rfc3339), "set_by": s.set_by })
}

fn destruction_value(d: &Destruction) -> Value {
    json!({ "what": d.what, "partition": d.partition, "due": rfc3339(d.due), "asked_by": d.asked_by })
}

fn job_value(j: &Job) -> Value {
    json!({
        "job": j.number, "goal": j.goal, "partition": j.partition, "done": j.done, "total": j.total, "changed": j.changed,
        "finished": j.finished.map(rfc3339), "error": j.error, "asked_by": j.asked_by,
    })
}

fn epoch(text: &str) -> Result<EpochId, Failure> {
    unhex(text).map(EpochId).ok_or_else(|| {
        let failure = Failure::new(Exit::Usage, format!("`{text}` is no epoch"));
        failure.help("`sidecloak inspect` shows a token's, 20 hexadecimal digits")
    })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}
