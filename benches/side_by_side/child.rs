//! A variant as a process that carries out orders.

use crate::results::Record;
use crate::support::machine;
use crossbeam_channel::{unbounded, Receiver};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that an order may take.
const LIMIT: Duration = Duration::from_secs(240);

/// How long a process may take to end once its input has.
const END: Duration = Duration::from_secs(10);

/// Variables that change what a variant does. Variants are measured as users get them, without any.
const TUNING: [&str; 5] =
    ["GRPC_POLL_STRATEGY", "GRPC_EXPERIMENTS", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "TOKIO_WORKER_THREADS"];

pub struct Child {
    process: Process,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    /// With as many open files as the system lets it have: thousands of connections need them.
    pub fn start(program: &Path, args: &[String]) -> Result<Child, String> {
        let mut command = Command::new("sh");
        TUNING.iter().for_each(|name| {
            command.env_remove(name);
        });
        let mut process = command
            .args(["-c", r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@""#])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        // So that a variant that hangs does not stop the benchmark.
        let (line, lines) = unbounded();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|one| line.send(one)));
        Ok(Child { process, input, lines })
    }

    /// Everything it says, without the `done` at the end; or why it could not.
    pub fn order(&mut self, order: &str) -> Result<Vec<String>, String> {
        let input = self.input.as_mut().ok_or("the process has ended")?;
        let said =
            writeln!(input, "{order}").map_err(|_| "the process has ended".to_owned()).and_then(|()| self.answer());
        said.map_err(|e| format!("{order}: {e}"))
    }

    fn answer(&mut self) -> Result<Vec<String>, String> {
        let mut said = Vec::new();
        let limit = Instant::now() + LIMIT;
        loop {
            match self.lines.recv_deadline(limit) {
                Ok(line) if line == "done" => return Ok(said),
                Ok(line) => match line.strip_prefix("error ") {
                    Some(error) => return Err(error.to_owned()),
                    None => said.push(line),
                },
                Err(_) => {
                    // Dead, or as good as.
                    self.input = None;
                    return Err("the process died or timed out".into());
                }
            }
        }
    }

    /// Carries out an order and returns its measurements.
    pub fn measure(&mut self, order: &str) -> Result<Vec<Record>, String> {
        let said = self.order(order)?;
        let record = |line: &String| serde_json::from_str(line).ok().as_ref().and_then(Record::from_json);
        said.iter().map(|line| record(line).ok_or_else(|| format!("{order}: not a result: {line}"))).collect()
    }

    /// Returns the first value that it answers with.
    pub fn number(&mut self, order: &str) -> Result<f64, String> {
        self.measure(order)?.first().map(|record| record.value).ok_or_else(|| format!("{order}: no answer"))
    }

    /// Processor time of the threads that it has now, in nanoseconds. Measured from outside: with thousands of threads,
    /// measuring is work, which an idle process must not have.
    pub fn idle_cpu(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).into_iter().flatten().flatten();
        let times = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        times.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Processor time of all threads, also of those that have ended, in nanoseconds, but in steps of 10 ms.
    pub fn cpu(&self) -> f64 {
        machine::nanos_of(self.process.id()) as f64
    }

    /// Whether there is any use in further orders.
    pub fn is_alive(&self) -> bool {
        self.input.is_some()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The end of its input is its end.
        let asked = self.input.take().is_some();
        let limit = Instant::now() + END;
        while asked && Instant::now() < limit {
            if self.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
