//! Everything that is tested through the public interface, in one binary.

mod adapters;
mod children;
mod crashes;
mod bench;
mod contract;
