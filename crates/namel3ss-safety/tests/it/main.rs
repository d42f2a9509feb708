//! Everything that is tested through the public interface, in one binary.

mod adapters;
mod api;
mod asynchronous;
mod backlog;
mod brake;
mod children;
mod crashes;
mod damage;
mod bad_blocks;
mod scripted_folder;
mod fixtures;
mod limits;
mod upgrade;
mod kills;
mod recovery;
mod autostart;
mod runtimes;
mod support;
mod jobs;
mod contract;
mod fan_out;
mod fan_out_left;
mod reentry;
mod model;
mod disk;
mod outage;
#[cfg(unix)]
mod neighbours;
#[cfg(feature = "tracing-notices")]
mod notices;
#[cfg(unix)]
mod places;
#[cfg(unix)]
mod life;
#[cfg(target_os = "linux")]
mod copied;
#[cfg(unix)]
mod journals;
#[cfg(unix)]
mod users;
#[cfg(unix)]
mod host;
#[cfg(unix)]
mod healthy;
#[cfg(unix)]
mod maintenance;
#[cfg(target_os = "linux")]
mod descriptors;
#[cfg(unix)]
mod forgotten;
#[cfg(unix)]
mod rings;
#[cfg(target_os = "linux")]
mod long_faults;
