//! `fabric-gossip`: reports the identity of peers of a Hyperledger Fabric network, and whether messages get through.
#![forbid(unsafe_code)]

mod address;
mod certificate;
mod channels;
mod commands;
mod core_yaml;
mod delivery;
mod endpoints;
mod failure;
mod go_values;
mod health;
mod help;
mod identity;
mod keys;
mod logging;
#[cfg(feature = "man")]
mod man;
mod metrics_options;
mod metrics_page;
mod offline;
mod options;
mod order;
mod output;
mod peer_check;
mod peer_config;
mod query;
mod reload;
mod report;
mod rfc3339;
mod rules;
mod settings;
mod statistics;
mod steps;
mod stop;
mod summary;
mod survey;
mod terminal;
mod tls_options;
mod tls_probe;
mod transport;
mod values;

use clap::{CommandFactory, FromArgMatches, Parser};
use commands::Command;
use fabric_gossip::cancel::Cancel;
use failure::{Failure, Result};
use log::LevelFilter;
use output::{printable, Form, Output};
use settings::Settings;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use stop::Interrupted;
use terminal::{Colors, Terminal};
use transport::{TransportKind, TransportParser};

/// Diagnose peers of a Hyperledger Fabric network with its gossip protocol: whether a peer is up, its identity, whether
/// it accepts us and if not why, and whether a message gets through. `fabric-gossip demo` demonstrates all of it
/// without any setup.
#[derive(Parser)]
#[command(name = "fabric-gossip", arg_required_else_help = true, max_term_width = 120)]
#[command(next_help_heading = "Common options")]
struct Cli {
    /// One JSON object per line on stdout, and nothing else there
    #[arg(long, global = true)]
    json: bool,
    /// Take defaults from this core.yaml, else from the one in FABRIC_CFG_PATH; the environment (CORE_PEER_…) and flags
    /// take precedence
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The transport of the streams; peers with different ones understand each other
    #[arg(long, global = true, value_name = "NAME", default_value_t, value_parser = TransportParser)]
    transport: TransportKind,
    /// Whether to use colours: auto (on a terminal, unless NO_COLOR is set), always, never
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    color: Colors,
    /// Log more on stderr; twice for everything (RUST_LOG sets it for each module)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Log only errors on stderr, and show no progress
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

/// Environment of a command: its output, settings and stop switch.
pub struct Context {
    pub out: Output,
    pub settings: Settings,
    pub transport: TransportKind,
    /// Set by Ctrl-C and SIGTERM; for a command without a time limit, also when stdout is closed.
    pub stop: Cancel,
    /// The signal that stopped the command, if one did.
    pub interrupted: Interrupted,
}

fn main() -> ExitCode {
    #[cfg(feature = "man")]
    if let Some(code) = man::run() {
        return code;
    }
    let command = help::extend(Cli::command().version(VERSION.as_str()));
    let cli = match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        // Prints help and version on stdout and succeeds, or an error on stderr.
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    logging::start(cli.named_level(), cli.default_level(), cli.command.reported());
    std::panic::set_hook(Box::new(|info| complain(&format!("a defect of this program, please report it: {info}"))));
    match std::panic::catch_unwind(|| run(cli)) {
        Ok((Ok(()), _)) => ExitCode::SUCCESS,
        Ok((Err(failure), signal)) => {
            if let Some(text) = failure.text() {
                complain(text);
            }
            ExitCode::from(failure.exit_code(signal))
        }
        Err(_) => ExitCode::from(1),
    }
}

/// Runs the command. Returns its result, and the signal that stopped it.
fn run(cli: Cli) -> (Result<()>, Option<i32>) {
    let (stop, interrupted) = match stop::on_signals() {
        Ok(watched) => watched,
        Err(failure) => return (Err(failure), None),
    };
    let result = run_command(cli, stop, interrupted.clone());
    (result, interrupted.signal())
}

fn run_command(cli: Cli, stop: Cancel, interrupted: Interrupted) -> Result<()> {
    let settings = match cli.command.has_settings() {
        true => Settings::load(cli.config.as_deref())?,
        false => Settings::default(),
    };
    let form = match (cli.json, cli.command.runs_until_stopped()) {
        (true, _) => Form::Json,
        (false, true) => Form::TimedText,
        (false, false) => Form::Text,
    };
    // Such a command continues without readers: its exit code gives the result.
    let closed = if cli.command.completes_unread() { Cancel::new() } else { stop.clone() };
    let context = Context {
        out: Output::new(form, Terminal::new(cli.color, cli.quiet), closed),
        settings,
        transport: cli.transport,
        stop,
        interrupted,
    };
    let result = cli.command.run(&context);
    match (result, context.out.finish()) {
        // Nobody has seen what was reported.
        (Err(Failure::Reported), Err(unwritten)) => Err(unwritten),
        (Err(failure), _) => Err(failure),
        (Ok(()), finished) => finished,
    }
}

impl Cli {
    /// Returns the log level set by a flag.
    fn named_level(&self) -> Option<LevelFilter> {
        match (self.quiet, self.verbose) {
            (true, _) => Some(LevelFilter::Error),
            (false, 0) => None,
            (false, 1) => Some(LevelFilter::Info),
            (false, _) => Some(LevelFilter::Debug),
        }
    }

    /// The demonstration deliberately causes events that normally deserve a warning.
    fn default_level(&self) -> LevelFilter {
        match self.command {
            Command::Demo(_) => LevelFilter::Error,
            _ => LevelFilter::Warn,
        }
    }
}

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), transport::compiled_in()));

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "fabric-gossip: {}", printable(text));
}
