//! Datasets with drivers, through their public interface.

mod sqlite;
