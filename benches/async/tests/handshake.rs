//! Accepted and refused peers.

mod common;

use common::{pair, peer, soon, start, start_with};
use gossip_async::testing::{Member, Org};
use gossip_async::{Config, Crypto, ErrorKind, PkiId, RemotePeer, Result};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[tokio::test]
async fn both_sides_learn_who_is_there() {
    let (a, b) = pair().await;
    let info = soon(a.connect(&peer(&b))).await.unwrap();
    assert_eq!(info.id, *b.pki_id());
    soon(b.wait_for_connections(1)).await;
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn a_probing_handshake_is_confirmed_and_registers_nothing() {
    let (a, b) = pair().await;
    let handshake = soon(a.handshake(&peer(&b))).await.unwrap();
    assert!(handshake.confirmed);
    assert_eq!(handshake.info.id, *b.pki_id());
    assert_eq!((a.connection_count(), b.connection_count()), (0, 0));
    soon(a.probe(&peer(&b))).await.unwrap();
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

/// Signs something else.
struct Forger(gossip_async::crypto::Msp);

impl Crypto for Forger {
    fn pki_id(&self, identity: &bytes::Bytes) -> Option<PkiId> {
        self.0.pki_id(identity)
    }
    fn validate(&self, identity: &bytes::Bytes) -> Result<()> {
        self.0.validate(identity)
    }
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(b"something else")
    }
    fn verify(&self, identity: &bytes::Bytes, signature: &[u8], message: &[u8]) -> Result<()> {
        self.0.verify(identity, signature, message)
    }
}

#[tokio::test]
async fn a_wrong_signature_is_refused_by_either_side() {
    let org = Org::new("Org1MSP");
    let forger = org.member("forger");
    let bad = start_with(&forger, Arc::new(Forger(forger.msp())), Config::default()).await;
    let good = start(&org.member("good")).await;
    let refused = soon(good.connect(&peer(&bad))).await.unwrap_err();
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Refused, "The signature is invalid"));
    let refused = soon(bad.handshake(&peer(&good))).await.unwrap_err();
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Refused, "The signature is invalid"));
    assert_eq!(good.connection_count(), 0);
    soon(async { tokio::join!(good.stop(), bad.stop()) }).await;
}

#[tokio::test]
async fn another_organisation_is_refused() {
    let (ours, theirs) = (Org::new("Org1MSP"), Org::new("Org2MSP"));
    let stranger = Member { tls_ca: ours.member("x").tls_ca, ..theirs.member("stranger") };
    let (a, b) = (start(&ours.member("a")).await, start(&stranger).await);
    let refused = soon(b.handshake(&peer(&a))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Identity);
    assert_eq!((a.connection_count(), b.connection_count()), (0, 0));
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn another_peer_than_the_expected_one_is_refused() {
    let (a, b) = pair().await;
    let expected = RemotePeer { pki_id: Some(a.pki_id().clone()), ..peer(&b) };
    assert_eq!(soon(a.connect(&expected)).await.unwrap_err().kind(), ErrorKind::Identity);
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

/// A man in the middle who has a TLS certificate that both sides accept cannot succeed: the message that each signs
/// names the certificate it presented, and the other sees another one.
#[tokio::test]
async fn a_wrong_tls_hash_is_refused() {
    let org = Org::new("Org1MSP");
    let (a, b) = (start(&org.member("a")).await, start(&org.member("b")).await);
    let middle = relay(&org.member("middle"), peer(&b).endpoint).await;
    let refused = soon(a.connect(&RemotePeer::new(middle))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.message().contains("in remote hash of TLS cert, but got"), "{refused}");
    assert_eq!((a.connection_count(), b.connection_count()), (0, 0));
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

async fn relay(member: &Member, to: String) -> String {
    let chain = vec![CertificateDer::from_pem_slice(member.tls_cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(member.tls_key.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(member.tls_ca.as_bytes()).unwrap()).unwrap();
    let mut server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain.clone(), key.clone_key()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots);
    let mut client = client.with_client_auth_cert(chain, key).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut left = TlsAcceptor::from(Arc::new(server)).accept(tcp).await.unwrap();
        let tcp = TcpStream::connect(to).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut right = TlsConnector::from(Arc::new(client)).connect(name, tcp).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut left, &mut right).await;
    });
    addr
}
