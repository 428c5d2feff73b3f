//! The commands, one in each file.

mod bench;
mod completions;
mod crypto;
mod demo;
mod handshake;
mod identity;
mod listen;
mod members;
mod peer;
mod probe;
mod send;
mod survey;

use crate::failure::Result;
use crate::Context;
use clap::Subcommand;
use clap_complete::Shell;

#[derive(Subcommand)]
pub enum Command {
    Demo(demo::DemoArgs),
    Peer(Box<peer::PeerArgs>),
    Probe(probe::ProbeArgs),
    Handshake(handshake::HandshakeArgs),
    Send(send::SendArgs),
    Listen(listen::ListenArgs),
    Members(members::MembersArgs),
    Survey(survey::SurveyArgs),
    Identity(identity::IdentityCommandArgs),
    Crypto(crypto::CryptoArgs),
    Bench(bench::BenchArgs),
    /// Print the completions for a shell
    Completions {
        shell: Shell,
    },
}

impl Command {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<()> {
        match self {
            Command::Demo(args) => demo::run(context, args),
            Command::Peer(args) => peer::run(context, args),
            Command::Probe(args) => probe::run(context, args),
            Command::Handshake(args) => handshake::run(context, args),
            Command::Send(args) => send::run(context, args),
            Command::Listen(args) => listen::run(context, args),
            Command::Members(args) => members::run(context, args),
            Command::Survey(args) => survey::run(context, args),
            Command::Identity(args) => identity::run(context, args),
            Command::Crypto(args) => crypto::run(context, args),
            Command::Bench(args) => bench::run(context, args),
            Command::Completions { shell } => completions::run(*shell),
        }
    }

    /// Returns whether the command uses Fabric's settings.
    pub fn has_settings(&self) -> bool {
        !matches!(self, Command::Demo(_) | Command::Crypto(_) | Command::Bench(_) | Command::Completions { .. })
    }

    /// Returns the modules of the library whose warnings repeat what the command reports on stdout.
    pub fn reported(&self) -> &'static [&'static str] {
        match self {
            Command::Send(_) => &["fabric_gossip::comm::report"],
            Command::Peer(_) => {
                &["fabric_gossip::discovery", "fabric_gossip::discovery::seeds", "fabric_gossip::node::core::seeds"]
            }
            _ => &[],
        }
    }

    pub fn runs_until_stopped(&self) -> bool {
        match self {
            Command::Survey(args) => args.is_watching(),
            Command::Peer(args) => !args.only_checks(),
            command => matches!(command, Command::Listen(_)),
        }
    }

    /// Returns whether the command completes its work also when nobody reads its output.
    pub fn completes_unread(&self) -> bool {
        !self.runs_until_stopped() && !matches!(self, Command::Demo(_) | Command::Send(_) | Command::Bench(_))
    }
}
