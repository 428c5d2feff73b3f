//! Two peers of one organisation, over loopback.
#![allow(dead_code)]

use gossip_async::testing::{Member, Org};
use gossip_async::tls::Provider;
use gossip_async::wire::{self, Content, SignedMessage};
use gossip_async::{Comm, Config, Crypto, ReceivedMessage, RemotePeer};
use std::sync::Arc;
use std::time::Duration;

/// The longest that a test waits for an expected event.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn start_with(member: &Member, crypto: Arc<dyn Crypto>, config: Config) -> Comm {
    let builder = Comm::builder(member.identity(), crypto, member.tls(Provider::default()));
    builder.listen("127.0.0.1:0").config(config).start().await.unwrap()
}

pub async fn start(member: &Member) -> Comm {
    start_with(member, Arc::new(member.msp()), Config::default()).await
}

pub async fn pair() -> (Comm, Comm) {
    let org = Org::new("Org1MSP");
    (start(&org.member("a")).await, start(&org.member("b")).await)
}

pub fn peer(comm: &Comm) -> RemotePeer {
    RemotePeer::new(comm.local_addr().unwrap().to_string())
}

pub fn block(number: u64) -> SignedMessage {
    SignedMessage::unsigned(wire::data(0, "mychannel", number, vec![7; 100]))
}

pub fn number(received: &ReceivedMessage) -> u64 {
    match received.message().content() {
        Some(Content::DataMsg(data)) => data.payload.as_ref().unwrap().seq_num,
        other => panic!("not a block: {other:?}"),
    }
}

/// Waits, for a limited time.
pub async fn soon<T>(what: impl std::future::Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}
