//! An application whose own TLS is aws-lc-rs, with datasets on servers: `host_aws_lc URL…`, such as
//! `postgresql://…?sslmode=require`. `./prove` runs it.
//!
//! Without the feature `tls-ring` of namel3ss-safety-stores no second provider is compiled into rustls, so
//! that `ClientConfig::builder()` of the application is unambiguous, and the datasets take the provider
//! that it has installed.

use std::error::Error;
use std::time::Duration;

use namel3ss_safety::{
    AdapterRegistry, JournalId, RowBuffer, SafetyAction, SafetyEvent, SafetyEventLogger, Seq,
};

/// What becomes of one row.
fn store(url: &str) -> Result<(), Box<dyn Error>> {
    let mut rows = RowBuffer::new(JournalId::generate());
    rows.push_event(Seq(1), &SafetyEvent::default());
    Ok(namel3ss_safety_stores::open(url)?.insert(&rows.batch())?)
}

fn log_to(url: &str) -> Result<(), Box<dyn Error>> {
    let home = std::env::temp_dir().join(format!("host_aws_lc-{}", std::process::id()));
    let registry = AdapterRegistry::default();
    registry.register("safety_events", namel3ss_safety_stores::open(url)?);
    let logger = SafetyEventLogger::builder().adapter_registry(registry).home(&home).build()?;
    let event = SafetyEvent { action: SafetyAction::Block, ..SafetyEvent::default() };
    let _ = logger.log(&event);
    let stopped = logger.stop(Some(Duration::from_secs(30)));
    let stored = logger.stats().total_flushed;
    drop(logger);
    let _ = std::fs::remove_dir_all(home);
    if !stopped.complete || stored != 1 {
        return Err(format!("{stored} of 1 event is stored").into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    for url in &urls {
        // Nothing is installed yet: that is an error, and no panic.
        match store(url) {
            Err(error) if error.to_string().contains("install_default()") => {}
            other => return Err(format!("without a provider: {other:?}").into()),
        }
    }
    // The application's own. It panics where two providers are compiled in, and installs the only one; an
    // application that has several calls `install_default()` of one.
    let roots = rustls::RootCertStore::empty();
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    for url in &urls {
        log_to(url)?;
    }
    println!("{} datasets store with the application's TLS", urls.len());
    Ok(())
}
