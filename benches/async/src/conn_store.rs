//! Connections by PKI-ID, and those that were dialled also by endpoint, which is all that is known of them at first.

use crate::config::Config;
use crate::connection::Connection;
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind, Result};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// No lock is held while anything waits or calls out.
pub(crate) struct ConnStore {
    own_id: PkiId,
    tables: RwLock<Tables>,
    /// How many peers are connected.
    pub count: watch::Sender<usize>,
}

#[derive(Default)]
struct Tables {
    by_id: HashMap<PkiId, Arc<Connection>>,
    by_endpoint: HashMap<String, Arc<Connection>>,
    closed: bool,
}

/// The fate of a connection that has just authenticated.
pub(crate) enum Registered {
    /// It is the peer's connection now. The one that was before has to be drained, if there was one.
    Current(Option<Arc<Connection>>),
    /// The peer has a connection that stays. This one is read until its dialler ends it.
    Spare,
    /// No more are wanted.
    Refused(Error),
}

impl ConnStore {
    pub fn new(own_id: PkiId) -> ConnStore {
        ConnStore { own_id, tables: RwLock::default(), count: watch::Sender::new(0) }
    }

    pub fn by_id(&self, id: &PkiId) -> Option<Arc<Connection>> {
        self.tables.read().by_id.get(id).cloned()
    }

    /// The connection to send on: by PKI-ID if that is known, else by endpoint.
    pub fn find(&self, id: Option<&PkiId>, endpoint: &str) -> Option<Arc<Connection>> {
        let tables = self.tables.read();
        id.and_then(|id| tables.by_id.get(id)).or_else(|| tables.by_endpoint.get(endpoint)).cloned()
    }

    /// The connection dialled at `endpoint`, or the one that `make` makes, to be dialled.
    pub fn entry<E>(
        &self,
        config: &Config,
        endpoint: &str,
        make: impl FnOnce() -> (Arc<Connection>, E),
    ) -> Result<(Arc<Connection>, Option<E>)> {
        let mut tables = self.tables.write();
        if tables.closed {
            return Err(Error::stopping());
        }
        if let Some(connection) = tables.by_endpoint.get(endpoint) {
            return Ok((connection.clone(), None));
        }
        if tables.by_endpoint.len() >= config.max_connections {
            return Err(Error::new(ErrorKind::Full, "too many peers (max_connections)"));
        }
        let (connection, extra) = make();
        tables.by_endpoint.insert(endpoint.into(), connection.clone());
        Ok((connection, Some(extra)))
    }

    /// A connection has authenticated. A peer keeps one: the newer, except when both sides dialled at the same time.
    /// Then both keep the one that the peer with the smaller PKI-ID dialled, whichever was ready first.
    pub fn register(&self, config: &Config, new: &Arc<Connection>) -> Registered {
        let Some(id) = new.info().map(|info| info.id.clone()) else { return Registered::Spare };
        let mut tables = self.tables.write();
        if tables.closed {
            return Registered::Refused(Error::new(ErrorKind::Stopped, "shutting down"));
        }
        let old = tables.by_id.get(&id).cloned();
        if old.is_none() && tables.by_id.len() >= config.max_connections {
            return Registered::Refused(Error::new(ErrorKind::Full, "too many connections"));
        }
        let simultaneous = old.as_ref().is_some_and(|old| {
            old.dialled.is_some() != new.dialled.is_some()
                && Instant::now().saturating_duration_since(old.since()) < config.conn_timeout
        });
        let stays = simultaneous && new.dialled.is_some() != (self.own_id < id);
        let (winner, loser) = if stays { (old, Some(new.clone())) } else { (Some(new.clone()), old) };
        if let (Some(winner), Some(loser)) = (&winner, &loser) {
            tables.by_endpoint.values_mut().filter(|c| Arc::ptr_eq(c, loser)).for_each(|c| *c = winner.clone());
        }
        if stays {
            return Registered::Spare;
        }
        tables.by_id.insert(id, new.clone());
        self.count.send_replace(tables.by_id.len());
        // Of two simultaneous ones its dialler ends the other.
        Registered::Current(loser.filter(|loser| !simultaneous || loser.dialled.is_some()))
    }

    /// Forgets this connection, and never its successor.
    pub fn remove(&self, connection: &Arc<Connection>) {
        let mut tables = self.tables.write();
        tables.by_endpoint.retain(|_, c| !Arc::ptr_eq(c, connection));
        if let Some(info) = connection.info() {
            if tables.by_id.get(&info.id).is_some_and(|c| Arc::ptr_eq(c, connection)) {
                tables.by_id.remove(&info.id);
                self.count.send_replace(tables.by_id.len());
            }
        }
    }

    /// Takes no more, and returns those there are.
    pub fn close(&self) -> Vec<Arc<Connection>> {
        let mut tables = self.tables.write();
        tables.closed = true;
        let mut all: Vec<_> = tables.by_id.values().chain(tables.by_endpoint.values()).cloned().collect();
        all.sort_by_key(|c| Arc::as_ptr(c) as usize);
        all.dedup_by(|a, b| Arc::ptr_eq(a, b));
        all
    }
}
