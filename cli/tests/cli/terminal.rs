//! The tool on a terminal, which the program `script` makes.

use crate::support::*;
use fabric_gossip::testing::skip;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const COLUMNS: usize = 70;

/// Starts the tool on a terminal. The first line is the process id.
fn on_terminal(args: &[&str], variables: &[(&str, &str)]) -> Option<Child> {
    let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let tool = env!("CARGO_BIN_EXE_fabric-gossip");
    let shell = format!("stty cols {COLUMNS} rows 40; echo $$; exec '{tool}' {}", quoted.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &shell, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
    script.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
    match script.spawn() {
        Ok(child) => Some(child),
        Err(_) => {
            skip("the tool on a terminal", "the program script is not installed (apt install bsdutils)");
            None
        }
    }
}

/// Runs the tool to its end. Returns what the terminal received.
fn shown(args: &[&str], variables: &[(&str, &str)]) -> Option<String> {
    let output = on_terminal(args, variables)?.wait_with_output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Returns a line without colours.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line.trim_end();
    while let Some(at) = rest.find("\x1b[") {
        plain += &rest[..at];
        rest = &rest[at..];
        rest = &rest[rest.find(|c: char| c.is_ascii_alphabetic()).map_or(rest.len(), |end| end + 1)..];
    }
    plain + rest
}

#[test]
fn lines_of_a_running_command_are_short_and_coloured() {
    let crypto = Crypto::get();
    let flags = crypto.identity(1, 0);
    let args = crypto.args(&["listen", "--listen", "127.0.0.1:0", "--payload", "text"], &flags);
    let Some(mut terminal) = on_terminal(&args, &[]) else { return };
    let mut lines = BufReader::new(terminal.stdout.take().unwrap()).lines().map(Result::unwrap);
    let pid: u32 = lines.next().unwrap().trim().parse().unwrap();
    let first = lines.next().unwrap();
    let endpoint = plain(&first).split("listening on ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let sender = crypto.identity(2, 0);
    run(&crypto.args(&["send", &endpoint, "--text", &"long ".repeat(40)], &sender)).assert_code(0);
    let mut seen = vec![first];
    for line in lines {
        let is_message = line.contains("data_msg");
        seen.push(line);
        if is_message {
            break;
        }
    }
    send_signal("-TERM", pid);
    terminal.wait().unwrap();
    for line in &seen {
        let text = plain(line);
        assert!(text.chars().count() <= COLUMNS, "{text}");
        assert!(text[2..3] == *":" && text[8..10] == *"Z ", "the time of day: {text}");
    }
    assert!(seen.iter().any(|line| line.contains("\x1b[32mconnected")), "{seen:?}");
    assert!(seen.last().unwrap().contains('…'), "{seen:?}");
}

#[test]
fn a_table_fits_the_terminal_and_colours_are_optional() {
    let crypto = Crypto::get();
    let flags = crypto.identity(1, 1);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let survey = |more: &[&str], variables: &[(&str, &str)]| {
        shown(&crypto.args(&[&["survey", &nobody, "-q"], more].concat(), &flags), variables)
    };
    let Some(colored) = survey(&[], &[]) else { return };
    assert!(colored.contains("\x1b[31merror"), "{colored}");
    for line in colored.lines().filter(|line| line.contains("127.0.0.1") && !line.contains("error")) {
        assert!(plain(line).chars().count() <= COLUMNS, "{line}");
    }
    for (more, variables) in [(&[][..], &[("NO_COLOR", "1")][..]), (&["--color", "never"], &[])] {
        let text = survey(more, variables).unwrap();
        assert!(text.contains("error") && !text.contains("\x1b[31m"), "{text}");
    }
}

#[test]
fn progress_is_shown_to_a_person_only() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&["--ack"]);
    let flags = crypto.identity(2, 0);
    let send = |more: &[&str]| {
        shown(&crypto.args(&[&["send", &endpoint, "--count", "3000", "--ack"], more].concat(), &flags), &[])
    };
    let Some(text) = send(&[]) else { return };
    assert!(text.contains("of 3,000 acknowledged"), "{text}");
    assert!(!send(&["--json"]).unwrap().contains("of 3,000"));
    let piped = run(&crypto.args(&["send", &endpoint, "--count", "3000", "--ack"], &flags));
    assert!(!piped.stderr.contains("of 3,000"), "{}", piped.stderr);
}
