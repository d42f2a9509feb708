//! What an error of a server's driver means to us, whichever server it is.

use namel3ss_safety::{AdapterError, Failure};

/// What to do about an error.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Told as it is.
    Told(AdapterError),
    /// A row is to blame, and its content may be in the server's own words: what may be told of it.
    Rows(String),
    /// A row is there already, by the key that we rely on or another one.
    Duplicate(String),
    /// The table is not as it was found when we connected.
    Changed(AdapterError),
    /// Deadlock, or another process was faster: it may work at once.
    Conflict(AdapterError),
    /// PostgreSQL's COPY can't write to such a table.
    #[cfg(feature = "postgres")]
    NoCopy(AdapterError),
    /// The connection is gone.
    Lost(AdapterError),
}

impl Problem {
    /// `text` is what the server says of who connects.
    pub(crate) fn login(text: &str) -> Self {
        Self::Told(AdapterError::config(format!("{text}; check the user and the password")))
    }

    /// `text` is what the server says of a write to a copy of the data.
    pub(crate) fn replica(text: &str) -> Self {
        let text = format!("{text}; name the primary, not a read replica");
        // It may have been the primary until a moment ago: the name leads elsewhere next time.
        Self::Lost(AdapterError::transient(text))
    }

    /// `text` is what TLS says of the server's certificate.
    pub(crate) fn certificate(text: &str) -> Self {
        Self::Told(AdapterError::config(format!("{text}; check sslrootcert and the host")))
    }

    /// `text` is what the driver says of a server without TLS.
    pub(crate) fn no_tls(text: &str) -> Self {
        Self::Told(AdapterError::config(format!("{text}; or write sslmode=disable")))
    }

    /// As the sink is told where nothing can be done about it here.
    pub(crate) fn into_error(self) -> AdapterError {
        match self {
            Self::Rows(text) | Self::Duplicate(text) => AdapterError::new(Failure::Unknown, text),
            #[cfg(feature = "postgres")]
            Self::NoCopy(error) => error,
            Self::Told(error)
            | Self::Changed(error)
            | Self::Conflict(error)
            | Self::Lost(error) => error,
        }
    }
}

impl From<AdapterError> for Problem {
    fn from(error: AdapterError) -> Self {
        Self::Told(error)
    }
}
