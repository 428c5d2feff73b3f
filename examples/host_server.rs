//! Gossip on a gRPC server that the program runs anyway: one port for the host's own service and for gossip.
//!
//! `cargo run --release --features host-server --example host_server` prints:
//!
//! ```text
//! the host's own service answers: "hello"
//! gossip on the same port: peer0 is there, of Org1MSP
//! after gossip stopped, the host's own service answers: "hello again"
//! ```

use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::transport::c_core::Options;
use fabric_gossip::transport::host::{self, HostTransport};
use fabric_gossip::transport::{Limits, Pem, Tls, TlsConfig};
use fabric_gossip::{Comm, CommBuilder, RemotePeer};
use grpcio::{CallOption, CertificateRequestType, ChannelBuilder, ChannelCredentialsBuilder, Client, Environment};
use grpcio::{Marshaller, Method, MethodType, RpcContext, ServerBuilder, ServerCredentialsBuilder, Service};
use grpcio::{ServiceBuilder, UnarySink};
use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

fn main() -> Result<(), Box<dyn Error>> {
    let org = Org::new("Org1MSP", "org1.example.com")?;
    let member = org.peer("peer0")?;

    // The host's server is to show the certificate that `tls` has for servers; `set_certificate` is for one that shows
    // another.
    let (limits, options) = (Limits::default(), Options::default());
    let gossip = HostTransport::new(Some(tls(&member)?), limits.clone(), options.clone())?;

    // The host's server, with a service of the host's and with ours.
    let env = Arc::new(Environment::new(2));
    let arguments = host::arguments(ChannelBuilder::new(env.clone()), &limits, &options)?;
    let credentials = ServerCredentialsBuilder::new()
        .root_cert(member.tls_ca_cert.clone(), CertificateRequestType::RequestClientCertificateButDontVerify)
        .add_cert(member.tls_cert.clone().into(), member.tls_key.clone().into())
        .build();
    let mut server = ServerBuilder::new(env.clone())
        .channel_args(arguments.build_args())
        .requests_slot_per_cq(32)
        .register_service(echo())
        .register_service(gossip.service())
        .build()?;
    let port = server.add_listening_port("127.0.0.1:0", credentials)?;
    server.start();
    let address = format!("127.0.0.1:{port}");

    // The peer serves the gossip streams of the host's server.
    let peer0 = peer(&member)?.transport(Arc::new(gossip)).listen(&address).start()?;

    let credentials = ChannelCredentialsBuilder::new().root_cert(member.tls_ca_cert.clone().into()).build();
    let client = Client::new(ChannelBuilder::new(env).set_credentials(credentials).connect(&address));
    let ask = |text: &str| client.unary_call(&echo_method(), &text.as_bytes().to_vec(), CallOption::default());
    println!("the host's own service answers: {:?}", String::from_utf8_lossy(&ask("hello")?));

    let member1 = org.peer("peer1")?;
    let peer1 = peer(&member1)?.tls(tls(&member1)?).start()?;
    let found = peer1.handshake(&RemotePeer::new(&address))?;
    assert_eq!(&found.info.id, peer0.pki_id());
    let mspid =
        peer1.identity_mapper().org(&found.info.id).map_or("an unknown organisation".into(), |org| org.to_string());
    println!("gossip on the same port: peer0 is there, of {mspid}");

    // Gossip ends without the server, and before it.
    peer1.stop();
    peer0.stop();
    println!(
        "after gossip stopped, the host's own service answers: {:?}",
        String::from_utf8_lossy(&ask("hello again")?)
    );
    Ok(())
}

/// A peer that is this member.
fn peer(member: &Member) -> fabric_gossip::Result<CommBuilder> {
    let folder = std::env::temp_dir().join(format!("host_server-{}-{}", std::process::id(), member.name));
    member.write_msp(&folder)?;
    let msp = Arc::new(Msp::load(&folder, &member.mspid)?);
    let signer = SigningIdentity::load(&msp, &folder, SystemTime::now())?;
    let _ = std::fs::remove_dir_all(&folder);
    let identity = signer.serialize();
    let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));
    Ok(Comm::builder(identity, crypto.clone(), crypto))
}

fn tls(member: &Member) -> fabric_gossip::Result<Tls> {
    Tls::new(TlsConfig::new(
        Pem::new("server.crt", member.tls_cert.clone()),
        Pem::new("server.key", member.tls_key.clone()),
        Pem::new("ca.crt", member.tls_ca_cert.clone()),
    ))
}

fn echo_method() -> Method<Vec<u8>, Vec<u8>> {
    let bytes = || Marshaller {
        ser: |message: &Vec<u8>, slice| {
            *slice = message.clone().into();
            Ok(())
        },
        de: |mut reader| {
            let mut message = Vec::new();
            reader.read_to_end(&mut message).map_err(|e| grpcio::Error::Codec(e.into()))?;
            Ok(message)
        },
    };
    Method { ty: MethodType::Unary, name: "/host.Echo/Echo", req_mar: bytes(), resp_mar: bytes() }
}

/// The host's own service: returns its request.
fn echo() -> Service {
    let answer = |ctx: RpcContext<'_>, message, sink: UnarySink<Vec<u8>>| {
        let answer = sink.success(message);
        ctx.spawn(async move { drop(answer.await) });
    };
    ServiceBuilder::new().add_unary_handler(&echo_method(), answer).build()
}
