//! Runs a test in a process that it shares with no other one: threads, descriptors, processor time and the logger are its own.

use std::process::Command;

/// Set in a child process: the test is to do its work there.
const CHILD: &str = "FABRIC_GOSSIP_TEST_CHILD";

/// Goes on in a child process only; in the parent, the test ends once the child, or this number of them in turn, has passed.
#[macro_export]
macro_rules! in_own_process {
    () => {
        $crate::in_own_process!(1)
    };
    ($times:expr) => {
        fn here() {}
        if !(0..$times).any(|_| $crate::own_process::is_child_or_run_it(std::any::type_name_of_val(&here))) {
            return;
        }
    };
}

/// Runs the test around `here`, an item in it, in a child process; `true` if this is the child.
pub fn is_child_or_run_it(here: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    // Without the names of the crate and of the item.
    let test = here.split_once("::").and_then(|(_, path)| path.rsplit_once("::")).expect(here).0;
    let exe = std::env::current_exe().unwrap();
    // Few descriptors, so that a test can take them all.
    let shell = ["-c", "ulimit -n 256; exec \"$0\" \"$@\""];
    let out = Command::new("sh")
        .args(shell)
        .arg(exe)
        .args(["--exact", "--nocapture", test])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("running 1 test"), "{test}: {:?}\n{text}", out.status);
    false
}
