//! Where rows go: from a URL to the adapter that stores them.

use std::sync::Arc;

use namel3ss_safety::DatasetAdapter;
use namel3ss_safety::home::home;
use namel3ss_safety_stores::OpenError;

use crate::error::Error;
use crate::exit::Exit;
use crate::place;

/// What `--to` says, or else the default dataset.
pub(crate) fn open(to: Option<&str>) -> Result<Arc<dyn DatasetAdapter>, Error> {
    let (url, exit) = match to {
        Some(url) => (url.to_owned(), Exit::Usage),
        None => (default_url()?, Exit::Config),
    };
    namel3ss_safety_stores::open(&url).map_err(|error| {
        let exit = match error {
            OpenError::Adapter(_) => Exit::Config,
            _ => exit,
        };
        Error::new(exit, error.to_string())
    })
}

/// What `NAMEL3SS_SAFETY_URL` names, or the SQLite file under home, which is made for it.
fn default_url() -> Result<String, Error> {
    if let Some(url) = place::url_from_environment()? {
        return Ok(url);
    }
    let path = home().join(place::DEFAULT_FILE);
    path.to_str()
        .map(|path| format!("sqlite:///{path}"))
        .ok_or_else(|| Error::config("open the default dataset: its path is not UTF-8"))
}
