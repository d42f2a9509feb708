//! `man`: the manual, as roff.

use std::path::PathBuf;

use clap::{Args, Command};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;

/// Print the manual page, or write one page a verb
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety man | man -l -
  n3-safety man --dir /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write n3-safety.1 and a page for each verb into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, context: &mut Context, mut root: Command) -> Result<Exit, Error> {
        root.build();
        let mut pages = Vec::new();
        collect(&root, root.get_name(), &mut pages)?;
        let Some(dir) = &self.dir else {
            // The first page is the program's own.
            let (name, page) = &pages[0];
            if context.out.is_json() {
                context.out.json(&serde_json::json!({"page": name, "roff": page}))?;
            } else {
                context.out.lines(page)?;
            }
            return Ok(Exit::Ok);
        };
        let failed = |path: &std::path::Path, error: std::io::Error| {
            Error::failed(format!("write {}: {error}", path.display()))
        };
        std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
        let mut written = Map::new();
        for (name, page) in &pages {
            let path = dir.join(format!("{name}.1"));
            std::fs::write(&path, page).map_err(|e| failed(&path, e))?;
            written.insert(name.clone(), Value::from(path.display().to_string()));
        }
        if context.out.is_json() {
            context.out.json(&serde_json::json!({"pages": written}))?;
        } else {
            context.err.note(&format!("wrote {} pages to {}", pages.len(), dir.display()));
        }
        Ok(Exit::Ok)
    }
}

/// The pages of a command and of those under it, depth first.
fn collect(command: &Command, name: &str, pages: &mut Vec<(String, String)>) -> Result<(), Error> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut roff)
        .map_err(|error| Error::failed(format!("render the page {name}: {error}")))?;
    pages.push((name.to_owned(), String::from_utf8_lossy(&roff).replace('\t', "    ")));
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        collect(verb, &format!("{name}-{}", verb.get_name()), pages)?;
    }
    Ok(())
}
