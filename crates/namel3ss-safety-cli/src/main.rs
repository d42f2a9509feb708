//! `n3-safety`: the command line of the record. All of it lives in the library, which the Python
//! wheel calls too.

use std::process::ExitCode;

fn main() -> ExitCode {
    namel3ss_safety_cli::run(std::env::args_os(), namel3ss_safety_cli::Io::process()).into()
}
