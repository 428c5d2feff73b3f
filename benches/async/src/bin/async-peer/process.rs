//! Orders to this process as one of several: serve, dial, send to another process, and report the resources used.

use crate::layer::{
    self, acknowledge, acknowledged, receive_all, round_trips, send_acknowledged, send_all, visits, wait, Back,
    VISITORS,
};
use crate::options::{Options, Order, Runtimes};
use crate::workloads::{connections_rate, percentiles, rate};
use crate::{figure, machine, Figure, Outcome};
use bytes::Bytes;
use gossip_async::testing::{free_identity, Free};
use gossip_async::{Comm, Crypto};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;

/// Number of simultaneous dials: a server refuses streams while too many others have not authenticated.
const GROUP: usize = 64;

/// The state of this process from one order to the next.
pub struct Process<'a> {
    options: &'a Options,
    runtimes: Option<Runtimes>,
    servers: Vec<Comm>,
    client: Option<Comm>,
    diallers: Vec<Comm>,
}

impl<'a> Process<'a> {
    pub fn new(options: &'a Options) -> Process<'a> {
        Process { options, runtimes: None, servers: Vec::new(), client: None, diallers: Vec::new() }
    }

    /// Returns `None` if it does not know the order.
    pub fn carry_out(&mut self, order: &Order) -> Option<Outcome<Vec<Figure>>> {
        let one = |metric, unit, value: f64| Ok(vec![figure(metric, unit, value)]);
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
            "stop" => self.stop(),
            "resident" => one("resident", "bytes", machine::resident() as f64),
            "threads" => one("threads", "threads", machine::threads() as f64),
            _ => return None,
        })
    }

    fn runtimes(&mut self) -> &Runtimes {
        self.runtimes.get_or_insert_with(|| Runtimes::new(self.options))
    }

    /// With `msp=1` as a real member, otherwise as one that accepts every peer.
    fn member(&self, order: &Order, name: &str) -> (Bytes, Arc<dyn Crypto>) {
        match order.number("msp") {
            Some(1) => (self.options.from.identity(), Arc::new(self.options.from.msp())),
            _ => (free_identity(name), Arc::new(Free)),
        }
    }

    /// Listens with one peer or `listeners=`, acknowledges messages that ask for it, and prints the endpoints. With
    /// `back=`, each sends this many messages of `size=` to the peer that first sends one that needs no acknowledgement.
    fn serve(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let payload = Bytes::from(vec![7; order.number("size").unwrap_or(0)]);
        let mut endpoints = Vec::new();
        for n in 0..order.number("listeners").unwrap_or(1) {
            let (options, member) = (self.options, self.member(order, &format!("server {n}")));
            let on = self.runtimes().to.clone();
            let server = layer::start(options, member, true, &on);
            let back = order.number("back");
            let back = back.map(|count| Back { comm: server.clone(), payload: payload.clone(), count });
            on.spawn(acknowledge(server.accept(|_| true), back));
            endpoints.push(server.local_addr().ok_or("it listens nowhere")?.to_string());
            self.servers.push(server);
        }
        println!("endpoint {}", endpoints.join(","));
        Ok(Vec::new())
    }

    fn connected(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let count = order.need("connections")?;
        let server = self.servers.first().cloned().ok_or("there is no server")?;
        wait(&self.runtimes().to, server.wait_for_connections(count));
        Ok(vec![figure("connections", "connections", count as f64)])
    }

    fn client(&mut self, order: &Order) -> Comm {
        if self.client.is_none() {
            let (options, member) = (self.options, self.member(order, "client"));
            let on = self.runtimes().from.clone();
            self.client = Some(layer::start(options, member, false, &on));
        }
        self.client.clone().expect("just made")
    }

    /// Creates peers that will dial, each with its own identity: they exist before memory is measured. Returns this many.
    fn create(&mut self, count: usize) -> &[Comm] {
        let (options, on) = (self.options, self.runtimes().from.clone());
        for n in self.diallers.len()..count {
            let who = (free_identity(&format!("peer {n}")), Arc::new(Free) as Arc<dyn Crypto>);
            self.diallers.push(layer::start(options, who, false, &on));
        }
        &self.diallers[..count]
    }

    fn dial(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (peer, count) = (order.peer()?, order.need("connections")?);
        let on = self.runtimes().from.clone();
        let diallers = self.create(count);
        let started = Instant::now();
        for group in diallers.chunks(GROUP) {
            let dialling: Vec<_> = group
                .iter()
                .cloned()
                .map(|comm| {
                    let peer = peer.clone();
                    on.spawn(async move { comm.connect(&peer).await.map(drop) })
                })
                .collect();
            for dialled in dialling {
                wait(&on, dialled).map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            }
        }
        Ok(vec![figure("rate", "connections/s", count as f64 / started.elapsed().as_secs_f64())])
    }

    /// Sends `count` messages to each of the peers in another process; from one peer, or from `connections=` at the same
    /// time.
    fn send(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (size, count, peers) = (order.need("size")?, order.need("count")?, order.peers()?);
        let on = self.runtimes().from.clone();
        let senders = match order.number("connections") {
            Some(connections) => self.create(connections).to_vec(),
            None => vec![self.client(order)],
        };
        let (payload, total) = (Bytes::from(vec![7; size]), senders.len() * peers.len() * count);
        let started = Instant::now();
        let sending: Vec<_> = senders
            .into_iter()
            .map(|sender| on.spawn(send_acknowledged(sender, peers.clone(), payload.clone(), count)))
            .collect();
        for sending in sending {
            wait(&on, sending).map_err(|e| e.to_string())??;
        }
        Ok(vec![rate(total, started.elapsed())])
    }

    /// Sends to a server that sends as much back; the messages of both count.
    fn exchange(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (size, count, peer) = (order.need("size")?, order.need("count")?, order.peer()?);
        let (client, on) = (self.client(order), self.runtimes().from.clone());
        let answers = client.accept(|message| message.message().message().nonce == 0);
        let started = Instant::now();
        let receiver = on.spawn(receive_all(answers, count));
        run(&on, send_acknowledged(client, vec![peer], vec![7; size].into(), count))??;
        wait(&on, receiver).map_err(|e| e.to_string())?;
        Ok(vec![rate(2 * count, started.elapsed())])
    }

    /// With `load=`, another peer of this process meanwhile sends messages of that size as fast as it can.
    fn round_trip(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (size, count, peer) = (order.need("size")?, order.need("count")?, order.peer()?);
        let (client, on) = (self.client(order), self.runtimes().from.clone());
        let mut noise = None;
        if let Some(load) = order.number("load") {
            let other = layer::start(self.options, (free_identity("other"), Arc::new(Free)), false, &on);
            let (peer, payload) = (peer.clone(), Bytes::from(vec![7; load]));
            wait(&on, acknowledged(&other, std::slice::from_ref(&peer), 0, &payload))?;
            noise = Some((on.spawn(send_all(other.clone(), peer, payload, usize::MAX)), other));
        }
        let times = run(&on, round_trips(client, peer, size, count));
        if let Some((sending, other)) = noise {
            sending.abort();
            drop(other);
        }
        times.map(percentiles)
    }

    fn handshakes(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (client, peer, count) = (self.client(order), order.peer()?, order.need("count")?);
        let on = self.runtimes().from.clone();
        let times = run(&on, async move {
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                let started = Instant::now();
                let handshake = client.handshake(&peer).await.map_err(|e| e.to_string())?;
                times.push(started.elapsed().as_secs_f64() * 1e6);
                assert!(handshake.confirmed);
            }
            Ok::<_, String>(times)
        });
        times?.map(percentiles)
    }

    fn churn(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (count, peer) = (order.need("count")?, order.peer()?);
        let on = self.runtimes().from.clone();
        let visitors = self.create(VISITORS).to_vec();
        let took = run(&on, visits(visitors, peer, count))??;
        Ok(vec![connections_rate(count, took)])
    }

    fn stop(&mut self) -> Outcome<Vec<Figure>> {
        for comm in self.client.take().into_iter().chain(self.diallers.drain(..)).chain(self.servers.drain(..)) {
            if let Some(runtimes) = &self.runtimes {
                wait(&runtimes.to, comm.stop());
            }
        }
        Ok(Vec::new())
    }
}

/// Runs it as a task, and waits for it.
fn run<T: Send + 'static>(on: &Handle, task: impl Future<Output = T> + Send + 'static) -> Outcome<T> {
    wait(on, on.spawn(task)).map_err(|e| e.to_string())
}
