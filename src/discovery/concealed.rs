//! Peers of other organisations that may not know us, because they or we have no external endpoint: logged once each,
//! then counted.

use super::{Context, Disclosure, Discovery, Effect, NetworkMember};
use crate::crypto::PkiId;
use crate::journal;
use std::collections::BTreeMap;

/// Maximum number of peers remembered as logged.
const MAX_NAMED: usize = 1000;

/// Number of connections closed, by peer.
#[derive(Default)]
pub(super) struct Concealed {
    closed: BTreeMap<PkiId, u64>,
}

impl Concealed {
    /// Increments the count; returns its previous value.
    fn count(&mut self, id: &PkiId) -> u64 {
        if self.closed.len() >= MAX_NAMED && !self.closed.contains_key(id) {
            self.closed.clear();
        }
        let count = self.closed.entry(id.clone()).or_default();
        let before = *count;
        *count += 1;
        before
    }
}

impl Discovery {
    /// Returns the missing endpoint if it prevents a peer from ever learning about us. We do not ask such a peer
    /// either: it would have no way to answer once its connection is closed.
    pub(super) fn missing_endpoint(&self, remote: &NetworkMember, cx: &Context<'_>) -> Option<&'static str> {
        const OURS: &str =
            "we have no external endpoint (peer.gossip.externalEndpoint), and only peers of our organisation \
            may know us";
        const THEIRS: &str =
            "it belongs to another organisation and has no external endpoint (peer.gossip.externalEndpoint \
            on its side)";
        // The endpoint check is cheap and runs for every member; the policy is not cheap.
        let reason = match (self.own.member.endpoint.is_empty(), remote.endpoint.is_empty()) {
            (true, _) => OURS,
            (false, true) => THEIRS,
            (false, false) => return None,
        };
        (cx.peers.disclose(remote, &self.own.member) == Disclosure::Nothing).then_some(reason)
    }

    /// Closes the connection to such a peer and logs the reason the first time.
    pub(super) fn close_concealed(&mut self, remote: NetworkMember, reason: &str, cx: &mut Context<'_>) {
        let text = format!("closing the connection to {}, which asks for our membership: {reason}", remote.pki_id);
        match self.concealed.count(&remote.pki_id) {
            0 => journal::warning!("{text}; further times are counted at level debug"),
            before => journal::debug!("{text}; {} times so far", before + 1),
        }
        cx.effects.push(Effect::Close(remote.pki_id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_counted_each_for_itself_and_not_without_end() {
        let mut concealed = Concealed::default();
        let id = |n: usize| PkiId::from(&n.to_be_bytes()[..]);
        assert_eq!([concealed.count(&id(1)), concealed.count(&id(1)), concealed.count(&id(2))], [0, 1, 0]);
        (0..10 * MAX_NAMED).for_each(|n| {
            concealed.count(&id(n));
            assert!(concealed.closed.len() <= MAX_NAMED);
        });
    }
}
