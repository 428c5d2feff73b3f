//! The files of `peer`: read at the start, and again on SIGHUP.
//!
//! All files are read and checked before any of them is used. If one of them is wrong, nothing changes.

use crate::failure::{Failure, Result};
use crate::identity::{Me, MspFolder};
use crate::metrics_options::{MetricsArgs, PageTls};
use crate::metrics_page::MetricsPage;
use crate::options::IdentityArgs;
use crate::settings::Settings;
use crate::stop::spawn;
use crate::tls_options::{Role, TlsArgs, TlsSetup};
use crossbeam_channel::{bounded, Receiver, TryRecvError};
use fabric_gossip::crypto::{CryptoService, PkiId};
use fabric_gossip::msp::{MspConfig, PemFile};
use fabric_gossip::Node;
use signal_hook::consts::SIGHUP;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The flags and settings that name the files. `core.yaml` itself is read only once.
#[derive(Clone)]
pub struct Sources {
    pub identity: IdentityArgs,
    pub tls: TlsArgs,
    pub metrics: MetricsArgs,
    pub settings: Settings,
}

/// The content of the files, checked.
pub struct Files {
    pub me: Me,
    pub tls: TlsSetup,
    pub page: Option<PageTls>,
}

impl Sources {
    pub fn read(&self) -> Result<Files> {
        let me = self.identity.load(&self.settings)?;
        let tls = self.tls.load(Role::Serve, &self.identity, &me.msps, &self.settings)?;
        let page = self.metrics.tls(&self.settings)?;
        Ok(Files { me, tls, page })
    }
}

/// Reads the files again on each SIGHUP, on a separate thread, and applies them.
pub struct Reloader {
    sources: Sources,
    /// The files in use, with the services that a running node holds.
    current: Files,
    requested: Arc<AtomicBool>,
    reading: Option<(JoinHandle<()>, Receiver<Result<Files>>)>,
}

/// The result of a reload.
#[derive(Default)]
pub struct Reloaded {
    /// The parts that differ and are in use now: `tls`, `msp`, `revocations`, `metrics_tls`.
    pub changed: Vec<&'static str>,
    /// The parts that differ and need a restart: `identity`.
    pub restart: Vec<&'static str>,
    /// The peers whose identity is no longer valid.
    pub removed: Vec<PkiId>,
}

impl Reloader {
    /// Reads the files for the first time. SIGHUP no longer ends the process, from before that on.
    pub fn new(sources: Sources) -> Result<Reloader> {
        let requested = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, requested.clone())
            .map_err(|e| Failure::Peer(format!("cannot watch for SIGHUP: {e}")))?;
        let current = sources.read()?;
        Ok(Reloader { sources, current, requested, reading: None })
    }

    pub fn current(&self) -> &Files {
        &self.current
    }

    /// Performs the next step of a reload. Returns its result when it has ended. Never waits for a file.
    pub fn poll(&mut self, node: &Node, page: Option<&MetricsPage>) -> Option<Result<Reloaded>> {
        if self.reading.is_none() && self.requested.swap(false, Ordering::AcqRel) {
            let (done, result) = bounded(1);
            let sources = self.sources.clone();
            match spawn("reload", move || drop(done.send(sources.read()))) {
                Ok(thread) => self.reading = Some((thread, result)),
                Err(failure) => return Some(Err(failure)),
            }
        }
        let files = match self.reading.as_ref()?.1.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(Failure::usage("the files could not be read")),
            Ok(files) => files,
        };
        if let Some((thread, _)) = self.reading.take() {
            let _ = thread.join();
        }
        Some(files.and_then(|files| self.apply(files, node, page)))
    }

    fn apply(&mut self, new: Files, node: &Node, page: Option<&MetricsPage>) -> Result<Reloaded> {
        let current = &mut self.current;
        check_folders(&current.me.folders, &new.me.folders)?;
        for (whose, identity) in [("new", &new.me.identity), ("running", &current.me.identity)] {
            let valid = new.me.crypto.validate_identity(identity);
            let text = |why: &str| format!("our {whose} identity is not valid with the new files: {why}");
            valid.map_err(|e| Failure::usage(text(e.message())))?;
        }

        let mut done = Reloaded::default();
        if let (Some(running), Some(new)) = (&mut current.tls, new.tls) {
            if running.config != new.config {
                running.tls.replace(new.config.clone())?;
                running.config = new.config;
                done.changed.push("tls");
            }
        }
        if without_revocations(&current.me) != without_revocations(&new.me) {
            done.changed.push("msp");
        }
        if revocations(&current.me) != revocations(&new.me) {
            done.changed.push("revocations");
        }
        if new.me.pki_id != current.me.pki_id {
            done.restart.push("identity");
        }
        current.me.crypto.replace_msps(&new.me.crypto);
        (current.me.msps, current.me.folders) = (new.me.msps, new.me.folders);
        if current.page != new.page {
            done.changed.push("metrics_tls");
            if let Some(page) = page {
                page.set_tls(new.page.clone());
            }
            current.page = new.page;
        }

        let known = node.identity_info();
        node.suspect_peers(|_| true);
        let removed = known.into_iter().filter(|info| current.me.crypto.validate_identity(&info.identity).is_err());
        done.removed = removed.map(|info| info.pki_id).collect();
        Ok(done)
    }
}

/// Fails if a file in an MSP folder is skipped that was not skipped before: a revocation list that was cut off must not
/// make revoked identities valid again.
fn check_folders(running: &[MspFolder], new: &[MspFolder]) -> Result<()> {
    let known: BTreeSet<&PathBuf> = running.iter().flat_map(|folder| &folder.skipped).collect();
    match new.iter().flat_map(|folder| &folder.skipped).find(|path| !known.contains(path)) {
        None => Ok(()),
        Some(path) => Err(Failure::file(path, "cannot be read, or is not PEM")),
    }
}

/// Returns the MSPs without their revocation lists.
fn without_revocations(me: &Me) -> Vec<MspConfig> {
    let folders = me.folders.iter().map(|folder| folder.config.clone());
    folders.map(|config| MspConfig { revocation_lists: Vec::new(), ..config }).collect()
}

fn revocations(me: &Me) -> Vec<&[PemFile]> {
    me.folders.iter().map(|folder| &folder.config.revocation_lists[..]).collect()
}
