//! The program that does what tests have done by processes of their own: see `it/jobs.rs`.
#![expect(dead_code, unused_imports, reason = "the tests themselves are left out")]

#[path = "../it/adapters.rs"]
mod adapters;
#[path = "../it/backlog.rs"]
mod backlog;
#[path = "../it/children.rs"]
mod children;
#[path = "../it/contract.rs"]
mod contract;
#[cfg(target_os = "linux")]
#[path = "../it/copied.rs"]
mod copied;
#[cfg(target_os = "linux")]
#[path = "../it/descriptors.rs"]
mod descriptors;
#[path = "../it/disk.rs"]
mod disk;
#[cfg(unix)]
#[path = "../it/forgotten.rs"]
mod forgotten;
#[cfg(unix)]
#[path = "../it/healthy.rs"]
mod healthy;
#[path = "../it/jobs.rs"]
mod jobs;
#[path = "../it/kills.rs"]
mod kills;
#[cfg(unix)]
#[path = "../it/life.rs"]
mod life;
#[path = "../it/limits.rs"]
mod limits;
#[cfg(target_os = "linux")]
#[path = "../it/long_faults.rs"]
mod long_faults;
#[cfg(feature = "tracing-notices")]
#[path = "../it/notices.rs"]
mod notices;
#[path = "../it/outage.rs"]
mod outage;
#[path = "../it/recovery.rs"]
mod recovery;
#[path = "../it/scripted_folder.rs"]
mod scripted_folder;
#[path = "../it/support.rs"]
mod support;
#[cfg(unix)]
#[path = "../it/users.rs"]
mod users;

fn main() {
    let job = std::env::args().nth(1).expect("a job");
    let known = jobs::JOBS.iter().find(|(name, _)| *name == job);
    known.unwrap_or_else(|| panic!("no job {job:?}")).1();
}
