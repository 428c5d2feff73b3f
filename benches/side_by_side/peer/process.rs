//! Orders to this process as one of several: serve, dial, send to another process, and report the resources used.

use super::ends::{
    acknowledge, acknowledged, free, receive_all, round_trips, send_all, send_on, send_to_all, visits,
    wait_for_connections, Back, Members, Who, VISITORS,
};
use super::{percentiles, Figure, Order, Outcome};
use crate::support::{machine, PATIENCE};
use bytes::Bytes;
use fabric_gossip::Comm;
use std::thread::{self, Builder, JoinHandle};
use std::time::Instant;

/// Number of simultaneous dials: a server refuses streams while too many others have not authenticated.
const GROUP: usize = 64;

/// The state of this process from one order to the next.
pub struct Process<'a> {
    members: &'a Members,
    servers: Vec<(Comm, JoinHandle<()>)>,
    client: Option<Comm>,
    diallers: Vec<Comm>,
}

impl<'a> Process<'a> {
    pub fn new(members: &'a Members) -> Process<'a> {
        Process { members, servers: Vec::new(), client: None, diallers: Vec::new() }
    }

    /// Returns `None` if it does not know the order.
    pub fn carry_out(&mut self, order: &Order) -> Option<Outcome<Vec<Figure>>> {
        Some(match order.name.as_str() {
            "serve" => self.serve(order),
            "connected" => self.connected(order),
            "create" => order.need("connections").map(|count| self.create(count)).map(|_| Vec::new()),
            "dial" => self.dial(order),
            "send" => self.send(order),
            "exchange-with" => self.exchange(order),
            "round-trip-to" => self.round_trip(order),
            "handshakes-with" => self.handshakes(order),
            "churn-with" => self.churn(order),
            "stop" => {
                self.stop();
                Ok(Vec::new())
            }
            "resident" => Ok(vec![("resident", "bytes", machine::resident() as f64)]),
            "threads" => Ok(vec![("threads", "threads", machine::threads() as f64)]),
            _ => return None,
        })
    }

    /// With `msp=1` as a real member, otherwise as one that accepts every peer.
    fn who(&self, order: &Order, name: &str) -> Who {
        match order.number("msp") {
            Some(1) => self.members.real_from(),
            _ => free(name),
        }
    }

    /// Listens with one peer or `listeners=`, acknowledges messages that ask for it, and prints the endpoints. With
    /// `back=`, each sends this many messages of `size=` to the peer that first sends one that needs no acknowledgement.
    fn serve(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let payload = Bytes::from(vec![7; order.number("size").unwrap_or(0)]);
        let mut endpoints = Vec::new();
        for n in 0..order.number("listeners").unwrap_or(1) {
            let server = self.members.start(self.who(order, &format!("server {n}")), true);
            let received = server.subscribe(|_| true);
            let back = order.number("back");
            let back = back.map(|count| Back { comm: server.clone(), payload: payload.clone(), count });
            endpoints.push(server.local_addr().ok_or("it listens nowhere")?.to_owned());
            self.servers.push((server, thread::spawn(move || acknowledge(&received, back))));
        }
        println!("endpoint {}", endpoints.join(","));
        Ok(Vec::new())
    }

    fn connected(&self, order: &Order) -> Outcome<Vec<Figure>> {
        let count = order.need("connections")?;
        let (server, _) = self.servers.first().ok_or("there is no server")?;
        wait_for_connections(server, count);
        Ok(vec![("connections", "connections", count as f64)])
    }

    fn client(&mut self, order: &Order) -> &Comm {
        if self.client.is_none() {
            self.client = Some(self.members.start(self.who(order, "client"), false));
        }
        self.client.as_ref().expect("just made")
    }

    /// Creates peers that will dial, each with its own identity: they exist before memory is measured. Returns this many.
    fn create(&mut self, count: usize) -> &[Comm] {
        for n in self.diallers.len()..count {
            self.diallers.push(self.members.start(free(&format!("peer {n}")), false));
        }
        &self.diallers[..count]
    }

    fn dial(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (peer, count) = (order.peer()?, order.need("connections")?);
        let diallers = self.create(count);
        let started = Instant::now();
        for group in diallers.chunks(GROUP) {
            thread::scope(|scope| {
                let dialling: Vec<_> =
                    group.iter().map(|comm| scope.spawn(|| comm.connect(&peer, PATIENCE).map(drop))).collect();
                dialling.into_iter().try_for_each(|one| one.join().expect("no panic").map_err(|e| e.to_string()))
            })?;
        }
        Ok(vec![("rate", "connections/s", count as f64 / started.elapsed().as_secs_f64())])
    }

    /// Sends `count` messages to each of the peers in another process; from one peer, or from `connections=` at the same
    /// time. The last messages are acknowledged, so all have arrived when they are.
    fn send(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (size, count, peers) = (order.need("size")?, order.need("count")?, order.peers()?);
        let senders = match order.number("connections") {
            Some(connections) => self.create(connections),
            None => std::slice::from_ref(self.client(order)),
        };
        let payload = Bytes::from(vec![7; size]);
        let started = Instant::now();
        thread::scope(|scope| {
            let sending: Vec<_> = senders
                .iter()
                .map(|sender| {
                    // A program with this many senders would not give each the stack of a main thread either.
                    let thread = Builder::new().stack_size(256 << 10).spawn_scoped(scope, || {
                        send_to_all(sender, &peers, &payload, count - 1);
                        acknowledged(sender, &peers, count as u64, &payload)
                    });
                    thread.expect("a thread")
                })
                .collect();
            sending.into_iter().try_for_each(|one| one.join().expect("no panic"))
        })?;
        let total = senders.len() * peers.len() * count;
        Ok(vec![super::rate(total, started.elapsed())])
    }

    /// Sends to a server that sends as much back; the messages of both count.
    fn exchange(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (size, count, peer) = (order.need("size")?, order.need("count")?, order.peer()?);
        let client = self.client(order);
        let answers = client.subscribe(|message| message.message().nonce() == 0);
        let payload = Bytes::from(vec![7; size]);
        let started = Instant::now();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| receive_all(&answers, count));
            send_all(client, &peer, &payload, count - 1);
            let sent = acknowledged(client, std::slice::from_ref(&peer), count as u64, &payload);
            receiver.join().expect("all arrived");
            sent
        })?;
        Ok(vec![super::rate(2 * count, started.elapsed())])
    }

    /// With `load=`, another peer of this process meanwhile sends messages of that size as fast as it can.
    fn round_trip(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (size, count, peer) = (order.need("size")?, order.need("count")?, order.peer()?);
        let other = order.number("load").map(|size| (self.members.start(free("other"), false), vec![7; size].into()));
        let client = self.client(order);
        thread::scope(|scope| {
            if let Some((other, noise)) = &other {
                acknowledged(other, std::slice::from_ref(&peer), 0, noise)?;
                scope.spawn(|| send_on(other, &peer, noise));
            }
            let times = round_trips(client, &peer, size, count);
            other.iter().for_each(|(other, _)| other.stop());
            times.map(percentiles)
        })
    }

    fn handshakes(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (count, peer) = (order.need("count")?, order.peer()?);
        let client = self.client(order);
        let one = |_| {
            let started = Instant::now();
            let handshake = client.handshake(&peer).map_err(|e| e.to_string())?;
            let took = started.elapsed().as_secs_f64() * 1e6;
            if handshake.confirmed {
                Ok(took)
            } else {
                Err("the handshake is not confirmed".to_owned())
            }
        };
        (0..count).map(one).collect::<Outcome<Vec<f64>>>().map(percentiles)
    }

    fn churn(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (count, peer) = (order.need("count")?, order.peer()?);
        visits(self.create(VISITORS), &peer, count).map(|rate| vec![rate])
    }

    fn stop(&mut self) {
        self.client.take().iter().chain(&self.diallers).for_each(Comm::stop);
        self.diallers.clear();
        for (server, handler) in self.servers.drain(..) {
            server.stop();
            handler.join().expect("no panic");
        }
    }
}
