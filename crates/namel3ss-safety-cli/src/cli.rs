//! The command line: verbs, global options, and what becomes of what clap finds wrong.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use namel3ss_safety::internal::nearest::nearest;

use crate::cmd;
use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::io::Io;
use crate::out::{Diagnostics, Format, Out};
use crate::style::{Color, Style};

const EXITS: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line makes no sense, or no line of an input had an action
  3  the record needs care: damage, orphaned journals, fallback files that wait
  4  done in part: bad lines were skipped, or some rows did not land
  5  something is misconfigured: a URL, a folder, a dataset; or the dataset is not there

Environment:
  NAMEL3SS_SAFETY_URL   the default dataset, such as sqlite:////var/lib/app/safety.db
  NAMEL3SS_SAFETY_HOME  journals and the default dataset [default: $XDG_STATE_HOME/namel3ss/safety,
                        or ~/.local/state/namel3ss/safety]
  NAMEL3SS_SAFETY_FALLBACK_PATH
                        where fallback files of programs are that were given no folder
                        [default: /tmp/namel3ss_safety_fallback]
  NO_COLOR              no colour, unless --color always asks for it

Examples:
  n3-safety ingest events.jsonl --to sqlite:///safety.db
  n3-safety tail -f action=block severity=critical
  n3-safety doctor";

/// The record of what an AI application's guardrails decided.
#[derive(Debug, Parser)]
#[command(
    name = "n3-safety",
    bin_name = "n3-safety",
    version,
    about = "Feed, read, mend and watch the record of an AI application's guardrail decisions",
    after_help = EXITS,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// What standard output looks like
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// When to use colour; auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// Print the texts of events as they are, control characters included
    #[arg(long, global = true)]
    raw: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Ingest(cmd::ingest::Ingest),
    Tail(cmd::tail::Tail),
    Stats(cmd::stats::Stats),
    Query(cmd::query::Query),
    Replay(cmd::replay::Replay),
    Recover(cmd::recover::Recover),
    Journal(cmd::journal::Journal),
    #[cfg(feature = "parquet")]
    Compact(cmd::compact::Compact),
    Doctor(cmd::doctor::Doctor),
    Schema(cmd::schema::Schema),
    Completions(cmd::completions::Completions),
    Man(cmd::man::Man),
}

impl Verb {
    /// Whether it prints in this format; all but `query` print text or JSON.
    fn prints(&self, format: Option<Format>) -> bool {
        matches!(self, Self::Query(_)) || matches!(format, None | Some(Format::Text | Format::Json))
    }
}

/// The definition of the command line: for completions, man pages and whoever documents it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// See [`crate::run`].
pub(crate) fn run(args: Vec<OsString>, io: Io) -> Exit {
    let color = Color::from_args(&args);
    let stderr_color = color.wanted(io.stderr_is_terminal);
    let mut err = Diagnostics::new(io.stderr, io.stderr_is_terminal, stderr_color);
    let parsed =
        command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let stdout_color = color.wanted(io.stdout_is_terminal);
            let mut out = Out::new(io.stdout, Format::Text, stdout_color, false);
            return refuse(&error, &mut out, &mut err);
        }
    };
    let color = cli.global.color.wanted(io.stdout_is_terminal);
    let output = cli.global.output;
    let out = Out::new(io.stdout, output.unwrap_or_default(), color, cli.global.raw);
    let (stdin, stdin_is_terminal) = (io.stdin, io.stdin_is_terminal);
    let stdout_is_terminal = io.stdout_is_terminal;
    let interrupt = io.interrupt;
    let mut context =
        Context { stdin, stdin_is_terminal, stdout_is_terminal, output, out, err, interrupt };
    let done = match &cli.verb {
        verb if !verb.prints(output) => {
            let text = "print in this format: query does, any other verb prints text or json";
            Err(Error::usage(text))
        }
        Verb::Ingest(verb) => verb.run(&mut context),
        Verb::Tail(verb) => verb.run(&mut context),
        Verb::Stats(verb) => verb.run(&mut context),
        Verb::Query(verb) => verb.run(&mut context),
        Verb::Replay(verb) => verb.run(&mut context),
        Verb::Recover(verb) => verb.run(&mut context),
        Verb::Journal(verb) => verb.run(&mut context),
        #[cfg(feature = "parquet")]
        Verb::Compact(verb) => verb.run(&mut context),
        Verb::Doctor(verb) => verb.run(&mut context),
        Verb::Schema(verb) => verb.run(&mut context),
        Verb::Completions(verb) => verb.run(&mut context, command()),
        Verb::Man(verb) => verb.run(&mut context, command()),
    };
    let flushed = context.out.flush();
    match done.and_then(|exit| flushed.map(|()| exit)) {
        Ok(exit) => exit,
        Err(Error::BrokenPipe) => Exit::Ok,
        Err(Error::Failed { exit, message }) => {
            context.err.say(Style::Bad, "n3-safety:", &format!("failed to {message}"));
            exit
        }
        Err(Error::NotThere { message }) => {
            context.err.say(Style::Bad, "n3-safety:", &format!("failed to {message}"));
            Exit::Config
        }
        Err(Error::Refused { exit, message, hint }) => {
            context.err.say(Style::Bad, "n3-safety:", &message);
            context.err.say(Style::Plain, "hint:", &hint);
            exit
        }
    }
}

/// Prints help, the version or what is wrong with the command line.
fn refuse(error: &clap::Error, out: &mut Out, err: &mut Diagnostics) -> Exit {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match out.lines(&text).and_then(|()| out.flush()) {
            Ok(()) | Err(Error::BrokenPipe) => Exit::Ok,
            Err(Error::Failed { exit, .. } | Error::Refused { exit, .. }) => exit,
            Err(Error::NotThere { .. }) => Exit::Config,
        };
    }
    err.lines(&text);
    if let Some(near) = suggestion(error) {
        err.note(&format!("did you mean '{near}'?"));
    }
    Exit::Usage
}

/// The word that was probably meant, where clap has no idea: it misses transposed letters.
fn suggestion(error: &clap::Error) -> Option<String> {
    let one = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    if error.get(ContextKind::SuggestedSubcommand).is_some()
        || error.get(ContextKind::SuggestedValue).is_some()
    {
        return None;
    }
    if let Some(verb) = one(ContextKind::InvalidSubcommand) {
        let command = command();
        let verbs = command.get_subcommands().map(clap::Command::get_name);
        return nearest(verb, verbs).map(str::to_owned);
    }
    match (one(ContextKind::InvalidValue), error.get(ContextKind::ValidValue)) {
        (Some(value), Some(ContextValue::Strings(known))) => {
            nearest(value, known.iter().map(String::as_str)).map(str::to_owned)
        }
        _ => None,
    }
}
