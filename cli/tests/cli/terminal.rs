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

/// Runs the tool with stdout on one terminal and stderr on another, or in a file. Returns what each received.
fn apart(args: &[&str], stderr_on_terminal: bool) -> Option<[String; 2]> {
    let dir = TempDir::new();
    let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let tool = env!("CARGO_BIN_EXE_fabric-gossip");
    let size = format!("stty cols {COLUMNS} rows 40");
    let inner = dir.write("inner", format!("{size}; exec '{tool}' {} 2>\"$STDERR\"\n", quoted.join(" ")));
    let (stdout, stderr) = (dir.write("stdout", ""), dir.write("stderr", ""));
    let to = if stderr_on_terminal { "$(tty)" } else { &stderr };
    let outer = format!("{size}; STDERR={to} script -qec 'sh {inner}' /dev/null >{stdout}\n");
    let outer = dir.write("outer", outer);
    let mut script = Command::new("script");
    script.args(["-qec", &format!("sh {outer}"), "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
    let Ok(output) = script.output() else {
        skip("the tool on a terminal", "the program script is not installed (apt install bsdutils)");
        return None;
    };
    let terminal = String::from_utf8(output.stdout).unwrap();
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    Some([read(&stdout), if stderr_on_terminal { terminal } else { read(&stderr) }])
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
        let Some([stdout, stderr]) = apart(command, true) else { return };
        assert!(stdout.contains(result) && !stdout.contains(bar), "{command:?}: {stdout}");
        let (_, after) = stderr.rsplit_once(bar).unwrap_or_else(|| panic!("{command:?}: {stderr:?}"));
        assert!(after.contains("\x1b[2K") && !stderr.contains(result), "{command:?}: {after:?}");

        let hidden = |more: &[&str], on_terminal| {
            let [stdout, stderr] = apart(&[command, more].concat(), on_terminal).unwrap();
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
