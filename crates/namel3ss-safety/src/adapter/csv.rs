//! tmp
/// tmp
#[derive(Debug)]
pub struct CsvAdapter;
