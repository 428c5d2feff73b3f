//! `completions`: prints a shell's completions.

use crate::failure::Result;
use crate::output::{Form, Output};
use crate::terminal::{Colors, Terminal};
use crate::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use fabric_gossip::cancel::Cancel;
use serde_json::Value;

pub fn run(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fabric-gossip", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let out = Output::new(Form::Text, Terminal::new(Colors::Never, true), Cancel::new());
    out.line(|| Value::Null, || script);
    out.finish()
}
