//! Where rows go: from URLs to the adapters that store them.

use std::sync::Arc;

use namel3ss_safety::DatasetAdapter;
use namel3ss_safety::internal::home::{home, make_private};
use namel3ss_safety_stores::OpenError;

use crate::error::Error;
use crate::exit::Exit;
use crate::place;

/// What each `--to` says, or else the default datasets; never empty.
pub(crate) fn open(to: &[String]) -> Result<Vec<Arc<dyn DatasetAdapter>>, Error> {
    if to.is_empty() {
        return default_urls()?.iter().map(|url| open_one(url, Exit::Config)).collect();
    }
    to.iter().map(|url| open_one(url, Exit::Usage)).collect()
}

fn open_one(url: &str, exit: Exit) -> Result<Arc<dyn DatasetAdapter>, Error> {
    namel3ss_safety_stores::open(url).map_err(|error| {
        let exit = match error {
            OpenError::Adapter(_) => Exit::Config,
            _ => exit,
        };
        Error::new(exit, error.to_string())
    })
}

/// Makes the home, where the default dataset is a file: a recorded destination may be it too.
pub(crate) fn make_home() -> Result<(), Error> {
    let home = home();
    make_private(&home).map_err(|e| Error::config(format!("make {}: {e}", home.display())))
}

/// What `NAMEL3SS_SAFETY_URL` names, or the SQLite file under home, which is made for it.
fn default_urls() -> Result<Vec<String>, Error> {
    let urls = place::urls_from_environment()?;
    if !urls.is_empty() {
        return Ok(urls);
    }
    let path = home().join(place::DEFAULT_FILE);
    path.to_str()
        .map(|path| vec![format!("sqlite:///{path}")])
        .ok_or_else(|| Error::config("open the default dataset: its path is not UTF-8"))
}
