//! The other process: many `Comm`s that dial one server and then sit there. It reads orders line by line and answers
//! each with a number.

use super::crypto::{free_identity, tls, Certificates, Free};
use super::layer::wait_until;
use super::machine;
use fabric_gossip::comm::{Comm, RemotePeer};
use fabric_gossip::message::{self, SignedMessage};
use fabric_gossip::testing::cryptogen::Member;
use serde_json::{json, Value};
use std::io::stdin;
use std::sync::Arc;

/// Number of simultaneous dials: a server refuses streams while too many others have not authenticated.
const GROUP: usize = 64;

/// The first order.
pub fn order(certificates: &Certificates, endpoint: &str, comms: usize) -> String {
    let Member { tls_ca_cert: ca, tls_cert: cert, tls_key: key, .. } = &certificates.member;
    json!({ "endpoint": endpoint, "ca": ca, "cert": cert, "key": key, "comms": comms }).to_string()
}

pub fn run() {
    let mut orders = stdin().lines().map_while(Result::ok);
    let first: Value = orders.next().and_then(|line| serde_json::from_str(&line).ok()).expect("what to do");
    let text = |field: &str| first[field].as_str().unwrap_or_default();
    let tls = tls(text("cert"), text("key"), text("ca"));
    let server = [RemotePeer::new(text("endpoint"))];
    let comms: Vec<Comm> = (0..first["comms"].as_u64().unwrap_or_default())
        .map(|n| {
            let builder = Comm::builder(free_identity(&format!("peer {n}")), Arc::new(Free), Arc::new(Free));
            builder.tls(tls.clone()).start().expect("a Comm")
        })
        .collect();
    let hello = SignedMessage::noop_sign(message::empty(0)).expect("encodes");
    println!("0");
    for order in orders {
        let answer = match order.split_once(' ') {
            Some(("connect", count)) => {
                let comms = &comms[..count.parse().expect("a number")];
                for group in comms.chunks(GROUP) {
                    group.iter().for_each(|comm| comm.send(&hello, &server).expect("takes it"));
                    wait_until(|| group.iter().all(|comm| comm.connection_count() == 1));
                }
                0
            }
            _ if order == "cpu" => machine::cpu_nanos(),
            _ => machine::resident(),
        };
        println!("{answer}");
    }
}
