//! What a lane asks of its logger: who delivers, and how that goes.

use crate::journal::DropReason;

/// See the module.
pub(super) trait Host {
    /// The buffer has reached its size: somebody should hand it over soon.
    fn buffer_full(&self);
    /// Starts the logger, because an event came.
    fn start(&self);
    /// Whether somebody else than the caller delivers.
    fn has_worker(&self) -> bool;
    /// Looks whether the backlog is at its limit, unless somebody else does.
    fn look(&self);
    /// Whether the logger is going away.
    fn is_closing(&self) -> bool;
    /// Whether the caller is an adapter, or was called by one, in the midst of a delivery: it must
    /// not wait for the worker, which waits for it.
    fn is_delivering(&self) -> bool;
    /// Delivers what is buffered, on this thread.
    fn deliver_now(&self);
    /// The journal could not take an event.
    fn journal_full(&self, error: &std::io::Error);
    /// Events were dropped for this reason.
    fn dropped(&self, reason: DropReason);
}
