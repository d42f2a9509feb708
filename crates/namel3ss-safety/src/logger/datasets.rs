//! The datasets that a logger is told: there is one, and none of them twice.

use std::sync::Arc;

use super::choices::ConfigError;
use crate::adapter::{DatasetAdapter, Registry};
use crate::journal::destinations::DESTINATIONS_MAX;
use crate::nearest::nearest;
use crate::sink::SafetyEventSink;

/// A set-up without a dataset would send everything to fallback files, and call that complete.
pub(super) fn check_dataset(
    registry: Option<&dyn Registry>,
    dataset: &str,
    has_further: bool,
) -> Result<(), ConfigError> {
    let Some(registry) = registry else {
        if has_further {
            let text = "is a second dataset without a first: register that under the name of the \
                        target dataset, and give the adapter_registry";
            return Err(ConfigError::new("also_to", text));
        }
        let text = format!(
            "is missing: register an adapter for dataset {dataset:?} and give it, or give an \
             event_sink"
        );
        return Err(ConfigError::new("adapter_registry", text));
    };
    if registry.get(dataset).is_some() {
        return Ok(());
    }
    let known = registry.names();
    let hint = match nearest(dataset, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => "register one under that name".to_owned(),
        None => format!("registered are {}", known.join(", ")),
    };
    let shown: String = dataset.chars().take(40).collect();
    let text = format!("is {shown:?}, for which the registry has no adapter: {hint}");
    Err(ConfigError::new("target_dataset", text))
}

/// Puts a sink for each further adapter beside the first one.
pub(super) fn add_further(
    sinks: &mut Vec<Arc<SafetyEventSink>>,
    further: Vec<Arc<dyn DatasetAdapter>>,
) -> Result<(), ConfigError> {
    let wrong = |message: String| Err(ConfigError::new("also_to", message));
    if further.is_empty() {
        return Ok(());
    }
    let most = DESTINATIONS_MAX - 1;
    if further.len() > most {
        return wrong(format!("is {} datasets: it takes up to {most}", further.len()));
    }
    let mut known = vec![sinks[0].identity()];
    for adapter in further {
        let sink = sinks[0].beside(adapter);
        let destination = sink.identity();
        if destination.is_empty() {
            return wrong("is a dataset that does not say where it is: give it an identity".into());
        }
        if known.contains(&destination) {
            return wrong(format!("is {destination}, which this logger delivers to already"));
        }
        sinks.push(Arc::new(sink));
        known.push(destination);
    }
    Ok(())
}
