//! `completions`: prints a shell's completions.

use crate::failure::Result;
use crate::output::{Form, Output};
use crate::terminal::{Colors, Terminal};
use crate::{Cli, VERSION};
use clap::CommandFactory;
use clap_complete::Shell;
use fabric_gossip::cancel::Cancel;
use serde_json::Value;

pub fn run(shell: Shell) -> Result<()> {
    let script = script(shell);
    let out = Output::new(Form::Text, Terminal::new(Colors::Never, true), Cancel::new());
    out.line(|| Value::Null, || script);
    out.finish()
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command().version(VERSION.as_str()), "fabric-gossip", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // The generator takes the hyphen in the tool's name for the border of a subcommand, in the labels of the branches
        // only: no branch of a subcommand would be taken.
        Shell::Bash => script.replace("fabric__subcmd__gossip", "fabric__gossip"),
        _ => script,
    }
}
