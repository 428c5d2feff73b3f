//! Stops one `Comm` within the bound of [`Comm::stop`](super::Comm::stop).

use super::state::CommState;
use crate::sync::channel::select;
use crate::transport::Server;

impl CommState {
    /// Stops everything; see [`Comm::stop`](super::Comm::stop). `server` is the server that accepts for us, if any.
    pub fn stop(&self, server: Option<Box<dyn Server>>) {
        self.stopping.cancel();
        let peers = self.store.close_all();
        peers.iter().for_each(|peer| peer.close(false));
        // A reader that waits for room in a subscription continues, to read the rest of the other side's messages.
        self.messages.close();
        let limit = self.clock.after(self.config.conn_timeout);
        for peer in &peers {
            select! {
                recv(peer.done.signal()) -> _ => {}
                recv(limit) -> _ => break,
            }
        }
        // Everything that has not ended yet is cancelled.
        self.cut.cancel();
        self.store.open.cancel_all();
        if let Some(server) = server {
            if !server.stop(self.config.conn_timeout) {
                log::warn!("stop: some connections did not end in time and were cut off");
            }
        }
        self.threads.join();
        if self.owns_mapper {
            self.handshaker.mapper.stop();
        }
        self.events.close();
    }
}
