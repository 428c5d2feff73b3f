//! Arguments, orders, and objects made from them: runtimes, members, settings.

use crate::Outcome;
use gossip_async::testing::{Member, Org};
use gossip_async::tls::{Provider, Tls};
use gossip_async::{Config, RemotePeer};
use std::cell::LazyCell;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// The parsed arguments.
pub struct Options {
    pub variant: String,
    pub config: Config,
    pub provider: Provider,
    /// One runtime with this many threads for both ends; `None`: a runtime with one thread for each end.
    pub workers: Option<usize>,
    /// The identities of the ends of the pairs, or of this process.
    pub from: Member,
    pub to: Member,
}

impl Options {
    pub fn from(args: impl Iterator<Item = String>) -> Outcome<Options> {
        let (mut from, mut to, mut variant) = (None, None, None);
        let mut config = Config::default();
        // As many as wait in the thread-based layer, and in Fabric.
        config.send_buff_size = 200;
        let mut provider = Provider::default();
        let mut workers = Some(std::thread::available_parallelism().map_or(2, usize::from));
        let mut args = args;
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            let number = || value.parse::<u32>().map_err(|_| format!("{arg} needs a number"));
            let http2 = &mut config.http2;
            match arg.as_str() {
                "--from" => from = Some(PathBuf::from(value)),
                "--to" => to = Some(PathBuf::from(value)),
                "--variant" => variant = Some(value),
                "--runtime" if value == "current" => workers = None,
                "--runtime" if value == "multi" => {}
                "--workers" => workers = Some(number()?.max(1) as usize),
                "--tls" => provider = tls_provider(&value)?,
                "--queue" => config.send_buff_size = number()? as usize,
                "--stream-window" => http2.stream_window = number()?,
                "--connection-window" => http2.connection_window = number()?,
                "--adaptive-window" => http2.adaptive_window = value == "on",
                "--frame" => http2.max_frame_size = number()?,
                "--send-buffer" => http2.max_send_buf_size = number()? as usize,
                "--nodelay" => http2.tcp_nodelay = value == "on",
                _ => return Err(format!("unknown: {arg} {value}")),
            }
        }
        // Generated only if it is needed: a cold start reads files.
        let org = LazyCell::new(|| Org::new("Org1MSP"));
        let member = |folder: Option<PathBuf>, name| match folder {
            Some(folder) => Member::read(&folder).map_err(|e| e.to_string()),
            None => Ok(org.member(name)),
        };
        let (from, to) = (member(from, "from")?, member(to, "to")?);
        let variant = variant.unwrap_or_else(|| if workers.is_some() { "async" } else { "async-current" }.into());
        Ok(Options { variant, config, provider, workers, from, to })
    }

    /// One pair for all, as in the main benchmark.
    pub fn tls(&self) -> Tls {
        self.from.tls(self.provider)
    }
}

fn tls_provider(name: &str) -> Outcome<Provider> {
    match name {
        "aws-lc" => Ok(Provider::AwsLc),
        #[cfg(feature = "ring")]
        "ring" => Ok(Provider::Ring),
        #[cfg(feature = "openssl")]
        "openssl" => Ok(Provider::OpenSsl),
        _ => Err(format!("this was built without TLS by {name}")),
    }
}

/// A line of input.
pub struct Order {
    pub name: String,
    pairs: Vec<(String, String)>,
}

impl Order {
    pub fn from(line: &str) -> Order {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let pairs = words.filter_map(|word| word.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        Order { name, pairs }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, key: &str) -> Option<usize> {
        self.text(key).and_then(|value| value.parse().ok())
    }

    pub fn need(&self, key: &str) -> Outcome<usize> {
        self.number(key).ok_or_else(|| format!("{} needs {key}=", self.name))
    }

    /// Returns the peer of `endpoint=`.
    pub fn peer(&self) -> Outcome<RemotePeer> {
        self.peers().map(|mut peers| peers.swap_remove(0))
    }

    /// Returns the peers of `endpoint=`, which are separated by commas; at least one.
    pub fn peers(&self) -> Outcome<Vec<RemotePeer>> {
        let endpoints = self.text("endpoint").ok_or_else(|| format!("{} needs endpoint=", self.name))?;
        Ok(endpoints.split(',').map(RemotePeer::new).collect())
    }
}

/// Where the two ends run.
pub struct Runtimes {
    pub from: Handle,
    pub to: Handle,
    _running: Vec<Running>,
}

/// A runtime that ends when this is dropped.
enum Running {
    Multi(Option<Runtime>),
    /// Of the current-thread kind, with the thread that is its.
    Single(Option<oneshot::Sender<()>>, Option<JoinHandle<()>>),
}

impl Runtimes {
    pub fn new(options: &Options) -> Runtimes {
        if let Some(workers) = options.workers {
            let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build().expect("a runtime");
            let handle = runtime.handle().clone();
            Runtimes { from: handle.clone(), to: handle, _running: vec![Running::Multi(Some(runtime))] }
        } else {
            let ((from, first), (to, second)) = (single("from"), single("to"));
            Runtimes { from, to, _running: vec![first, second] }
        }
    }
}

fn single(name: &str) -> (Handle, Running) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    let run = move || drop(runtime.block_on(stopped));
    let thread = std::thread::Builder::new().name(name.into()).spawn(run).expect("a thread");
    (handle, Running::Single(Some(stop), Some(thread)))
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Running::Multi(runtime) => {
                if let Some(runtime) = runtime.take() {
                    runtime.shutdown_timeout(Duration::from_secs(1));
                }
            }
            Running::Single(stop, thread) => {
                drop(stop.take());
                thread.take().map(JoinHandle::join);
            }
        }
    }
}
