//! `tail`: the last events, those that are not delivered yet, and those to come.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use namel3ss_safety::internal::nearest::nearest;
use namel3ss_safety::{JournalId, Seq, Timestamp};
use namel3ss_safety_stores::read::{Condition, Filter, Op};

use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::place::{self, Place};
use crate::record::Record;
use crate::source::{self, Source};
use crate::span;
use crate::style::Style;

/// How long a Ctrl-C may go unnoticed.
const NOTICE_WITHIN: Duration = Duration::from_millis(50);
/// How many events are shown without `-n` and `--since`.
const LINES: usize = 10;
/// How often journals are looked at, and how much of the time that may take.
const JOURNALS_EVERY: Duration = Duration::from_secs(1);
const JOURNALS_SHARE: u32 = 10;
/// The most events that are remembered because they were shown before they were delivered.
const SHOWN_MAX: usize = 100_000;
/// The most events that are looked at for what an empty result says.
const LOOKED_AT_MAX: u32 = 100_000;
/// The most values of a field that are remembered for "did you mean".
const VALUES_MAX: usize = 1000;

/// Show the last events of a dataset or of journals, and follow them
///
/// Events that wait in this home's journals for the dataset are shown as well, with a * behind
/// their time, or as JSON with "state": "waiting".
#[derive(Debug, Args)]
#[command(after_help = "Filters:
  field=value      is
  field!=value     is not
  field~substring  contains
  A field is one of the 17 of an event, or metadata.KEY. Several filters must all hold.

Examples:
  n3-safety tail
  n3-safety tail safety.jsonl action=block
  n3-safety tail -f action=block severity!=low
  n3-safety tail --since 1h --from sqlite:///safety.db metadata.model~gpt
  n3-safety tail --since 1h --from s3://bucket/safety action=block
  n3-safety tail -f --from delta+s3://bucket/table
  n3-safety tail -n 1000 -o json --from safety.jsonl | jq .policy_name")]
pub(crate) struct Tail {
    /// Go on with what comes, until Ctrl-C; a dataset that is not there yet is waited for
    #[arg(short, long)]
    follow: bool,
    /// How many events to show first [default: 10, or all with --since]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Only events of this moment or later: 90s, 15m, 1h, 2d ago, or ISO 8601
    #[arg(long, value_name = "WHEN", value_parser = crate::span::since)]
    since: Option<Timestamp>,
    /// Where to read: a URL, a .csv, .json, .jsonl or SQLite file, a folder of objects by day, the
    /// folder of a Delta table, or a folder with journals
    /// [default: the default dataset]
    #[arg(long, value_name = "URL|PATH")]
    from: Option<String>,
    /// What to read, as with --from, if it comes first and holds a slash or an extension; then which
    /// events, see below
    #[arg(value_name = "DATASET|FILTER")]
    words: Vec<Word>,
}

/// An argument: the dataset or a filter.
#[derive(Clone, Debug)]
enum Word {
    Dataset(String),
    Filter(Condition),
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match place::is_named_by(text) {
            true => Ok(Self::Dataset(text.to_owned())),
            false => text.parse().map(Self::Filter),
        }
    }
}

/// What was found.
#[derive(Default)]
struct Found {
    /// The last events that match.
    stored: VecDeque<Record>,
    waiting: VecDeque<Record>,
    /// Rows that could not be read.
    unreadable: u64,
    /// What the dataset lacks to be whole.
    lacks: Option<String>,
    /// Why there is no dataset.
    missing: Option<Error>,
    /// What of each journal is known to be delivered.
    delivered: BTreeMap<JournalId, Seq>,
}

impl Tail {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let (named, words) = match self.words.split_first() {
            Some((Word::Dataset(named), words)) => (Some(named), words),
            _ => (None, &*self.words),
        };
        let filters = words.iter().map(|word| match word {
            Word::Filter(filter) => Ok(filter.clone()),
            Word::Dataset(named) => {
                Err(Error::usage(format!("read {named}: the dataset comes before all filters")))
            }
        });
        let wanted = Wanted { filter: filters.collect::<Result<_, _>>()?, since: self.since };
        let place = match (&self.from, named) {
            (Some(from), None) | (None, Some(from)) => Place::parse(from)?,
            (None, None) => place::default_dataset()?,
            (Some(from), Some(named)) => {
                let text = format!("read {named} and {from}: name one dataset");
                return Err(Error::usage(text));
            }
        };
        let mut source = source::open(&place)?;
        let lines = self.lines.unwrap_or(if self.since.is_some() { usize::MAX } else { LINES });
        source.only_matching(&wanted.filter);
        if let Ok(lines) = u32::try_from(lines) {
            source.only_newest(lines);
        }
        if let Some(since) = self.since {
            source.only_since(since);
        }
        if self.follow {
            context.interrupt.arm();
        }
        let mut journals = place.identity().map(|identity| source::waiting_for(&identity));
        if let Some(journals) = &mut journals {
            journals.only_matching(&wanted.filter);
        }
        let mut found = wanted.first(&mut source, self.follow, journals.as_mut(), lines)?;
        match found.missing.take() {
            Some(_) if self.follow => {
                context.err.note(&format!("waiting for {} to appear", place.shown()));
            }
            Some(error) if found.waiting.is_empty() => return Err(error),
            Some(error) => context.err.note(&format!("{error}")),
            None => {}
        }
        let shown = show_all(context, &mut found, lines)?;
        if self.follow {
            wanted.follow(context, &mut source, journals.as_mut(), &mut found, shown)?;
        } else if found.stored.is_empty() && found.waiting.is_empty() && lines > 0 {
            wanted.tell_nothing(context, &place)?;
        }
        context.out.flush()?;
        if found.unreadable > 0 {
            let text = format!("{} rows could not be read and were left out", found.unreadable);
            context.err.say(Style::Warn, "warning:", &text);
        }
        if let Some(lacks) = &found.lacks {
            context.err.say(Style::Warn, "warning:", lacks);
        }
        let is_whole = found.unreadable == 0 && found.lacks.is_none();
        Ok(if is_whole { Exit::Ok } else { Exit::Partial })
    }
}

/// Which events are wanted.
struct Wanted {
    filter: Filter,
    since: Option<Timestamp>,
}

impl Wanted {
    fn conditions(&self) -> &[Condition] {
        self.filter.conditions()
    }

    /// What is there now.
    fn first(
        &self,
        source: &mut Source,
        follows: bool,
        journals: Option<&mut Source>,
        lines: usize,
    ) -> Result<Found, Error> {
        let mut found = Found::default();
        let keep = |kept: &mut VecDeque<Record>, record| {
            if kept.len() >= lines {
                kept.pop_front();
            }
            if lines > 0 {
                kept.push_back(record);
            }
        };
        // What is delivered meanwhile is found in the dataset: look there last.
        if let Some(journals) = journals {
            found.unreadable += journals.poll(&mut |record| {
                if self.shows(&record) {
                    keep(&mut found.waiting, record);
                }
                Ok(())
            })?;
        }
        let mut take = |record: Record| {
            if let Some((journal, seq)) = record.place {
                let last = found.delivered.entry(journal).or_default();
                *last = seq.max(*last);
            }
            if self.shows(&record) {
                keep(&mut found.stored, record);
            }
            Ok(())
        };
        let read = source.poll(&mut take);
        let lacks = match &read {
            Ok(_) if !follows => source.lacks(),
            _ => None,
        };
        found.lacks = lacks;
        match read {
            Ok(unreadable) => found.unreadable += unreadable,
            Err(error @ Error::NotThere { .. }) => found.missing = Some(error),
            Err(error) => return Err(error),
        }
        let Found { waiting, delivered, .. } = &mut found;
        waiting.retain(|record| !is_delivered(delivered, record));
        Ok(found)
    }

    fn shows(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.event.timestamp >= since)
            && self.filter.matches(&record.event)
    }

    /// Shows what comes, each event once, until somebody wants to end.
    fn follow(
        &self,
        context: &mut Context,
        source: &mut Source,
        mut journals: Option<&mut Source>,
        found: &mut Found,
        mut shown: HashSet<(JournalId, Seq)>,
    ) -> Result<(), Error> {
        let mut look = Instant::now() + JOURNALS_EVERY;
        while wait(context, source.pause().min(JOURNALS_EVERY))? {
            let read = source.poll(&mut |record| {
                if let Some((journal, seq)) = record.place {
                    let last = found.delivered.entry(journal).or_default();
                    *last = seq.max(*last);
                }
                let is_shown = record.place.is_some_and(|place| shown.remove(&place));
                if !is_shown && self.shows(&record) {
                    return show(context, &record, false);
                }
                Ok(())
            });
            match read {
                Ok(unreadable) => found.unreadable += unreadable,
                // Not yet, or for the moment: a rotation puts another file there.
                Err(Error::NotThere { .. }) => {}
                Err(error) => return Err(error),
            }
            let due = journals.as_deref_mut().filter(|_| Instant::now() >= look);
            let Some(journals) = due else { continue };
            let began = Instant::now();
            // From where the last look has ended.
            journals.poll(&mut |record| {
                let is_new = shown.len() < SHOWN_MAX;
                if is_new && !is_delivered(&found.delivered, &record) && self.shows(&record) {
                    shown.extend(record.place);
                    return show(context, &record, true);
                }
                Ok(())
            })?;
            look = Instant::now() + JOURNALS_EVERY.max(began.elapsed() * JOURNALS_SHARE);
        }
        Ok(())
    }

    /// An empty result says why it is one, and what the last events of the dataset hold instead.
    fn tell_nothing(&self, context: &mut Context, place: &Place) -> Result<(), Error> {
        if self.conditions().is_empty() && self.since.is_none() {
            context.err.note(&format!("hint: there are no events in {}", place.shown()));
            return Ok(());
        }
        let (mut all, mut values) = (0, vec![BTreeSet::new(); self.conditions().len()]);
        let mut take = |record: Record| {
            all += 1;
            for (condition, values) in self.conditions().iter().zip(&mut values) {
                if condition.op() == Op::Is && values.len() < VALUES_MAX {
                    let texts = condition.texts(&record.event);
                    values.extend(texts.into_iter().take(VALUES_MAX - values.len()));
                }
            }
            Ok(())
        };
        let mut source = source::open(place)?;
        source.only_newest(LOOKED_AT_MAX);
        // What waits is something to choose from as well; what can't be read was reported.
        let read = source.poll(&mut take);
        if let Some(identity) = place.identity() {
            source::waiting_for(&identity).poll(&mut take)?;
        }
        if !matches!(read, Err(Error::NotThere { .. })) {
            read?;
        }
        let near = self.conditions().iter().zip(&values).find_map(|(condition, values)| {
            let (field, value) = (condition.field(), condition.value());
            let near = nearest(value, values.iter().map(String::as_str))?;
            (near != value).then(|| format!(": did you mean {field}={near}?"))
        });
        let text = match all {
            0 => format!("hint: there are no events to choose from in {}", place.shown()),
            all => format!("hint: none of {all} events matches{}", near.unwrap_or_default()),
        };
        context.err.note(&text);
        Ok(())
    }
}

/// Whether an event that waits was found in the dataset, or one of its journal behind it.
fn is_delivered(delivered: &BTreeMap<JournalId, Seq>, record: &Record) -> bool {
    record
        .place
        .is_some_and(|(journal, seq)| delivered.get(&journal).is_some_and(|last| seq <= *last))
}

/// Shows the last events, stored or waiting; returns the places of those that wait.
fn show_all(
    context: &mut Context,
    found: &mut Found,
    lines: usize,
) -> Result<HashSet<(JournalId, Seq)>, Error> {
    let stored = found.stored.iter().map(|record| (record, false));
    let mut all: Vec<(&Record, bool)> =
        stored.chain(found.waiting.iter().map(|record| (record, true))).collect();
    if !found.waiting.is_empty() {
        all.sort_by_key(|(record, _)| record.event.timestamp);
    }
    let last = all.split_off(all.len().saturating_sub(lines));
    for (record, waits) in &last {
        show(context, record, *waits)?;
    }
    let waiting: Vec<&Record> =
        last.iter().filter(|(_, waits)| *waits).map(|(record, _)| *record).collect();
    if let Some(oldest) = waiting.iter().map(|record| record.event.timestamp).min() {
        let micros = Timestamp::now().micros().saturating_sub(oldest.micros());
        let age = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let events = if waiting.len() == 1 { "event" } else { "events" };
        context.out.flush()?;
        context.err.note(&format!(
            "hint: * not delivered yet: {} {events}, the oldest for {}",
            waiting.len(),
            span::shown(age)
        ));
    }
    Ok(waiting.iter().filter_map(|record| record.place).collect())
}

/// Until the next look; false once somebody wants to end.
fn wait(context: &mut Context, pause: Duration) -> Result<bool, Error> {
    context.out.flush()?;
    let mut waited = Duration::ZERO;
    while waited < pause {
        if context.interrupt.raised() {
            return Ok(false);
        }
        std::thread::sleep(NOTICE_WITHIN);
        waited += NOTICE_WITHIN;
    }
    Ok(true)
}

fn show(context: &mut Context, record: &Record, waits: bool) -> Result<(), Error> {
    if context.out.is_json() {
        let mut json = record.to_json();
        if waits && json.pop() == Some('}') {
            json.push_str(",\"state\":\"waiting\"}");
        }
        return context.out.json_text(&json);
    }
    let mut cells = record.to_cells();
    if waits && let Some(time) = cells.first_mut() {
        time.text.push('*');
    }
    context.out.line(&cells)
}
