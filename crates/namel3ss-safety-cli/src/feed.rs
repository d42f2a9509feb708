//! Events through the real logger, so that each is on disk before it is counted.

use std::sync::Arc;

use namel3ss_safety::SinkStats;
use namel3ss_safety::internal::home::home;
use namel3ss_safety::{
    AdapterRegistry, DatasetAdapter, Level, Notice, SafetyEvent, SafetyEventLogger,
};
use namel3ss_safety::{LoggerBuilder, OverflowStrategy};

use crate::error::Error;
use crate::journals::Fates;
use crate::out::Diagnostics;
use crate::style::Style;

/// How many events are handed over at once: an input is read in bulk.
const BUFFER_SIZE: usize = 1000;

/// A logger of `dataset` whose home is ours, with a sink for each adapter; one at least.
pub(crate) fn builder(adapters: &[Arc<dyn DatasetAdapter>], dataset: &str) -> LoggerBuilder {
    let registry = AdapterRegistry::default();
    if let Some(first) = adapters.first() {
        registry.register(dataset, first.clone());
    }
    let builder = SafetyEventLogger::builder();
    let builder = adapters.iter().skip(1).fold(builder, |b, adapter| b.also_to(adapter.clone()));
    builder
        .target_dataset(dataset)
        .adapter_registry(registry)
        .home(home())
        .buffer_size(BUFFER_SIZE)
        .pulls_notices()
        // An input waits; dropping a part of it because it is long would be absurd.
        .overflow_strategy(OverflowStrategy::Block)
}

/// Makes it; what can be wrong came from the command line.
pub(crate) fn build(builder: LoggerBuilder) -> Result<SafetyEventLogger, Error> {
    builder.build().map_err(|error| {
        let text = error.to_string();
        let text = match error.parameter() {
            "also_to" => text.replacen("also_to", "--to", 1),
            _ => text,
        };
        Error::usage(format!("make the logger: {text}"))
    })
}

/// Tells what a logger has to say about itself.
pub(crate) fn tell_notices(logger: &SafetyEventLogger, err: &mut Diagnostics) {
    logger.notices().iter().for_each(|notice| tell(notice, err));
}

/// Tells a notice, unless nothing is wrong.
pub(crate) fn tell(notice: &Notice, err: &mut Diagnostics) {
    let style = match notice.level {
        Level::Info => return,
        Level::Warning => Style::Warn,
        Level::Error | Level::Critical => Style::Bad,
    };
    let times = if notice.times > 1 { format!(" ({} times)", notice.times) } else { String::new() };
    let word = format!("{}:", notice.level.as_str());
    err.say(style, &word, &format!("{}{times}", notice.text));
}

/// A logger that is being fed.
pub(crate) struct Feed {
    logger: SafetyEventLogger,
}

impl Feed {
    /// Starts it. `flush_seconds`: how soon events are delivered, where they come one by one.
    pub(crate) fn start(
        adapters: &[Arc<dyn DatasetAdapter>],
        dataset: &str,
        flush_seconds: Option<f64>,
    ) -> Result<Self, Error> {
        // Beside the journal and not under /tmp: a reboot keeps them.
        let fallback = home().join("fallback");
        let mut builder = builder(adapters, dataset).fallback_path(fallback);
        if let Some(seconds) = flush_seconds {
            builder = builder.flush_interval_seconds(seconds);
        }
        let logger = build(builder)?;
        logger.start();
        Ok(Self { logger })
    }

    /// What became of it is in the fates: also a dropped event is counted there.
    pub(crate) fn log(&self, event: &SafetyEvent) {
        let _ = self.logger.log(event);
    }

    /// Delivers everything, and says what came of it.
    pub(crate) fn stop(&self, err: &mut Diagnostics) -> Fed {
        let report = self.logger.stop(None);
        // What only memory has is lost with this process, and is told so here.
        tell_notices(&self.logger, err);
        if let Some(error) = report.error {
            err.say(Style::Warn, "warning:", &format!("not everything is delivered: {error}"));
        }
        let stats = self.logger.stats();
        let fates = Fates {
            logged: stats.total_logged,
            flushed: stats.total_flushed,
            fallback: stats.total_fallback,
            dropped: stats.total_dropped,
            pending: stats.pending,
        };
        Fed {
            fates,
            sinks: stats.sinks,
            in_memory: stats.journal == namel3ss_safety::JournalStorage::Memory,
        }
    }
}

/// What became of it.
#[derive(Default)]
pub(crate) struct Fed {
    /// An event counts as stored if each dataset has it.
    pub(crate) fates: Fates,
    pub(crate) sinks: Vec<SinkStats>,
    /// Whether what is pending is in memory only, because no file was to be had for the journal.
    pub(crate) in_memory: bool,
}
