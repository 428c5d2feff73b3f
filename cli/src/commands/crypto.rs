//! `crypto`: creates test organisations.

use crate::failure::{Failure, Result};
use crate::values::counted;
use crate::Context;
use clap::{Args, ValueHint};
use fabric_gossip::testing::cryptogen::{Member, Org};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Create test organisations: MSP folders and TLS pairs in cryptogen's layout, which Fabric's own peer can use
#[derive(Args)]
pub struct CryptoArgs {
    /// Folder to create them in; existing organisations are not overwritten
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Number of organisations: Org1MSP (org1.example.com), Org2MSP, …
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1000))]
    orgs: u16,
    /// Number of peers in each: peer0, peer1, …
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=1000))]
    peers: u16,
    /// A further host name or IP address for the TLS certificates, beside the peer's name and localhost; repeatable
    #[arg(long, value_name = "HOST")]
    san: Vec<String>,
}

pub fn run(context: &Context, args: &CryptoArgs) -> Result<()> {
    let domains: Vec<String> = (1..=args.orgs).map(|n| format!("org{n}.example.com")).collect();
    if let Some(there) = domains.iter().map(|d| org_dir(&args.dir, d)).find(|dir| dir.exists()) {
        return Err(Failure::file(&there, "already exists; remove it or name another folder"));
    }
    for san in &args.san {
        let name = |c: u8| c.is_ascii_alphanumeric() || b"-_.:*".contains(&c);
        if san.is_empty() || !san.bytes().all(name) {
            return Err(Failure::usage(format!("--san {san:?}: neither a host name nor an IP address")));
        }
    }
    let made = make(context, args, &domains);
    let error = match &made {
        Ok(()) => None,
        Err(failure) => Some(failure.text().unwrap_or(context.interrupted.reason()).to_owned()),
    };
    if context.out.is_json() {
        let what = counted(domains.len() as u64, "organisation");
        let path = args.dir.to_string_lossy();
        let line = json!({"event": "created", "path": path, "what": what, "ok": made.is_ok(), "error": error});
        context.out.line(|| line, String::new);
    } else if matches!(made, Err(Failure::Stopped)) {
        context.out.note(|| format!("✘ {}", context.interrupted.reason()));
    }
    made?;
    context.out.note(|| next_steps(&args.dir, args.orgs, args.peers));
    Ok(())
}

/// Formats the commands to go on with.
fn next_steps(dir: &Path, orgs: u16, peers: u16) -> String {
    let org = |n: u16| org_dir(dir, &format!("org{n}.example.com"));
    let msp = |p: u16| quoted(&org(1).join(format!("peers/peer{p}.org1.example.com/msp")));
    let trust: String =
        (2..=orgs.min(4)).map(|n| format!(" --trust-msp Org{n}MSP={}", quoted(&org(n).join("msp")))).collect();
    if peers == 0 {
        return format!("\nTo trust an organisation: --trust-msp Org1MSP={}", quoted(&org(1).join("msp")));
    }
    let mut text = format!(
        "\nThe tool finds the TLS pair beside an MSP folder. To run a peer:\n  \
         fabric-gossip peer --listen 127.0.0.1:7051 --mspid Org1MSP --msp {}{trust}",
        msp(0)
    );
    if peers > 1 {
        text += &format!(
            "\nTo see whether it accepts another one, with an identity that no peer uses:\n  \
             fabric-gossip handshake 127.0.0.1:7051 --mspid Org1MSP --msp {0}{trust}\nTo survey its network:\n  \
             fabric-gossip survey 127.0.0.1:7051 --mspid Org1MSP --msp {0}{trust}",
            msp(peers - 1)
        );
    }
    text
}

/// Quotes a path for a shell, if it needs that.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn make(context: &Context, args: &CryptoArgs, domains: &[String]) -> Result<()> {
    for (n, domain) in domains.iter().enumerate() {
        let org = Org::new(format!("Org{}MSP", n + 1), domain)?;
        let mut peers = Vec::new();
        for p in 0..args.peers {
            if context.stop.is_cancelled() {
                return Err(Failure::Stopped);
            }
            peers.push(args.san.iter().fold(org.member(&format!("peer{p}")), |m, san| m.san(san)).issue()?);
        }
        org.write_to(&args.dir, &peers)?;
        report(context, &org_dir(&args.dir, domain), &org, &peers);
    }
    Ok(())
}

fn org_dir(dir: &Path, domain: &str) -> PathBuf {
    dir.join("peerOrganizations").join(domain)
}

/// Prints the folders of an organisation, with their contents in one column.
fn report(context: &Context, home: &Path, org: &Org, peers: &[Member]) {
    let mut folders = Vec::new();
    let mut created = |path: PathBuf, what: String| folders.push((path.to_string_lossy().into_owned(), what));
    let id = org.mspid();
    created(home.join("msp"), format!("certificates that others need to trust {id}"));
    for peer in peers {
        let dir = home.join("peers").join(&peer.name);
        created(dir.join("msp"), format!("identity of {} in {id}", peer.name));
        created(dir.join("tls"), format!("TLS certificate and key of {}", peer.name));
    }
    let admin = format!("Admin@{}", org.domain());
    created(home.join("users").join(&admin), format!("administrator of {id}"));
    created(home.join("ca"), format!("authority for identities of {id}, with its key"));
    created(home.join("tlsca"), format!("authority for TLS of {id}, with its key"));
    let width = folders.iter().map(|(path, _)| console::measure_text_width(path)).max().unwrap_or_default();
    for (path, what) in &folders {
        context.out.line(
            || json!({"event": "created", "path": path, "mspid": org.mspid(), "what": what}),
            || format!("{}  {what}", console::pad_str(path, width, console::Alignment::Left, None)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_steps_are_commands_of_the_tool() {
        use clap::CommandFactory;
        let text = next_steps(Path::new("crypto"), 2, 3);
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        assert_eq!(commands.len(), 3);
        for command in commands {
            crate::Cli::command().try_get_matches_from(command.split(' ')).unwrap_or_else(|e| panic!("{command}: {e}"));
        }
        assert!(text.contains("--trust-msp Org2MSP=crypto/peerOrganizations/org2.example.com/msp"), "{text}");
        assert!(!next_steps(Path::new("crypto"), 1, 0).contains("fabric-gossip"));
    }

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/try")), "/tmp/try");
        assert_eq!(quoted(Path::new("it's; rm x")), "'it'\\''s; rm x'");
    }
}
