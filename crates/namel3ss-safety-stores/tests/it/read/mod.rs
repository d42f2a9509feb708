//! Every dataset by one trait.

pub(crate) mod pushed;

use self::pushed::{a_pushed_filter_equals_the_plain_one, a_scan_goes_on_behind_a_position};

fn in_folder(check: impl Fn(&std::path::Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    check(folder.path());
}

#[test]
fn a_pushed_filter_equals_the_plain_one_in_files() {
    for name in ["a.csv", "a.json", "a.jsonl"] {
        in_folder(|folder| {
            a_pushed_filter_equals_the_plain_one(&folder.join(name).display().to_string());
        });
    }
}

#[test]
fn a_scan_of_files_goes_on_behind_a_position() {
    for name in ["a.csv", "a.json", "a.jsonl"] {
        in_folder(|folder| {
            a_scan_goes_on_behind_a_position(&folder.join(name).display().to_string())
        });
    }
}

#[cfg(feature = "parquet")]
#[test]
fn a_pushed_filter_equals_the_plain_one_in_objects() {
    for format in ["parquet", "jsonl", "csv"] {
        in_folder(|folder| {
            let url = format!("file://{}/?format={format}", folder.display());
            a_pushed_filter_equals_the_plain_one(&url);
        });
    }
}

#[cfg(feature = "parquet")]
#[test]
fn a_scan_of_objects_goes_on_behind_a_position() {
    in_folder(|folder| a_scan_goes_on_behind_a_position(&format!("file://{}/", folder.display())));
}

#[cfg(feature = "delta")]
#[test]
fn a_pushed_filter_equals_the_plain_one_in_a_delta_table() {
    in_folder(|folder| {
        a_pushed_filter_equals_the_plain_one(&format!("delta+file://{}/t/", folder.display()));
    });
}

#[cfg(feature = "delta")]
#[test]
fn a_scan_of_a_delta_table_goes_on_behind_a_position() {
    in_folder(|folder| {
        a_scan_goes_on_behind_a_position(&format!("delta+file://{}/t/", folder.display()));
    });
}
