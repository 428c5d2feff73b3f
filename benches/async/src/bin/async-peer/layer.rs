//! The layer as the main benchmark has it: `Comm`s over mutual TLS, and a subscriber at the receiving one.

use crate::options::{Options, Runtimes};
use crate::Outcome;
use bytes::Bytes;
use gossip_async::testing::{free_identity, Free, SIGNATURE};
use gossip_async::wire::{self, Content, SignedMessage};
use gossip_async::{Comm, Crypto, ReceivedMessage, RemotePeer, Subscription};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// The longest that anything here waits for room or an acknowledgement.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that a workload may take.
const LIMIT: Duration = Duration::from_secs(180);

pub const CHANNEL: &[u8] = b"mychannel";

/// Two `Comm`s and a subscriber at the second.
pub struct Layer {
    pub from: Comm,
    pub to: Comm,
    pub peer: RemotePeer,
    pub received: Subscription<ReceivedMessage>,
    pub runtimes: Runtimes,
}

impl Layer {
    /// Every identity is accepted and signatures are constant.
    pub fn new(options: &Options) -> Layer {
        let free = |name| (free_identity(name), Arc::new(Free) as Arc<dyn Crypto>);
        Layer::with(options, free("from"), free("to"))
    }

    /// Certificates are validated, and signatures ECDSA over P-256.
    pub fn with_msp(options: &Options) -> Layer {
        let msp = |m: &gossip_async::testing::Member| (m.identity(), Arc::new(m.msp()) as Arc<dyn Crypto>);
        Layer::with(options, msp(&options.from), msp(&options.to))
    }

    fn with(options: &Options, from: (Bytes, Arc<dyn Crypto>), to: (Bytes, Arc<dyn Crypto>)) -> Layer {
        let runtimes = Runtimes::new(options);
        let to = start(options, to, true, &runtimes.to);
        let received = to.accept(|_| true);
        let peer = RemotePeer::new(to.local_addr().expect("it listens").to_string());
        Layer { from: start(options, from, false, &runtimes.from), to, peer, received, runtimes }
    }

    /// Ends it; the figures are in.
    pub fn end(self) {
        let (from, to) = (self.from, self.to);
        let stopped = [
            self.runtimes.from.spawn(async move { from.stop().await }),
            self.runtimes.to.spawn(async move { to.stop().await }),
        ];
        for stopped in stopped {
            let _ = wait(&self.runtimes.to, stopped);
        }
    }
}

/// A `Comm` that does not report the validity of identities.
pub fn start(options: &Options, who: (Bytes, Arc<dyn Crypto>), listen: bool, on: &Handle) -> Comm {
    let builder = Comm::builder(who.0, who.1, options.tls()).config(options.config.clone());
    let builder = if listen { builder.listen("127.0.0.1:0") } else { builder };
    wait(on, on.spawn(builder.start())).expect("a task").expect("a Comm")
}

/// Waits, outside of the runtime, for a task on it.
pub fn wait<T>(on: &Handle, what: impl Future<Output = T>) -> T {
    on.block_on(async { tokio::time::timeout(LIMIT, what).await.expect("in time") })
}

/// A fresh message whose signature is a constant.
pub fn data(number: u64, payload: &Bytes) -> SignedMessage {
    let message = wire::data(0, CHANNEL, number, payload.clone());
    SignedMessage::sign(message, |_| Ok(SIGNATURE.to_vec())).expect("encodes")
}

fn sequence(received: &ReceivedMessage) -> Option<u64> {
    match received.message().content() {
        Some(Content::DataMsg(data)) => data.payload.as_ref().map(|payload| payload.seq_num),
        _ => None,
    }
}

/// Makes the connection, and warms it.
pub async fn warm(from: &Comm, peer: &RemotePeer, received: &mut Subscription<ReceivedMessage>, payload: &Bytes) {
    send(from, peer, 0, payload).await;
    received.recv().await.expect("arrives");
}

async fn send(from: &Comm, peer: &RemotePeer, number: u64, payload: &Bytes) {
    from.send_timeout(&data(number, payload), PATIENCE, std::slice::from_ref(peer)).await.expect("sent");
}

/// Sends this many messages as fast as it goes.
pub async fn send_all(from: Comm, peer: RemotePeer, payload: Bytes, count: usize) {
    for number in 0..count as u64 {
        send(&from, &peer, number, &payload).await;
    }
}

/// Sends this many messages to each peer; the last ones are acknowledged, so all have arrived when they are.
pub async fn send_acknowledged(from: Comm, peers: Vec<RemotePeer>, payload: Bytes, count: usize) -> Outcome {
    for number in 0..count as u64 - 1 {
        from.send_timeout(&data(number, &payload), PATIENCE, &peers).await.expect("sent");
    }
    acknowledged(&from, &peers, count as u64, &payload).await
}

/// Sends one message to the peers, and waits until all have acknowledged it.
pub async fn acknowledged(from: &Comm, peers: &[RemotePeer], number: u64, payload: &Bytes) -> Outcome {
    let message = wire::data(0, CHANNEL, number, payload.clone());
    let result = from.send_with_ack(message, PATIENCE, peers.len(), peers).await;
    if result.ack_count() == peers.len() {
        Ok(())
    } else {
        Err(format!("{result:?}"))
    }
}

/// Number of peers that take turns to connect, so that each one's earlier connection has ended.
pub const VISITORS: usize = 4;

/// Connects, sends an acknowledged message and disconnects, this many times. Returns the time.
pub async fn visits(from: Vec<Comm>, peer: RemotePeer, count: usize) -> Outcome<Duration> {
    let payload = Bytes::from(vec![7; 100]);
    let started = Instant::now();
    for (comm, number) in from.iter().cycle().zip(0..count as u64) {
        acknowledged(comm, std::slice::from_ref(&peer), number, &payload).await?;
        comm.close_conn(&peer);
    }
    Ok(started.elapsed())
}

/// Receives them: when the last one came.
pub async fn receive_all(mut received: Subscription<ReceivedMessage>, count: usize) -> Instant {
    for expected in 0..count as u64 {
        let message = received.recv().await.expect("arrives");
        assert_eq!(sequence(&message), Some(expected), "in order, and none lost");
    }
    assert_eq!(received.missed(), 0);
    Instant::now()
}

/// Messages that a receiver sends back.
pub struct Back {
    pub comm: Comm,
    pub payload: Bytes,
    pub count: usize,
}

/// Acknowledges messages that ask for it, until the end. When the first other message arrives, `back` is sent to its
/// sender, while receiving continues.
pub async fn acknowledge(mut received: Subscription<ReceivedMessage>, mut back: Option<Back>) {
    while let Some(message) = received.recv().await {
        if message.message().message().nonce != 0 {
            // The way back may be full for a moment.
            while message.ack(None).is_err_and(|e| e.kind() == gossip_async::ErrorKind::Full) {
                tokio::task::yield_now().await;
            }
        } else if let Some(Back { comm, payload, count }) = back.take() {
            let pki_id = Some(message.connection_info().id.clone());
            tokio::spawn(send_all(comm, RemotePeer { endpoint: String::new(), pki_id }, payload, count));
        }
    }
}

/// Acknowledged sends, one after the other: the time of each in microseconds.
pub async fn round_trips(from: Comm, peer: RemotePeer, size: usize, count: usize) -> Vec<f64> {
    let payload = Bytes::from(vec![7; size]);
    let mut times = Vec::with_capacity(count);
    for number in 0..count as u64 {
        let started = Instant::now();
        acknowledged(&from, std::slice::from_ref(&peer), number, &payload).await.expect("acknowledged");
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    times
}
