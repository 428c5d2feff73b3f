//! Orders to this process as one of several: serve, dial, send to another process, and report the resources used.

use super::ends::{acknowledge, acknowledged, free, round_trips, send_all, wait_for_connections, Members, Who};
use super::{percentiles, Figure, Order, Outcome};
use crate::support::{machine, PATIENCE};
use bytes::Bytes;
use fabric_gossip::{Comm, RemotePeer};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Number of simultaneous dials: a server refuses streams while too many others have not authenticated.
const GROUP: usize = 64;

/// The state of this process from one order to the next.
pub struct Process<'a> {
    members: &'a Members,
    server: Option<(Comm, JoinHandle<()>)>,
    client: Option<Comm>,
    diallers: Vec<Comm>,
}

impl<'a> Process<'a> {
    pub fn new(members: &'a Members) -> Process<'a> {
        Process { members, server: None, client: None, diallers: Vec::new() }
    }

    pub fn knows(&self, name: &str) -> bool {
        let orders = ["serve", "connected", "create", "dial", "send", "round-trip-to", "handshake-with", "stop"];
        orders.contains(&name) || ["resident", "threads", "cpu"].contains(&name)
    }

    pub fn carry_out(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        match order.name.as_str() {
            "serve" => self.serve(order),
            "connected" => {
                let count = order.need("connections")?;
                let (server, _) = self.server.as_ref().ok_or("there is no server")?;
                wait_for_connections(server, count);
                Ok(vec![("connections", "connections", count as f64)])
            }
            "create" => self.create(order.need("connections")?),
            "dial" => self.dial(&RemotePeer::new(order.endpoint()?), order.need("connections")?),
            "send" => self.send(order),
            "round-trip-to" => {
                let (size, count) = (order.need("size")?, order.need("count")?);
                let peer = RemotePeer::new(order.endpoint()?);
                round_trips(self.client(order), &peer, size, count).map(percentiles)
            }
            "handshake-with" => {
                let peer = RemotePeer::new(order.endpoint()?);
                let client = self.client(order);
                let started = Instant::now();
                let handshake = client.handshake(&peer).map_err(|e| e.to_string())?;
                let took = started.elapsed().as_secs_f64() * 1e6;
                Ok(vec![("time", "us", took), ("confirmed", "bool", f64::from(u8::from(handshake.confirmed)))])
            }
            "stop" => {
                self.stop();
                Ok(Vec::new())
            }
            "resident" => Ok(vec![("resident", "bytes", machine::resident() as f64)]),
            "threads" => Ok(vec![("threads", "threads", machine::threads() as f64)]),
            _ => Ok(vec![("cpu", "ns", machine::cpu_nanos() as f64)]),
        }
    }

    /// With `msp=1` as a real member, otherwise as one that accepts every peer.
    fn who(&self, order: &Order, name: &str) -> Who {
        match order.number("msp") {
            Some(1) => self.members.real_from(),
            _ => free(name),
        }
    }

    /// Listens, acknowledges messages that ask for it, and prints the endpoint.
    fn serve(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let server = self.members.start(self.who(order, "server"), true);
        let received = server.subscribe(|_| true);
        let handler = thread::spawn(move || acknowledge(&received));
        println!("endpoint {}", server.local_addr().ok_or("it listens nowhere")?);
        self.server = Some((server, handler));
        Ok(Vec::new())
    }

    fn client(&mut self, order: &Order) -> &Comm {
        if self.client.is_none() {
            self.client = Some(self.members.start(self.who(order, "client"), false));
        }
        self.client.as_ref().expect("just made")
    }

    /// Creates peers that will dial, each with its own identity: they exist before memory is measured.
    fn create(&mut self, count: usize) -> Outcome<Vec<Figure>> {
        for n in self.diallers.len()..count {
            self.diallers.push(self.members.start(free(&format!("peer {n}")), false));
        }
        Ok(Vec::new())
    }

    fn dial(&mut self, peer: &RemotePeer, count: usize) -> Outcome<Vec<Figure>> {
        self.create(count)?;
        let started = Instant::now();
        for group in self.diallers[..count].chunks(GROUP) {
            thread::scope(|scope| {
                let dialling: Vec<_> =
                    group.iter().map(|comm| scope.spawn(|| comm.connect(peer, PATIENCE).map(drop))).collect();
                dialling.into_iter().try_for_each(|one| one.join().expect("no panic").map_err(|e| e.to_string()))
            })?;
        }
        Ok(vec![("rate", "connections/s", count as f64 / started.elapsed().as_secs_f64())])
    }

    /// Sends to another process; the last message is acknowledged, so all have arrived when it is.
    fn send(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (size, count) = (order.need("size")?, order.need("count")?);
        let peer = RemotePeer::new(order.endpoint()?);
        let client = self.client(order);
        let payload = Bytes::from(vec![7; size]);
        acknowledged(client, &peer, 0, &payload)?;
        let started = Instant::now();
        send_all(client, &peer, &payload, count - 1);
        acknowledged(client, &peer, count as u64, &payload)?;
        Ok(vec![("rate", "messages/s", count as f64 / started.elapsed().as_secs_f64())])
    }

    fn stop(&mut self) {
        self.client.take().iter().chain(&self.diallers).for_each(Comm::stop);
        self.diallers.clear();
        if let Some((server, handler)) = self.server.take() {
            server.stop();
            handler.join().expect("no panic");
        }
    }
}
