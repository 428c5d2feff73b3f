//! `fabric-gossip`: asks the peers of a Hyperledger Fabric network who they are and whether messages get through.

mod address;
mod certificate;
mod core_yaml;
mod crypto;
mod delivery;
mod demo;
mod failure;
mod go_values;
mod handshake;
mod identity;
mod keys;
mod listen;
mod logging;
mod members;
mod metrics_page;
mod options;
mod order;
mod output;
mod peer;
mod peer_config;
mod probe;
mod report;
mod rfc3339;
mod rules;
mod send;
mod settings;
mod steps;
mod stop;
mod summary;
mod tls_options;
mod tls_probe;
mod values;
mod whois;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use fabric_gossip::cancel::Cancel;
use failure::Result;
use log::LevelFilter;
use output::{printable, Form, Output};
use serde_json::Value;
use settings::Settings;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use stop::Interrupted;

/// Speaks the gossip protocol of Hyperledger Fabric: is a peer up, who is it, does it accept me and if not why, does a
/// message get through. `fabric-gossip demo` shows all of it with nothing set up.
#[derive(Parser)]
#[command(name = "fabric-gossip", arg_required_else_help = true, max_term_width = 120)]
struct Cli {
    /// One JSON object per line on stdout, and nothing else there
    #[arg(long, global = true)]
    json: bool,
    /// Take defaults from this core.yaml, else from the one in FABRIC_CFG_PATH; the environment (CORE_PEER_…) and flags go
    /// first
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say more on stderr; twice for everything (RUST_LOG says it for each module)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Say only errors on stderr
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Peer(peer::PeerArgs),
    Probe(probe::ProbeArgs),
    Handshake(handshake::HandshakeArgs),
    Send(send::SendArgs),
    Listen(listen::ListenArgs),
    Members(members::MembersArgs),
    Identity(whois::IdentityCommandArgs),
    Crypto(crypto::CryptoArgs),
    /// Print the completions for a shell
    Completions {
        shell: Shell,
    },
}

/// What every command gets.
pub struct Context {
    pub out: Output,
    pub settings: Settings,
    /// Set by Ctrl-C and SIGTERM; for a command that could go on for long, also when nobody reads stdout any more.
    pub stop: Cancel,
    /// The signal that stopped the command, if one did.
    pub interrupted: Interrupted,
}

fn main() -> ExitCode {
    let command = Cli::command().version(VERSION.as_str());
    let cli = match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        // Prints help and version on stdout and succeeds, or an error on stderr.
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    logging::start(cli.named_level(), cli.default_level());
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

/// Runs the command: what became of it, and the signal that stopped it.
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
    // What ends by itself goes on without readers: its exit code says how it ended.
    let closed = if cli.command.ends_by_itself() { Cancel::new() } else { stop.clone() };
    let context = Context { out: Output::new(form, closed), settings, stop, interrupted };
    let result = match cli.command {
        Command::Demo(args) => demo::run(&context, &args),
        Command::Peer(args) => peer::run(&context, &args),
        Command::Probe(args) => probe::run(&context, &args),
        Command::Handshake(args) => handshake::run(&context, &args),
        Command::Send(args) => send::run(&context, &args),
        Command::Listen(args) => listen::run(&context, &args),
        Command::Members(args) => members::run(&context, &args),
        Command::Identity(args) => whois::run(&context, &args),
        Command::Crypto(args) => crypto::run(&context, &args),
        Command::Completions { shell } => completions(shell),
    };
    match (result, context.out.finish()) {
        (Err(failure), _) => Err(failure),
        (Ok(()), finished) => finished,
    }
}

impl Cli {
    /// Returns the log level that a flag names.
    fn named_level(&self) -> Option<LevelFilter> {
        match (self.quiet, self.verbose) {
            (true, _) => Some(LevelFilter::Error),
            (false, 0) => None,
            (false, 1) => Some(LevelFilter::Info),
            (false, _) => Some(LevelFilter::Debug),
        }
    }

    /// The demonstration provokes what is otherwise worth a warning.
    fn default_level(&self) -> LevelFilter {
        match self.command {
            Command::Demo(_) => LevelFilter::Error,
            _ => LevelFilter::Warn,
        }
    }
}

impl Command {
    /// Returns whether the command uses Fabric's settings.
    fn has_settings(&self) -> bool {
        !matches!(self, Command::Demo(_) | Command::Crypto(_) | Command::Completions { .. })
    }

    fn runs_until_stopped(&self) -> bool {
        matches!(self, Command::Peer(_) | Command::Listen(_))
    }

    /// Returns whether the command ends by itself within seconds.
    fn ends_by_itself(&self) -> bool {
        !self.runs_until_stopped() && !matches!(self, Command::Demo(_) | Command::Send(_))
    }
}

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (gRPC C core {})", env!("CARGO_PKG_VERSION"), fabric_gossip::rpc::core_version()));

fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fabric-gossip", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let out = Output::new(Form::Text, Cancel::new());
    out.line(|| Value::Null, || script);
    out.finish()
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "fabric-gossip: {}", printable(text));
}
