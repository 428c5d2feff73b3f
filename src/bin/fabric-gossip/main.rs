//! `fabric-gossip`: asks the peers of a Hyperledger Fabric network who they are and whether messages get through.

mod certificate;
mod crypto;
mod delivery;
mod demo;
mod failure;
mod handshake;
mod identity;
mod listen;
mod members;
mod options;
mod order;
mod output;
mod probe;
mod report;
mod rules;
mod send;
mod settings;
mod steps;
mod stop;
mod summary;
mod tls_probe;
mod values;
mod whois;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use fabric_gossip::cancel::Cancel;
use failure::Result;
use output::{printable, Output};
use serde_json::Value;
use settings::Settings;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

/// Speaks the gossip protocol of Hyperledger Fabric: is a peer up, who is it, does it accept me and if not why, does a
/// message get through. `fabric-gossip demo` shows all of it with nothing set up.
#[derive(Parser)]
#[command(name = "fabric-gossip", arg_required_else_help = true, max_term_width = 120)]
struct Cli {
    /// One JSON object per line on stdout, and nothing else there
    #[arg(long, global = true)]
    json: bool,
    /// Take defaults from this core.yaml; the environment (CORE_PEER_…) and flags go first
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
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
    /// Set by Ctrl-C and SIGTERM, and when nobody reads stdout any more.
    pub stop: Cancel,
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
    start_logging(&cli.command);
    match std::panic::catch_unwind(|| run(cli)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            if let Some(text) = failure.text() {
                complain(text);
            }
            ExitCode::from(failure.exit_code())
        }
        Err(_) => ExitCode::from(1),
    }
}

fn run(cli: Cli) -> Result<()> {
    let settings = Settings::load(cli.config.as_deref())?;
    let stop = stop::on_signals()?;
    let context = Context { out: Output::new(cli.json, stop.clone()), settings, stop };
    let result = match cli.command {
        Command::Demo(args) => demo::run(&context, &args),
        Command::Probe(args) => probe::run(&context, &args),
        Command::Handshake(args) => handshake::run(&context, &args),
        Command::Send(args) => send::run(&context, &args),
        Command::Listen(args) => listen::run(&context, &args),
        Command::Members(args) => members::run(&context, &args),
        Command::Identity(args) => whois::run(&context, &args),
        Command::Crypto(args) => crypto::run(&context, &args),
        Command::Completions { shell } => completions(&context, shell),
    };
    context.out.finish().and(result)
}

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (gRPC C core {})", env!("CARGO_PKG_VERSION"), fabric_gossip::rpc::core_version()));

fn completions(context: &Context, shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fabric-gossip", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let out = Output::new(false, context.stop.clone());
    out.line(|| Value::Null, || script);
    out.finish()
}

/// Logs go to stderr. The demonstration provokes what is otherwise worth a warning.
fn start_logging(command: &Command) {
    let default = if matches!(command, Command::Demo(_)) { "error" } else { "warn" };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default)).init();
    std::panic::set_hook(Box::new(|info| complain(&format!("a defect of this program, please report it: {info}"))));
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "fabric-gossip: {}", printable(text));
}
