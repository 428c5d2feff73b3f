//! The ends of the commands' long helps: examples and exit codes.

use clap::Command;

/// Adds examples and exit codes to every command.
pub fn extend(mut tool: Command) -> Command {
    for (name, examples, success) in COMMANDS {
        let failure = match name {
            "completions" | "crypto" => "1 the output cannot be written",
            "identity" => "1 it is not valid, or expires within --warn-expiry",
            "survey" => "1 a finding is an error, or the survey failed",
            "demo" => "1 a step failed",
            "bench" => "1 a message was lost, or a measurement failed",
            "probe" => "1 the peer was not reached, or a Ping was lost",
            "peer" | "listen" => "1 the output cannot be written",
            _ => "1 the peer was not reached, refused, or answered wrongly",
        };
        let notes = if matches!(name, "demo" | "crypto" | "completions" | "bench") { "" } else { NOTES };
        let list: String = examples.iter().map(|example| format!("  fabric-gossip {example}\n")).collect();
        let text = format!(
            "{notes}Examples:\n{list}\nExit codes: 0 {success} · {failure} · 2 usage or configuration{}",
            match name {
                "peer" | "listen" | "completions" => "",
                _ => " · 130, 143 interrupted by SIGINT, SIGTERM",
            }
        );
        tool = tool.mut_subcommand(name, |command| command.after_long_help(text));
    }
    tool
}

/// Meaning of the placeholders and of the names in brackets.
const NOTES: &str = "D is a duration such as 300ms, 5s or 2m. H:P is host:port, with IPv6 addresses in brackets. \
    [CORE_PEER_…] is the variable of Fabric's peer, or its key in core.yaml, that is used without the flag.\n\n";

/// Commands, their examples, and the meaning of exit code 0.
const COMMANDS: [(&str, &[&str], &str); 12] = [
    ("demo", &["demo", "demo --peers 6 --messages 100"], "all steps passed"),
    (
        "peer",
        &[
            "peer --listen 0.0.0.0:7051 --endpoint peer0.org1.example.com:7051 --msp msp --mspid Org1MSP",
            "peer --bootstrap peer1:7051 --channel mychannel --anchor Org2MSP=peer0.org2.example.com:7051 --trust-msp Org2MSP=org2/msp",
            "peer --check --config /etc/hyperledger/fabric/core.yaml",
        ],
        "it was stopped, or the settings are valid",
    ),
    (
        "probe",
        &["probe peer0:7051 --tls-ca ca.crt", "probe peer0:7051 --tls-ca ca.crt --count 10 --interval 200ms"],
        "the peer answers",
    ),
    (
        "handshake",
        &["handshake peer0:7051 --msp msp --mspid Org1MSP", "handshake peer0.org2:7051 --trust-msp Org2MSP=org2/msp --json"],
        "the peer is authenticated and accepts us",
    ),
    (
        "send",
        &["send peer0:7051 --text hello --ack", "send peer0:7051 --count 10000 --size 1024 --channel mychannel"],
        "every message was delivered",
    ),
    (
        "listen",
        &["listen --listen 127.0.0.1:7051 --ack", "listen --echo --payload text"],
        "it was stopped",
    ),
    ("members", &["members peer0:7051 --msp msp --mspid Org1MSP", "members --json"], "the peer answered"),
    (
        "survey",
        &[
            "survey peer0:7051 --msp msp --mspid Org1MSP --html survey.html",
            "survey peer0:7051 --watch 30s",
            "survey peer0:7051 --warn-expiry 336h --json",
        ],
        "no finding is an error",
    ),
    (
        "identity",
        &["identity signcerts/peer0.pem", "identity --msp msp --mspid Org1MSP --warn-expiry 720h", "identity - --json"],
        "it is valid, or no MSP was given to validate it",
    ),
    ("crypto", &["crypto try", "crypto try --orgs 3 --peers 4 --san peer0.test --san 10.0.0.1"], "all was created"),
    (
        "bench",
        &["bench", "bench --duration 5s --size 4096 --size 1048576", "bench --transport http2 --json"],
        "everything was measured, and every message was received",
    ),
    ("completions", &["completions bash", "completions zsh"], "all was printed"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_examples_that_parse() {
        let tool = extend(Cli::command());
        for command in tool.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name();
            let (_, examples, _) = COMMANDS.iter().find(|(of, ..)| *of == name).unwrap_or_else(|| panic!("{name}"));
            assert!(!examples.is_empty());
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:") && help.contains("Exit codes: 0 "), "{help}");
            for example in *examples {
                assert!(example.starts_with(name), "{example}");
                let line = format!("fabric-gossip {example}");
                Cli::command().try_get_matches_from(line.split(' ')).unwrap_or_else(|e| panic!("{example}: {e}"));
            }
        }
    }
}
