//! `survey`: a comparison of the views of all peers of our organisation.

use crate::failure::{Failure, Result};
use crate::identity::Me;
use crate::keys;
use crate::options::{anchor, check_anchors, IdentityArgs};
use crate::output::{printable, shown, Progress};
use crate::settings::Settings;
use crate::survey::compare::{self, compare, Starts};
use crate::survey::crawl::{self, Crawl};
use crate::survey::{changes::changes, dot, json, page, table, Report, Severity};
use crate::terminal::Tone;
use crate::tls_options::{Role, TlsArgs};
use crate::values::{duration, target, timeout, Endpoint};
use crate::Context;
use clap::Args;
use fabric_gossip::crypto::OrgId;
use fabric_gossip::node::AnchorPeer;
use fabric_gossip::transport::Limits;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const DAYS_30: &str = "720h";

/// Compare the views of all peers of our organisation: who is reachable, who sees whom, and what is irregular
#[derive(Args)]
pub struct SurveyArgs {
    /// Peers to ask first, host:port [CORE_PEER_ADDRESS]; the members of our organisation that they list are asked too
    #[arg(value_name = "H:P", value_parser = target)]
    peers: Vec<Endpoint>,
    /// Write the report as one HTML page, with a map of who sees whom
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the map of who sees whom, for Graphviz
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Repeat after this time until stopped, and report changes
    #[arg(long, value_name = "D", value_parser = timeout)]
    watch: Option<Duration>,
    /// Report certificates that expire within this time
    #[arg(long, value_name = "D", default_value = DAYS_30, value_parser = duration)]
    warn_expiry: Duration,
    /// An anchor peer of our organisation, as in the channel configuration; asked and checked; repeatable
    #[arg(long, value_name = "MSPID=H:P", value_parser = anchor)]
    anchor: Vec<(OrgId, AnchorPeer)>,
    /// Maximum time for each peer
    #[arg(long, value_name = "D", default_value = "5s", value_parser = timeout)]
    timeout: Duration,
    /// Maximum number of peers to ask
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    max_peers: u16,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl SurveyArgs {
    pub fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    /// Returns the endpoints to ask first.
    fn given(&self, settings: &Settings) -> Result<Vec<String>> {
        let mut given: Vec<String> = self.peers.iter().map(Endpoint::to_string).collect();
        given.extend(self.anchor.iter().map(|(_, anchor)| endpoint(anchor)));
        if given.is_empty() {
            let address = settings.parsed(keys::ADDRESS, target)?;
            let address = address
                .ok_or_else(|| Failure::usage("no peer: name one or more as host:port (or set CORE_PEER_ADDRESS)"))?;
            given.push(address.to_string());
        }
        Ok(given)
    }
}

fn endpoint(anchor: &AnchorPeer) -> String {
    Endpoint { host: anchor.host.clone(), port: anchor.port }.to_string()
}

pub fn run(context: &Context, args: &SurveyArgs) -> Result<()> {
    let given = args.given(&context.settings)?;
    [&args.html, &args.dot].into_iter().flatten().try_for_each(|path| check_place(path))?;
    let me = args.identity.load(&context.settings)?;
    check_anchors(&args.anchor, &me)?;
    let files = args.tls.load(Role::Dial, &args.identity, &me.msps, &context.settings)?;
    let transport = context.transport.create(files.as_ref().map(|files| files.tls.clone()), Limits::default())?;
    let max_peers = usize::from(args.max_peers);
    let crawl =
        Crawl { me: &me, transport, tls: files.as_ref(), timeout: args.timeout, max_peers, stop: &context.stop };
    let survey = Survey { context, args, me: &me, crawl, given };
    crawl::warn(&me);
    match args.watch {
        None => survey.once(),
        Some(interval) => survey.watch(interval),
    }
}

struct Survey<'a> {
    context: &'a Context,
    args: &'a SurveyArgs,
    me: &'a Me,
    crawl: Crawl<'a>,
    given: Vec<String>,
}

impl Survey<'_> {
    fn once(&self) -> Result<()> {
        let begin = Instant::now();
        let report = match self.ask(&mut Starts::new()) {
            Ok(report) => report,
            Err(failure) => return Err(self.fail(failure, begin.elapsed())),
        };
        self.print(&report);
        self.conclude(&report, begin.elapsed(), true)
    }

    /// Repeats the survey until stopped. The last complete one decides the result.
    fn watch(&self, interval: Duration) -> Result<()> {
        let mut starts = Starts::new();
        let mut last: Option<Report> = None;
        loop {
            let begin = Instant::now();
            let (report, changed) = match (self.ask(&mut starts), last) {
                (Ok(report), None) => {
                    self.print(&report);
                    (report, true)
                }
                (Ok(report), Some(last)) => {
                    let changed = self.print_changes(&last, &report);
                    (report, changed)
                }
                (Err(Failure::Stopped), Some(last)) => return verdict(&last),
                (Err(failure), _) => return Err(self.fail(failure, begin.elapsed())),
            };
            let result = self.conclude(&report, begin.elapsed(), changed);
            if matches!(result, Err(Failure::Usage(_))) {
                return result;
            }
            let _ = self.context.stop.signal().recv_timeout(interval);
            if self.context.stop.is_cancelled() {
                return verdict(&report);
            }
            last = Some(report);
        }
    }

    fn ask(&self, starts: &mut Starts) -> Result<Report> {
        let bar: Progress = self.context.out.progress("peers asked", self.given.len() as u64);
        let answers = self.crawl.run(&self.given, |done, known| {
            bar.set_total(known as u64);
            bar.set(done as u64);
        })?;
        drop(bar);
        let ours = self.args.anchor.iter().filter(|(org, _)| org.as_str() == self.me.mspid);
        let settings = compare::Settings {
            now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            mspid: self.me.mspid.clone(),
            our_pki_id: self.me.pki_id.to_string(),
            warn_expiry: self.args.warn_expiry,
            anchors: ours.map(|(_, anchor)| endpoint(anchor)).collect(),
        };
        Ok(compare(&answers, &settings, starts))
    }

    fn print(&self, report: &Report) {
        let out = &self.context.out;
        match out.is_json() {
            true => report.peers.iter().for_each(|peer| out.line(|| json::peer(peer, report), String::new)),
            false => {
                for (tone, line) in table::peers(report, out.terminal().width()) {
                    out.toned_note(tone, || line);
                }
            }
        }
        match out.is_json() {
            true => report.findings.iter().for_each(|finding| out.line(|| json::finding(finding), String::new)),
            false => {
                for (tone, line) in report.grouped().flat_map(table::findings) {
                    out.toned_note(tone, || line);
                }
            }
        }
    }

    /// Returns whether there was a change.
    fn print_changes(&self, before: &Report, after: &Report) -> bool {
        let changes = changes(before, after);
        let in_json = self.context.out.is_json();
        for change in changes.iter().filter(|change| in_json || !change.repeats) {
            let tone = table::severity(change.severity);
            let text = || format!("{:<11} {}", change.kind, printable(&change.detail));
            self.context.out.toned(tone, || json::change(change), text);
        }
        !changes.is_empty()
    }

    /// Writes the files and the summary; as text, the latter only if something changed.
    fn conclude(&self, report: &Report, elapsed: Duration, changed: bool) -> Result<()> {
        let written = self.write_files(report);
        let unwritten = written.as_ref().err().and_then(Failure::text).map(str::to_owned);
        let error = unwritten.or_else(|| report.error());
        let (tone, text) = table::summary(report);
        if !changed && !self.context.out.is_json() {
            return written.and_then(|()| verdict(report));
        }
        self.context.out.toned(tone, || json::summary(report, error.as_deref(), elapsed), || text);
        written.and_then(|()| verdict(report))
    }

    fn write_files(&self, report: &Report) -> Result<()> {
        if let Some(path) = &self.args.html {
            let days = i64::try_from(self.args.warn_expiry.as_secs() / 86_400).unwrap_or(i64::MAX);
            write(path, &page::render(report, days))?;
        }
        if let Some(path) = &self.args.dot {
            write(path, &dot::render(report))?;
        }
        Ok(())
    }

    /// Prints the summary of a survey that failed.
    fn fail(&self, failure: Failure, elapsed: Duration) -> Failure {
        let error = failure.text().map_or_else(|| self.context.interrupted.reason().to_owned(), printable);
        let out = &self.context.out;
        if out.is_json() {
            out.line(|| json::summary(&Report::default(), Some(&error), elapsed), String::new);
        } else if matches!(failure, Failure::Stopped) {
            out.toned_note(Tone::Bad, || format!("✘ {error}"));
        }
        failure
    }
}

fn verdict(report: &Report) -> Result<()> {
    match report.count(Severity::Error) {
        0 => Ok(()),
        _ => Err(Failure::Reported),
    }
}

/// Checks, before the survey, that a file can be there.
fn check_place(path: &Path) -> Result<()> {
    match path.parent() {
        _ if path.is_dir() => Err(Failure::file(path, "cannot be written: it is a folder")),
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Failure::file(path, format!("cannot be written: there is no folder {}", shown(folder))))
        }
        _ => Ok(()),
    }
}

/// Replaces a file as a whole, so that a reader never sees a part of it.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    written.map_err(|e| {
        let _ = fs::remove_file(&partial);
        Failure::file(path, format!("cannot be written: {e}"))
    })
}
