//! Orders to this process as one of several: serve, dial, send to another process, and report the resources used.

use crate::layer::{self, acknowledge, round_trips, wait, CHANNEL, PATIENCE};
use crate::options::{Options, Order, Runtimes};
use crate::workloads::percentiles;
use crate::{figure, machine, Figure, Outcome};
use bytes::Bytes;
use gossip_async::testing::{free_identity, Free};
use gossip_async::{wire, Comm, Crypto, RemotePeer};
use std::sync::Arc;
use std::time::Instant;

/// Number of simultaneous dials: a server refuses streams while too many others have not authenticated.
const GROUP: usize = 64;

/// The state of this process from one order to the next.
pub struct Process<'a> {
    options: &'a Options,
    runtimes: Option<Runtimes>,
    server: Option<Comm>,
    client: Option<Comm>,
    diallers: Vec<Comm>,
}

impl<'a> Process<'a> {
    pub fn new(options: &'a Options) -> Process<'a> {
        Process { options, runtimes: None, server: None, client: None, diallers: Vec::new() }
    }

    pub fn knows(&self, name: &str) -> bool {
        let orders = ["serve", "connected", "create", "dial", "send", "round-trip-to", "handshake-with", "stop"];
        orders.contains(&name) || ["resident", "threads", "cpu"].contains(&name)
    }

    pub fn carry_out(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let one = |metric, unit, value: f64| Ok(vec![figure(metric, unit, value)]);
        match order.name.as_str() {
            "serve" => self.serve(order),
            "connected" => {
                let count = order.need("connections")?;
                let server = self.server.clone().ok_or("there is no server")?;
                wait(&self.runtimes().to, server.wait_for_connections(count));
                one("connections", "connections", count as f64)
            }
            "create" => self.create(order.need("connections")?),
            "dial" => self.dial(&order.endpoint()?, order.need("connections")?),
            "send" => self.send(order),
            "round-trip-to" => {
                let (size, count) = (order.need("size")?, order.need("count")?);
                let (client, peer) = (self.client(order), RemotePeer::new(order.endpoint()?));
                let on = self.runtimes().from.clone();
                let times = wait(&on, on.spawn(round_trips(client, peer, size, count)));
                times.map(percentiles).map_err(|e| e.to_string())
            }
            "handshake-with" => {
                let (client, peer) = (self.client(order), RemotePeer::new(order.endpoint()?));
                let started = Instant::now();
                let handshake = wait(&self.runtimes().from, client.handshake(&peer)).map_err(|e| e.to_string())?;
                let took = started.elapsed().as_secs_f64() * 1e6;
                Ok(vec![
                    figure("time", "us", took),
                    figure("confirmed", "bool", f64::from(u8::from(handshake.confirmed))),
                ])
            }
            "stop" => {
                for comm in self.server.take().into_iter().chain(self.client.take()).chain(self.diallers.drain(..)) {
                    if let Some(runtimes) = &self.runtimes {
                        wait(&runtimes.to, comm.stop());
                    }
                }
                Ok(Vec::new())
            }
            "resident" => one("resident", "bytes", machine::resident() as f64),
            "threads" => one("threads", "threads", machine::threads() as f64),
            _ => one("cpu", "ns", machine::cpu_nanos() as f64),
        }
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

    /// Listens, acknowledges messages that ask for it, and prints the endpoint.
    fn serve(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (options, member) = (self.options, self.member(order, "server"));
        let on = self.runtimes().to.clone();
        let server = layer::start(options, member, true, &on);
        on.spawn(acknowledge(server.accept(|_| true)));
        println!("endpoint {}", server.local_addr().ok_or("it listens nowhere")?);
        self.server = Some(server);
        Ok(Vec::new())
    }

    fn client(&mut self, order: &Order) -> Comm {
        if self.client.is_none() {
            let (options, member) = (self.options, self.member(order, "client"));
            let on = self.runtimes().from.clone();
            self.client = Some(layer::start(options, member, false, &on));
        }
        self.client.clone().expect("just made")
    }

    /// Creates peers that will dial, each with its own identity: they exist before memory is measured.
    fn create(&mut self, count: usize) -> Outcome<Vec<Figure>> {
        let (options, on) = (self.options, self.runtimes().from.clone());
        for n in self.diallers.len()..count {
            let who = (free_identity(&format!("peer {n}")), Arc::new(Free) as Arc<dyn Crypto>);
            self.diallers.push(layer::start(options, who, false, &on));
        }
        Ok(Vec::new())
    }

    fn dial(&mut self, endpoint: &str, count: usize) -> Outcome<Vec<Figure>> {
        self.create(count)?;
        let on = self.runtimes().from.clone();
        let peer = RemotePeer::new(endpoint);
        let started = Instant::now();
        for group in self.diallers[..count].chunks(GROUP) {
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

    /// Sends to another process; the last message is acknowledged, so all have arrived when it is.
    fn send(&mut self, order: &Order) -> Outcome<Vec<Figure>> {
        let (size, count) = (order.need("size")?, order.need("count")?);
        let (client, peer) = (self.client(order), RemotePeer::new(order.endpoint()?));
        let on = self.runtimes().from.clone();
        let payload = Bytes::from(vec![7; size]);
        let sending = on.spawn(async move {
            let acknowledged = async |number| {
                let message = wire::data(0, CHANNEL, number, payload.clone());
                let result = client.send_with_ack(message, PATIENCE, 1, std::slice::from_ref(&peer)).await;
                result.iter().find_map(|r| r.error.clone()).map_or(Ok(()), |e| Err(e.to_string()))
            };
            acknowledged(0).await?;
            let started = Instant::now();
            layer::send_all(client.clone(), peer.clone(), payload.clone(), count - 1).await;
            acknowledged(count as u64).await?;
            Ok::<_, String>(count as f64 / started.elapsed().as_secs_f64())
        });
        let rate = wait(&on, sending).map_err(|e| e.to_string())??;
        Ok(vec![figure("rate", "messages/s", rate)])
    }
}
