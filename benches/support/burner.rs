//! A process that wants a processor all the time.

use std::hint::black_box;
use std::io::{stdin, Read};
use std::process::{Child, Command, Stdio};
use std::thread;

/// The argument that makes a benchmark's program call [`burn`].
pub const FLAG: &str = "--burn";

/// A running process that computes until this is dropped.
pub struct Burner(Child);

impl Burner {
    /// Starts this program again with [`FLAG`].
    pub fn start() -> Burner {
        let program = std::env::current_exe().expect("this program");
        Burner(Command::new(program).arg(FLAG).stdin(Stdio::piped()).spawn().expect("a process"))
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Computes until the input ends, which it does if the benchmark is killed.
pub fn burn() {
    thread::spawn(|| {
        let mut value: u64 = 1;
        loop {
            value = black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    });
    let _ = stdin().read_to_end(&mut Vec::new());
}
