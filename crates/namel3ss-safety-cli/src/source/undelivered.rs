//! What waits for a destination in the journals of this home, and of the folders that it knows: it is
//! logged, and not in the dataset yet.

use namel3ss_safety::home::home;
use namel3ss_safety::journal::{destinations, inspect};
use namel3ss_safety::{Seq, codec};

use super::Each;
use crate::error::Error;
use crate::journals;
use crate::record::Record;

/// Gives the events that wait for a destination, the oldest journal first; returns how many could
/// not be read. A journal that can't be read is `doctor`'s to report.
pub(crate) fn events(identity: &str, each: Each<'_>) -> Result<u64, Error> {
    let mut unreadable = 0;
    let roots = journals::folders_of(&home());
    for (id, path) in roots.iter().flat_map(|root| journals::folders(root).unwrap_or_default()) {
        let Ok(info) = inspect::look(&path).journal else { continue };
        let sinks = info.sinks();
        let named = destinations::named(identity, sinks.len());
        let Some(sink) = sinks.iter().find(|sink| sink.destination == named) else { continue };
        if sink.pending == 0 {
            continue;
        }
        let mut stopped = None;
        let read = journals::events(&path, sink.state.acked.next(), &mut |seq: Seq, payload| {
            match codec::decode(payload) {
                _ if stopped.is_some() || sink.state.are_settled(seq, seq) => {}
                Ok(event) => {
                    let record = Record { event: event.to_event(), place: Some((id, seq)) };
                    stopped = each(record).err();
                }
                Err(_) => unreadable += 1,
            }
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        unreadable += u64::from(read.is_err());
    }
    Ok(unreadable)
}
