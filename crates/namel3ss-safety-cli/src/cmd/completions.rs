//! `completions`: what the shell offers after a tab.

use clap::Args;
use clap_complete::Shell;

use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;

/// Print a shell's completion script
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety completions bash > /etc/bash_completion.d/n3-safety
  n3-safety completions zsh > ~/.zfunc/_n3-safety
  n3-safety completions fish > ~/.config/fish/completions/n3-safety.fish")]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(
        &self,
        context: &mut Context,
        mut command: clap::Command,
    ) -> Result<Exit, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "n3-safety", &mut script);
        // A script is code: bash's uses tabs nowhere, zsh's and fish's are generated from our own
        // words only. The four-space indent keeps it so whatever the generator does.
        let script = String::from_utf8_lossy(&script).replace('\t', "    ");
        if context.out.is_json() {
            let shell = self.shell.to_string();
            context.out.json(&serde_json::json!({"shell": shell, "script": script}))?;
        } else {
            context.out.lines(&script)?;
        }
        Ok(Exit::Ok)
    }
}
