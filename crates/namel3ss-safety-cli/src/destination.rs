//! Where rows go: from a URL to the adapter that stores them.

use std::sync::Arc;

use namel3ss_safety::DatasetAdapter;

use crate::error::Error;
use crate::exit::Exit;
use crate::place;

/// An adapter, and the URL it was opened from.
pub(crate) struct Destination {
    pub(crate) adapter: Arc<dyn DatasetAdapter>,
}

impl Destination {
    /// What `--to` says, or else the default dataset.
    pub(crate) fn open(to: Option<&str>) -> Result<Self, Error> {
        let (url, exit) = match to {
            Some(url) => (url.to_owned(), Exit::Usage),
            None => match place::url_from_environment()? {
                Some(url) => (url, Exit::Config),
                None => {
                    let path = place::home()?.join(place::DEFAULT_FILE);
                    (format!("sqlite:///{}", path.display()), Exit::Config)
                }
            },
        };
        Err(Error::new(exit, format!("open the dataset {url}: not yet")))
    }
}
