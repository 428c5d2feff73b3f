//! Two peers in one process, over mutual TLS on loopback: each sends the other a message and waits until it is
//! acknowledged. No async runtime, and nothing to set up: the organisation is made on the spot, in a temporary folder.
//!
//! `cargo run --release --example two_peers` prints:
//!
//! ```text
//! peer0 dials peer1 and sends
//!   received "hello" from Org1MSP
//!   {"successes":1}
//! peer1 answers over the same connection
//!   received "hello to you" from Org1MSP
//!   {"successes":1}
//! connections: 1 and 1
//! stopped
//! ```

use fabric_gossip::message::{self, Content};
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use fabric_gossip::{Comm, Error, ErrorKind, RemotePeer, Result};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

fn main() -> Result<()> {
    // An organisation with its own certificate authorities, and two members of it.
    let org = Org::new("Org1MSP", "org1.example.com")?;
    let peer0 = start(&org.peer("peer0")?)?;
    let peer1 = start(&org.peer("peer1")?)?;
    let at = |peer: &Comm| peer.local_addr().expect("it listens").to_owned();

    println!("peer0 dials peer1 and sends");
    // An endpoint is enough to reach a peer; the handshake authenticates it.
    exchange(&peer0, &RemotePeer::new(at(&peer1)), &peer1, "hello")?;

    println!("peer1 answers over the same connection");
    // A PKI-ID in addition requires this very peer.
    exchange(&peer1, &RemotePeer::with_id(at(&peer0), peer0.pki_id().clone()), &peer0, "hello to you")?;

    println!("connections: {} and {}", peer0.connection_count(), peer1.connection_count());
    peer0.stop();
    peer1.stop();
    println!("stopped");
    Ok(())
}

/// Starts a peer that listens on a free port of the loopback interface.
fn start(member: &Member) -> Result<Comm> {
    // A peer's MSP folder says who belongs to its organisation, and holds its own identity with the private key.
    let folder = std::env::temp_dir().join(format!("two_peers-{}-{}", std::process::id(), member.name));
    member.write_msp(&folder)?;
    let msp = Arc::new(Msp::load(&folder, &member.mspid)?);
    let signer = SigningIdentity::load(&msp, &folder, SystemTime::now())?;
    let _ = std::fs::remove_dir_all(&folder);
    let identity = signer.serialize();
    let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));

    // The TLS pair is another one than the identity; the handshake binds the two together. `Pem::file` reads files.
    let tls = Tls::new(TlsConfig::new(
        Pem::new("server.crt", member.tls_cert.clone()),
        Pem::new("server.key", member.tls_key.clone()),
        Pem::new("ca.crt", member.tls_ca_cert.clone()),
    ))?;
    Comm::builder(identity, crypto.clone(), crypto).listen("127.0.0.1:0").tls(tls).start()
}

/// Sends a text as a block's data and waits for the acknowledgement, which `to` gives on a separate thread.
fn exchange(from: &Comm, address: &RemotePeer, to: &Comm, text: &'static str) -> Result<()> {
    // Subscribes before anything is sent; the predicate selects the messages of this subscription.
    let inbox = to.subscribe(|m| matches!(m.message().content(), Some(Content::DataMsg(_))));
    let mapper = to.identity_mapper().clone();
    // `thread::spawn` would panic where no thread can be started.
    let receiver = thread::Builder::new().spawn(move || {
        let received = inbox.recv_timeout(Duration::from_secs(10))?;
        let Some(Content::DataMsg(data)) = received.message().content() else { unreachable!("the predicate") };
        let text = String::from_utf8_lossy(&data.payload.data);
        let org = mapper.org(&received.connection_info().id);
        println!("  received {text:?} from {}", org.map_or("an unknown organisation".into(), |o| o.to_string()));
        received.ack(None)
    });
    let receiver =
        receiver.map_err(|e| Error::new(ErrorKind::Full, format!("cannot start a thread (ulimit -u): {e}")))?;

    let block = message::data(0, "mychannel", 1, text);
    let result = from.send_with_ack(block, Duration::from_secs(10), 1, std::slice::from_ref(address));
    println!("  {result}");
    receiver.join().expect("the receiver does not panic")?;
    assert_eq!((result.ack_count(), result.nack_count()), (1, 0));
    Ok(())
}
