//! A host that itself defines identities and keeps the keys: no X.509 membership, and private keys that the
//! library never sees. Here a separate thread holds them; an HSM, a key service or a smart card fits the same way.
//!
//! Identities are names such as `red/alice`, and a directory that every peer has says which Ed25519 key belongs to
//! which name. TLS is unchanged: it carries the connection, and the handshake binds the identity to it.
//!
//! `cargo run --release --example custom_crypto` prints:
//!
//! ```text
//! alice identifies the answering peer: blue/bob, of blue
//! bob received "hello" from red/alice, of red
//! acknowledged: {"successes":1}
//! an impostor that claims to be red/alice fails to start
//! signatures made by alice's vault: 3
//! ```

use fabric_gossip::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::message::{self, Content};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use fabric_gossip::{Comm, Error, ErrorKind, RemotePeer, Result};
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::sign::{Signer, Verifier};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

/// A message to sign, and where the signature is to go.
type Request = (Vec<u8>, Sender<Result<Vec<u8>>>);

/// Holds a private key and signs on request: the only holder of the key.
struct Vault {
    requests: Sender<Request>,
    signatures: AtomicUsize,
}

impl Vault {
    fn open(key: PKey<Private>) -> Arc<Vault> {
        let (requests, inbox) = channel::<Request>();
        thread::spawn(move || {
            for (message, answer) in inbox {
                let signature = Signer::new_without_digest(&key).and_then(|mut s| s.sign_oneshot_to_vec(&message));
                let _ = answer.send(signature.map_err(broken));
            }
        });
        Arc::new(Vault { requests, signatures: AtomicUsize::new(0) })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let gone = || Error::new(ErrorKind::Internal, "the vault does not answer");
        let (answer, signature) = channel();
        self.requests.send((message.to_vec(), answer)).map_err(|_| gone())?;
        self.signatures.fetch_add(1, Ordering::Relaxed);
        // A limit of one's own: a vault that hangs must not hold up the connection that waits for it.
        signature.recv_timeout(Duration::from_secs(1)).map_err(|_| gone())?
    }
}

/// The service that the library calls, from several threads at the same time. It may block.
struct Service {
    directory: Arc<HashMap<String, PKey<Public>>>,
    vault: Arc<Vault>,
}

impl Service {
    fn key_of(&self, identity: &PeerIdentity) -> Result<&PKey<Public>> {
        let name = name_of(identity);
        self.directory
            .get(&name)
            .ok_or_else(|| Error::new(ErrorKind::Identity, format!("{name} is not in the directory")))
    }
}

impl CryptoService for Service {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        Some(PkiId::from(Sha256::digest(identity).as_slice()))
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        self.key_of(identity).map(drop)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.vault.sign(message)
    }

    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        let key = self.key_of(identity)?;
        let verified = Verifier::new_without_digest(key).and_then(|mut v| v.verify_oneshot(signature, message));
        match verified {
            Ok(true) => Ok(()),
            _ => Err(Error::new(ErrorKind::Signature, "The signature is invalid")),
        }
    }

    fn expiration(&self, _: &PeerIdentity) -> Result<Option<SystemTime>> {
        Ok(None)
    }
}

impl SecurityAdvisor for Service {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        self.key_of(identity).ok()?;
        name_of(identity).split_once('/').map(|(org, _)| OrgId::new(org))
    }
}

fn main() -> Result<()> {
    let keys: Vec<PKey<Private>> = (0..3).map(|_| PKey::generate_ed25519().map_err(broken)).collect::<Result<_>>()?;
    let directory = Arc::new(HashMap::from([
        ("red/alice".to_owned(), public(&keys[0])?),
        ("blue/bob".to_owned(), public(&keys[1])?),
    ]));
    let vaults: Vec<Arc<Vault>> = keys.into_iter().map(Vault::open).collect();
    let tls = Org::new("TLS", "example.com")?;
    let start = |name: &str, vault: &Arc<Vault>| start(name, vault, &directory, &tls);

    let alice = start("red/alice", &vaults[0])?;
    let bob = start("blue/bob", &vaults[1])?;
    let to_bob = RemotePeer::new(bob.local_addr().expect("it listens"));

    let asked = alice.handshake(&to_bob)?;
    let org = alice.identity_mapper().org(&asked.info.id).expect("just learnt");
    println!("alice identifies the answering peer: {}, of {org}", name_of(&asked.info.identity));

    let inbox = bob.subscribe(|m| matches!(m.message().content(), Some(Content::DataMsg(_))));
    let mapper = bob.identity_mapper().clone();
    let receiver = thread::spawn(move || {
        let received = inbox.recv_timeout(Duration::from_secs(10))?;
        let Some(Content::DataMsg(data)) = received.message().content() else { unreachable!("the predicate") };
        let (text, info) = (String::from_utf8_lossy(&data.payload.data), received.connection_info());
        let org = mapper.org(&info.id).expect("it authenticated");
        println!("bob received {text:?} from {}, of {org}", name_of(&info.identity));
        received.ack(None)
    });
    let block = message::data(0, "mychannel", 1, "hello");
    let result = alice.send_with_ack(block, Duration::from_secs(10), 1, std::slice::from_ref(&to_bob));
    receiver.join().expect("the receiver does not panic")?;
    println!("acknowledged: {result}");

    // The name is in the directory, the key is not the one that belongs to it.
    match start("red/alice", &vaults[2]).err() {
        Some(e) if e.kind() == ErrorKind::Signature => {
            println!("an impostor that claims to be red/alice fails to start");
        }
        other => panic!("{other:?}"),
    }
    println!("signatures made by alice's vault: {}", vaults[0].signatures.load(Ordering::Relaxed));
    Ok(())
}

fn start(name: &str, vault: &Arc<Vault>, directory: &Arc<HashMap<String, PKey<Public>>>, tls: &Org) -> Result<Comm> {
    let service = Arc::new(Service { directory: directory.clone(), vault: vault.clone() });
    let pair = tls.peer("host")?;
    let tls = Tls::new(TlsConfig::new(
        Pem::new("tls.crt", pair.tls_cert),
        Pem::new("tls.key", pair.tls_key),
        Pem::new("ca.crt", pair.tls_ca_cert),
    ))?;
    let identity = PeerIdentity::from(name.as_bytes());
    Comm::builder(identity, service.clone(), service).listen("127.0.0.1:0").tls(tls).start()
}

fn name_of(identity: &PeerIdentity) -> String {
    String::from_utf8_lossy(identity.as_bytes()).into_owned()
}

fn public(key: &PKey<Private>) -> Result<PKey<Public>> {
    key.raw_public_key().and_then(|raw| PKey::public_key_from_raw_bytes(&raw, Id::ED25519)).map_err(broken)
}

fn broken(e: openssl::error::ErrorStack) -> Error {
    Error::new(ErrorKind::Internal, "OpenSSL failed").with_source(e)
}
