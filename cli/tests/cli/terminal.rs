//! The tool on pseudo-terminals.

use crate::support::*;
use nix::pty::{openpty, Winsize};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

const COLUMNS: usize = 70;

/// Opens a terminal. Returns its end for a process, and the one from which its content is read.
fn terminal() -> (OwnedFd, File) {
    let size = Winsize { ws_row: 40, ws_col: COLUMNS as u16, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(&size, None).unwrap();
    // No other process inherits the copies.
    (pair.slave.try_clone().unwrap(), File::from(pair.master.try_clone().unwrap()))
}

/// Reads what a terminal receives until no process has it open, which is an error there.
fn content(mut screen: impl Read) -> String {
    let (mut text, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = screen.read(&mut part) {
        text.extend_from_slice(&part[..length]);
    }
    String::from_utf8(text).unwrap()
}

fn command(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = tool();
    command.args(args).env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
    command
}

/// Starts the tool with stdout and stderr on one terminal.
fn on_terminal(args: &[&str], variables: &[(&str, &str)]) -> (Child, File) {
    let (process, screen) = terminal();
    let child = command(args, variables).stdout(process.try_clone().unwrap()).stderr(process).spawn().unwrap();
    (child, screen)
}

/// Runs the tool to its end. Returns what the terminal received.
fn shown(args: &[&str], variables: &[(&str, &str)]) -> String {
    let (mut child, screen) = on_terminal(args, variables);
    let text = content(screen);
    child.wait().unwrap();
    text
}

/// Runs the tool to its end with stdout on a terminal, and stderr on another one or in a pipe. Returns what each received.
fn apart(args: &[&str], stderr_on_terminal: bool) -> [String; 2] {
    let (process, stdout) = terminal();
    let mut command = command(args, &[]);
    command.stdout(process);
    let screen = stderr_on_terminal.then(|| {
        let (process, screen) = terminal();
        command.stderr(process);
        screen
    });
    let mut child = command.spawn().unwrap();
    // It has the terminals open, too.
    drop(command);
    let stderr = child.stderr.take();
    let stdout = std::thread::spawn(move || content(stdout));
    let stderr = screen.map(content).or_else(|| stderr.map(content)).unwrap();
    child.wait().unwrap();
    [stdout.join().unwrap(), stderr]
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
    let (mut listener, screen) = on_terminal(&args, &[]);
    let mut lines = BufReader::new(screen).lines().map(Result::unwrap);
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
    send_signal("-TERM", listener.id());
    listener.wait().unwrap();
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
    let colored = survey(&[], &[]);
    assert!(colored.contains("\x1b[31merror"), "{colored}");
    for line in colored.lines().filter(|line| line.contains("127.0.0.1") && !line.contains("error")) {
        assert!(plain(line).chars().count() <= COLUMNS, "{line}");
    }
    for (more, variables) in [(&[][..], &[("NO_COLOR", "1")][..]), (&["--color", "never"], &[])] {
        let text = survey(more, variables);
        assert!(text.contains("error") && !text.contains("\x1b[31m"), "{text}");
    }
}

#[test]
fn progress_is_shown_on_stderr_to_a_person_only_and_erased() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&["--ack"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (sender, us) = (crypto.identity(2, 0), crypto.identity(1, 1));
    let send = crypto.args(&["send", &endpoint, "--count", "3000", "--ack"], &sender);
    let survey = crypto.args(&["survey", &nobody], &us);
    let commands = [
        (send, "of 3,000 acknowledged", "sent 3,000"),
        (vec!["demo", "--peers", "2", "--messages", "10"], "of 14 steps", "All steps passed"),
        (survey, "of 1 peers asked", "unreachable"),
    ];
    for (command, bar, result) in &commands {
        let [stdout, stderr] = apart(command, true);
        assert!(stdout.contains(result) && !stdout.contains(bar), "{command:?}: {stdout}");
        let (_, after) = stderr.rsplit_once(bar).unwrap_or_else(|| panic!("{command:?}: {stderr:?}"));
        assert!(after.contains("\x1b[2K") && !stderr.contains(result), "{command:?}: {after:?}");

        let hidden = |more: &[&str], on_terminal| {
            let [stdout, stderr] = apart(&[command, more].concat(), on_terminal);
            assert!(
                !stdout.is_empty() && !stdout.contains(bar) && !stderr.contains(bar),
                "{command:?} {more:?}: {stderr}"
            );
        };
        hidden(&[], false);
        hidden(&["--json"], true);
        hidden(&["-q"], true);
        let piped = run(command);
        assert!(piped.stdout.contains(result) && !piped.stdout.contains(bar) && !piped.stderr.contains(bar));
    }
}
