//! tmp
/// tmp
#[derive(Debug)]
pub struct JsonAdapter;
