//! Everything that is tested through the public interface, in one binary.

mod adapters;
mod brake;
mod children;
mod crashes;
mod reentry;
