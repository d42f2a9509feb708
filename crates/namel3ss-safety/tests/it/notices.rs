//! Who hears what the library says of itself: a subscriber of `tracing`, whoever pulls it, and stderr
//! where nobody does.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span;

use crate::jobs::helper;
use crate::support::{Dataset, Place, adds_up, builder, event};

const CHILD: &str = "N3_SAFETY_TEST_NOTICES";

/// Loses an event, and says so.
fn lose(pulls: bool) {
    let place = Place::new();
    let builder = builder(Dataset::dead()).home(place.home()).no_fallback();
    let builder = if pulls { builder.pulls_notices() } else { builder };
    let logger = builder.build().unwrap();
    logger.reject();
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    if pulls {
        // Whoever says so does: what is left when the logger goes would be heard by nobody else.
        assert!(!logger.notices().is_empty());
    }
}

pub(crate) fn child() {
    lose(std::env::var(CHILD).expect("who pulls") == "pulls");
}

/// A gateway without a subscriber lost events, and nobody heard of it.
#[test]
fn what_is_critical_goes_to_stderr_where_nobody_reads_it() {
    for (how, heard) in [("nobody", true), ("pulls", false)] {
        let child = helper("notices").env(CHILD, how).output().unwrap();
        assert!(child.status.success(), "{child:?}");
        let stderr = String::from_utf8_lossy(&child.stderr);
        let line = "namel3ss-safety: critical: 1 event was dropped: they could not be read";
        assert_eq!(stderr.contains(line), heard, "{how}: {stderr}");
    }
}

/// Keeps the texts of the library's own events.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Heard {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "namel3ss_safety"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if matches!(field.name(), "kind" | "message") {
                    self.0 += &format!(" {value:?}");
                }
            }
        }
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn notices_reach_a_subscriber_of_tracing_and_whoever_pulls_them() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    let logger = place.builder(&dataset).build().unwrap();
    let heard = Heard::default();
    tracing::subscriber::with_default(heard.clone(), || {
        logger.reject();
        let _ = logger.log(&event(1));
        // The maintenance thread has no subscriber here: this thread forwards what is left to it.
        let _ = logger.flush(Some(Duration::from_secs(20)));
    });
    let pulled: Vec<String> = logger.notices().iter().map(|n| n.kind.to_string()).collect();
    assert!(pulled.iter().any(|kind| kind == "invalid"), "{pulled:?}");
    let heard = heard.0.lock().unwrap().clone();
    assert!(!heard.is_empty());
    assert!(heard.iter().any(|text| text.starts_with("ERROR")), "{heard:?}");
}

/// What a report says after a time-out: how many events went where, what waits, and for which sink.
#[test]
fn a_report_says_what_went_where_and_why_it_is_incomplete() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    // The second attempt comes long after the time-out.
    let builder = builder(dataset.clone()).home(place.home()).retry_delay(Duration::from_secs(2));
    let logger = builder.build().unwrap();
    (1..=10).for_each(|n| _ = logger.log(&event(n)));
    let report = logger.flush(Some(Duration::from_millis(50)));
    assert_eq!((report.complete, report.flushed, report.pending), (false, 0, 10));
    let error = report.error.unwrap();
    assert!(
        error.starts_with("the time-out has passed: 10 events wait for safety_events"),
        "{error}"
    );

    dataset.set(|_| Ok(()));
    let report = logger.flush(Some(Duration::from_secs(20)));
    assert!(report.complete, "{report:?}");
    assert_eq!((report.flushed, report.fallback, report.dropped), (10, 0, 0));
    adds_up(&logger.stats());
}
