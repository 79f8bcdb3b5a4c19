//! The walk over all records: page by page, some records at once, its place written down as it goes.

use futures_util::{StreamExt, stream};

use super::client::{Client, Shared};
use super::journal::{Counts, Failures, Journal, State, sameness};
use super::pages::{Page, Position, Source};
use super::record::{Became, Records, Unwritten};
use super::stored::Standing;
use super::{Halt, HaltKind};

/// After so many records the place is written down.
const CHUNK: usize = 50;

/// See the module.
pub struct Walk {
    /// Which records.
    pub source: Source,
    /// Whom to ask for the list.
    pub list: Client,
    /// The path of a record, with `{id}`.
    pub item: String,
    /// What is done with each.
    pub records: Records,
    /// How many at once.
    pub concurrency: usize,
    /// More failed records than this end the walk.
    pub max_failures: u64,
    /// Where its place is written down.
    pub journal: Option<Journal>,
    /// Where it goes on.
    pub resumed: Option<State>,
    /// Where failed records are written down.
    pub failures: Option<Failures>,
    /// What its clients share.
    pub shared: Shared,
}

/// How a walk ended.
#[derive(Debug)]
pub struct Ended {
    /// What was done, with what was done before it was broken off.
    pub counts: Counts,
    /// Why it ended before its end.
    pub halt: Option<Halt>,
}

impl Walk {
    /// To its end, or until it cannot go on. `tell` is told after every record.
    pub async fn run(mut self, tell: &mut dyn FnMut(&Counts)) -> Ended {
        let start = self.source.start();
        let mut state = match (self.resumed.take(), &self.journal) {
            (Some(state), _) => state,
            (None, Some(journal)) => journal.state(start),
            (None, None) => State::unsaved(start),
        };
        let mut counts = state.counts.clone();
        let halt = self.pages(&mut state, &mut counts, tell).await.err();
        Ended { counts, halt }
    }

    async fn pages(
        &mut self,
        state: &mut State,
        counts: &mut Counts,
        tell: &mut dyn FnMut(&Counts),
    ) -> Result<(), Halt> {
        let mut before = None;
        while !state.finished {
            let page = self.source.page(&state.at, &self.list).await?;
            if !state.passed.is_empty() && state.passed != page.passed.0 {
                let message = "the file of records does not begin with the lines that are done already";
                let help = "give the file that the walk began with; for another one take the state file away, or name another with --state";
                return Err(Halt::new(HaltKind::Usage, message).help(help));
            }
            let whole = sameness(page.names.iter());
            let is_list = matches!(self.source, Source::List(_));
            if is_list && !page.names.is_empty() && before.as_ref() == Some(&whole) {
                let message = "the list gives the same records as on the page before";
                let help = "does the application know the parameter in --list? without one, it has a single page";
                return Err(Halt::new(HaltKind::Refused, message).help(help));
            }
            before = Some(whole);
            self.page(&page, (&mut *state, &mut *counts), tell).await?;
            match page.next {
                Some(next) => (state.at, state.done, state.passed) = (next, 0, page.passed.1),
                None => state.finished = true,
            }
            state.same.clear();
            self.save(state)?;
        }
        Ok(())
    }

    async fn page(
        &mut self,
        page: &Page,
        (state, counts): (&mut State, &mut Counts),
        tell: &mut dyn FnMut(&Counts),
    ) -> Result<(), Halt> {
        let done = usize::try_from(state.done).unwrap_or(usize::MAX);
        // If others came or went, some of the rest may stand among those that were done.
        if done > 0 && (done > page.names.len() || sameness(page.names.iter().take(done)) != state.same) {
            state.done = 0;
        }
        let mut from = usize::try_from(state.done).unwrap_or(usize::MAX);
        while from < page.names.len() {
            let chunk: Vec<String> = page.names.iter().skip(from).take(CHUNK).cloned().collect();
            self.chunk(&chunk, (&state.at, from), counts, tell).await?;
            from = from.saturating_add(chunk.len());
            // What is not whole when the process ends is done again, and counted then.
            state.counts.clone_from(counts);
            state.done = from as u64;
            state.same = sameness(page.names.iter().take(from));
            self.save(state)?;
        }
        Ok(())
    }

    async fn chunk(
        &mut self,
        names: &[String],
        (at, from): (&Position, usize),
        counts: &mut Counts,
        tell: &mut dyn FnMut(&Counts),
    ) -> Result<(), Halt> {
        let mut halted: Option<Halt> = None;
        let (source, item, records) = (&self.source, &self.item, &self.records);
        let work = names.iter().enumerate().map(|(index, name)| async move {
            let became = match source.path(item, name) {
                Ok(path) => records.rewrite(&path).await,
                Err(why) => Err(Unwritten::Failed(why.to_owned())),
            };
            (index, became)
        });
        let mut work = stream::iter(work).buffer_unordered(self.concurrency);
        while let Some((index, became)) = work.next().await {
            match became {
                Ok(became) => count(&became, counts),
                Err(Unwritten::Halt(halt)) => {
                    // What is on its way is waited for; the first reason is the one that counts.
                    self.shared.stop();
                    halted.get_or_insert(halt);
                    continue;
                }
                Err(Unwritten::Failed(why)) => {
                    counts.records += 1;
                    counts.failed += 1;
                    let number = (from.saturating_add(index)) as u64;
                    let name = names.get(index).map_or("", String::as_str);
                    let noted = match &mut self.failures {
                        Some(failures) => failures.add(at, number, name, &why),
                        None => Ok(()),
                    };
                    let many = counts.failed > self.max_failures;
                    if let Err(halt) =
                        noted.and_then(|()| if many { Err(too_many(counts.failed, &why)) } else { Ok(()) })
                    {
                        self.shared.stop();
                        halted.get_or_insert(halt);
                    }
                }
            }
            tell(counts);
        }
        halted.map_or(Ok(()), Err)
    }

    fn save(&self, state: &State) -> Result<(), Halt> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.save(state))
    }
}

fn too_many(failed: u64, why: &str) -> Halt {
    let message = format!("{failed} records failed, the last one: {why}");
    Halt::new(HaltKind::Refused, message).help("mend that, and run it again; --max-failures allows more")
}

fn count(became: &Became, counts: &mut Counts) {
    counts.records += 1;
    let look = match became {
        Became::Written { conflicts } => {
            counts.written += 1;
            counts.conflicts += u64::from(*conflicts);
            None
        }
        Became::Already(look) => {
            counts.already += 1;
            Some(look)
        }
        Became::Gone => {
            counts.gone += 1;
            None
        }
        Became::Would { tagged, look } => {
            counts.would += 1;
            counts.untagged += u64::from(*tagged == Some(false));
            look.as_ref()
        }
    };
    counts.unselected += u64::from(look.is_some_and(|look| look.places.is_empty()));
    for (class, standing) in look.iter().flat_map(|look| look.places.values()) {
        let seen = counts.classes.entry(class.clone()).or_default();
        match standing {
            Standing::Plaintext => seen.plaintext += 1,
            Standing::Sealed => seen.sealed += 1,
            Standing::Null | Standing::Masked => {}
        }
    }
}
