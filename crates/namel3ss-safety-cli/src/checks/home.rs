//! The home folder: whose it is, who may look into it, and whether there is room.

use std::path::Path;

use super::finding::Finding;
use crate::shell::shell;

/// Below this not even one journal's ring and first segment fit.
#[cfg(unix)]
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Below this a backlog at its default limit does not fit.
#[cfg(unix)]
const FREE_BYTES_LOW: u64 = 1 << 30;

pub(super) fn check(home: &Path, findings: &mut Vec<Finding>) {
    match home.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() && !home.is_dir() => findings.push(Finding::config(
            "home",
            format!("{} is a link to what is no folder", home.display()),
            "name a real folder in NAMEL3SS_SAFETY_HOME",
        )),
        Ok(metadata) if !metadata.is_dir() && !metadata.is_symlink() => {
            findings.push(Finding::config(
                "home",
                format!("{} is no folder", home.display()),
                "name a folder in NAMEL3SS_SAFETY_HOME, or move the file away",
            ));
        }
        Ok(_) => access(home, findings),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(Finding::note(
                "home",
                format!("{} is not there yet: the first logger makes it", home.display()),
            ));
            if let Some(parent) = existing(home) {
                writable(parent, home, findings);
            }
        }
        Err(error) => findings.push(Finding::config(
            "home",
            format!("{} can't be looked at: {error}", home.display()),
            "let this user reach it, or set NAMEL3SS_SAFETY_HOME to a folder of its own",
        )),
    }
    #[cfg(unix)]
    space(home, findings);
}

/// The nearest folder above that exists.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|ancestor| ancestor.exists())
}

#[cfg(unix)]
fn access(home: &Path, findings: &mut Vec<Finding>) {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = home.metadata() else { return };
    let us = rustix::process::geteuid().as_raw();
    let before = findings.len();
    if metadata.uid() != us {
        findings.push(Finding::config(
            "home",
            format!("{} belongs to user {}, and this is user {us}", home.display(), metadata.uid()),
            format!("chown {us} {}, or set NAMEL3SS_SAFETY_HOME to a folder of ours", shell(home)),
        ));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        findings.push(Finding::config(
            "home",
            format!("{} has mode {mode:04o}: others may look into it", home.display()),
            format!("chmod 700 {}", shell(home)),
        ));
    }
    writable(home, home, findings);
    if findings.len() == before {
        findings.push(Finding::ok("home", format!("{} is ours alone", home.display())));
    }
}

#[cfg(not(unix))]
fn access(home: &Path, findings: &mut Vec<Finding>) {
    findings.push(Finding::ok("home", format!("{} is there", home.display())));
}

#[cfg(unix)]
fn writable(folder: &Path, home: &Path, findings: &mut Vec<Finding>) {
    use rustix::fs::{Access, access};
    if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        findings.push(Finding::config(
            "home",
            format!("{} can't be written to", folder.display()),
            format!("let this user write to {}, or set NAMEL3SS_SAFETY_HOME", shell(home)),
        ));
    }
}

#[cfg(not(unix))]
fn writable(_: &Path, _: &Path, _: &mut Vec<Finding>) {}

#[cfg(unix)]
fn space(home: &Path, findings: &mut Vec<Finding>) {
    let Some(stat) = existing(home).and_then(|folder| rustix::fs::statvfs(folder).ok()) else {
        return;
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let text = format!("{} MiB are free for {}", free >> 20, home.display());
    // Some file systems have no such thing as a number of inodes, and say zero of zero.
    if stat.f_files > 0 && stat.f_favail == 0 {
        findings.push(Finding::config(
            "disk",
            format!("no inode is free for {}", home.display()),
            "remove files, or set NAMEL3SS_SAFETY_HOME to another file system",
        ));
    }
    findings.push(if free < FREE_BYTES_MIN {
        let least = FREE_BYTES_MIN >> 20;
        Finding::config(
            "disk",
            format!("{text}: a journal needs {least}"),
            "free some space, or set NAMEL3SS_SAFETY_HOME to another file system",
        )
    } else if free < FREE_BYTES_LOW {
        Finding::note("disk", format!("{text}: a backlog at its default limit takes 1024"))
    } else {
        Finding::ok("disk", text)
    });
}
