//! Printing of the peers of the joined channels, and of what they announce there.

use crate::identity::Described;
use crate::output::printable;
use crate::terminal::Tone;
use crate::values::{brief, grouped};
use crate::Context;
use fabric_gossip::crypto::PkiId;
use fabric_gossip::node::{Chaincode, ChannelMember};
use fabric_gossip::Node;
use serde_json::{json, Value};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Interval for looking for changes. Peers publish theirs every 4 s.
const INTERVAL: Duration = Duration::from_secs(1);

/// Number of chaincodes that are shown of each peer as text.
const SHOWN_CHAINCODES: usize = 8;

/// Prints changes in channels.
pub struct Channels<'a> {
    context: &'a Context,
    node: &'a Node,
    /// The peers of each channel as they were printed last.
    shown: BTreeMap<String, Vec<Row>>,
    next: Instant,
}

/// One peer of a channel.
#[derive(PartialEq)]
struct Row {
    pki_id: PkiId,
    endpoint: String,
    /// The MSP id in its identity, if that is known.
    mspid: Option<String>,
    ledger_height: u64,
    chaincodes: Vec<Chaincode>,
}

impl<'a> Channels<'a> {
    pub fn new(context: &'a Context, node: &'a Node, names: &[String]) -> Self {
        let shown = names.iter().map(|name| (name.clone(), Vec::new())).collect();
        Channels { context, node, shown, next: Instant::now() }
    }

    /// Prints what has changed, at most once in each interval. `identities` are the known ones.
    pub fn print_changes(&mut self, identities: &HashMap<PkiId, Described>) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        for (channel, shown) in &mut self.shown {
            let peers = self.node.peers_of_channel(channel.as_bytes()).unwrap_or_default();
            let rows: Vec<Row> = peers.into_iter().map(|peer| Row::new(peer, identities)).collect();
            if rows != *shown {
                print(self.context, channel, shown, &rows);
                *shown = rows;
            }
        }
    }
}

/// Prints a channel as JSON, or as text one line for each peer that changed.
fn print(context: &Context, channel: &str, before: &[Row], now: &[Row]) {
    let out = &context.out;
    if out.is_json() {
        let peers = || now.iter().map(Row::json).collect::<Vec<_>>();
        return out.line(|| json!({"event": "channel", "channel": channel, "peers": peers()}), String::new);
    }
    let channel = printable(channel);
    let known = |rows: &[Row], row: &Row| rows.iter().any(|other| other.pki_id == row.pki_id);
    for row in now.iter().filter(|row| !before.contains(row)) {
        let tone = if known(before, row) { Tone::Plain } else { Tone::Good };
        out.toned_note(tone, || format!("channel {channel}: {}, {}", row.peer(), row.announcement()));
    }
    for row in before.iter().filter(|row| !known(now, row)) {
        out.toned_note(Tone::Warning, || format!("channel {channel}: without {}", row.peer()));
    }
}

impl Row {
    fn new(peer: ChannelMember, identities: &HashMap<PkiId, Described>) -> Row {
        Row {
            endpoint: peer.member.preferred_endpoint().to_owned(),
            mspid: identities.get(&peer.member.pki_id).and_then(|described| described.mspid.clone()),
            pki_id: peer.member.pki_id,
            ledger_height: peer.ledger_height,
            chaincodes: peer.chaincodes,
        }
    }

    fn json(&self) -> Value {
        let chaincode = |of: &Chaincode| json!({"name": of.name, "version": of.version});
        json!({"pki_id": self.pki_id.to_string(), "endpoint": self.endpoint, "mspid": self.mspid,
               "ledger_height": self.ledger_height,
               "chaincodes": self.chaincodes.iter().map(chaincode).collect::<Vec<_>>()})
    }

    /// Describes the peer.
    fn peer(&self) -> String {
        let org = self.mspid.as_deref().unwrap_or("an unknown organisation");
        printable(&format!("{} of {org} at {}", brief(&self.pki_id), self.endpoint))
    }

    /// Describes what it announces.
    fn announcement(&self) -> String {
        let mut text = match self.ledger_height {
            1 => "1 block".to_owned(),
            height => format!("{} blocks", grouped(height)),
        };
        for (number, Chaincode { name, version }) in self.chaincodes.iter().take(SHOWN_CHAINCODES).enumerate() {
            text += &format!("{} {name} {version}", if number == 0 { "; chaincodes" } else { "," });
        }
        if let more @ 1.. = self.chaincodes.len().saturating_sub(SHOWN_CHAINCODES) {
            text += &format!(" and {} more", grouped(more as u64));
        }
        // One line, whatever a peer calls its chaincodes.
        printable(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_one_line_of_limited_length() {
        let announcement = |ledger_height, chaincodes: Vec<Chaincode>| {
            let (pki_id, mspid) = (PkiId::from(&[1; 32][..]), None);
            Row { pki_id, endpoint: "h:1".into(), mspid, ledger_height, chaincodes }.announcement()
        };
        let chaincode = |name: &str| Chaincode { name: name.into(), version: "1.0".into() };
        assert_eq!(announcement(1, vec![]), "1 block");
        assert_eq!(announcement(1000, vec![chaincode("a")]), "1,000 blocks; chaincodes a 1.0");
        assert_eq!(
            announcement(0, vec![chaincode("a"), chaincode("b\n\x1b[2J")]),
            "0 blocks; chaincodes a 1.0, b\\n\\u{1b}[2J 1.0"
        );
        let many = announcement(0, vec![chaincode("c"); 1008]);
        assert!(many.ends_with(", c 1.0 and 1,000 more") && many.len() < 200, "{many}");
    }
}
