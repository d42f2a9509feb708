//! The default dataset: whether its URL makes sense, and whether rows would land.

use std::path::Path;

use namel3ss_safety::Delivery;
#[cfg(feature = "delta")]
use namel3ss_safety_stores::objects::delta;

use super::finding::Finding;
use crate::destination;
use crate::place::{self, Place};
use crate::shell::shell;
use crate::source;

pub(super) fn check(findings: &mut Vec<Finding>) {
    let adapters = match destination::open(&[]) {
        Ok(adapters) => adapters,
        Err(error) => {
            findings.push(Finding::config(
                "dataset",
                format!("the default dataset can't be opened: failed to {error}"),
                "set NAMEL3SS_SAFETY_URL to a URL such as sqlite:////var/lib/app/safety.db, or \
                 unset it for the one in the home folder",
            ));
            return;
        }
    };
    let mut known = Vec::new();
    let places = place::default_datasets().unwrap_or_default();
    for (adapter, place) in adapters.iter().zip(places) {
        let identity = adapter.identity();
        if known.contains(&identity) {
            findings.push(Finding::config(
                "dataset",
                format!("NAMEL3SS_SAFETY_URL names {identity} twice"),
                "name it once: a logger that is made from it says so too",
            ));
            continue;
        }
        findings.push(match adapter.delivery() {
            Delivery::ExactlyOnce { condition } => {
                Finding::ok("dataset", format!("{identity} stores each row once ({condition})"))
            }
            _ => {
                Finding::note("dataset", format!("{identity} may store a row twice after a crash"))
            }
        });
        known.push(identity);
        match place {
            Ok(place) => local(&place, findings),
            Err(_) => findings.push(Finding::note(
                "dataset",
                "it is not on this machine's disk: whether it answers shows at the first delivery",
            )),
        }
    }
}

/// A dataset that is a file: whether it can be written, and read.
fn local(place: &Place, findings: &mut Vec<Finding>) {
    let Some(path) = place.path() else { return remote(place, findings) };
    let Ok(metadata) = path.symlink_metadata() else { return not_yet(path, findings) };
    if metadata.is_symlink() {
        findings.push(Finding::config(
            "dataset",
            format!("{} is a link, which is not followed", path.display()),
            "name the file that it leads to",
        ));
        return;
    }
    if !metadata.is_file() {
        findings.push(Finding::config(
            "dataset",
            format!("{} is no file", path.display()),
            "name a file that is none yet, or a dataset's own",
        ));
        return;
    }
    if !is_writable(path) {
        findings.push(Finding::config(
            "dataset",
            format!("{} can't be written to", path.display()),
            format!("chmod u+w {}, or run as its owner", shell(path)),
        ));
    }
    readable(place, "move the file away, or mend it with its own tools", findings);
}

/// A dataset on a server, or a folder of objects: whether it answers, and can be read.
fn remote(place: &Place, findings: &mut Vec<Finding>) {
    if !place.is_there() {
        findings.push(Finding::note(
            "dataset",
            format!("{} is made at the first delivery", place.shown()),
        ));
        return;
    }
    readable(place, "see that the server runs, and what the URL says of it", findings);
    #[cfg(feature = "delta")]
    if let Place::Delta(table) = place {
        checkpoints(place, table, findings);
    }
}

/// Whether the checkpoints of a Delta table can be read: we do without, other readers may not.
#[cfg(feature = "delta")]
fn checkpoints(place: &Place, table: &delta::DeltaPlace, findings: &mut Vec<Finding>) {
    // A store that does not answer was told of.
    for file in delta::damaged_checkpoints(table).unwrap_or_default() {
        findings.push(Finding::integrity(
            "dataset",
            format!("{}: {file} can't be read, as it is torn or lacks a part", place.shown()),
            "keep the commits that it sums up; once a later checkpoint is there, which a logger makes by \
             its next commit, delete the file",
        ));
    }
}

fn readable(place: &Place, remedy: &str, findings: &mut Vec<Finding>) {
    // Reading ends at the first row: this is about whether it can be read at all.
    let stop = |_| Err(crate::Error::BrokenPipe);
    let read = source::open(place).and_then(|mut source| {
        source.only_newest(1);
        source.poll(&mut { stop })
    });
    match read {
        Ok(_) | Err(crate::Error::BrokenPipe) => {}
        Err(error) if error.to_string().contains("no table") => {
            findings.push(Finding::note("dataset", "its table is made at the first delivery"));
        }
        Err(error) => findings.push(Finding::config(
            "dataset",
            format!("{} can't be read: failed to {error}", place.shown()),
            remedy,
        )),
    }
}

fn not_yet(path: &Path, findings: &mut Vec<Finding>) {
    // Missing folders are made with it.
    let there = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = there.ancestors().skip(1).find(|folder| folder.exists());
    let there = there.unwrap_or_else(|| Path::new("/"));
    if !there.is_dir() || !is_writable(there) {
        findings.push(Finding::config(
            "dataset",
            format!("{} can't be made: {} can't be written to", path.display(), there.display()),
            format!("let this user write to {}", shell(there)),
        ));
    } else {
        findings.push(Finding::note(
            "dataset",
            format!("{} is made at the first delivery", path.display()),
        ));
    }
}

#[cfg(unix)]
fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn is_writable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.permissions().readonly())
}
