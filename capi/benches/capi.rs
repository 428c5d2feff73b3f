//! The cost of the C interface: the same work through its functions, called as a C program calls them, and through the
//! Rust interface, in turns in one run. Two peers in one process over mutual TLS, identities by an MSP.
//!
//! `cargo bench -p fabric-gossip-capi --bench capi` prints the medians of the rounds and of their ratios; `-- --rounds
//! <n>` (9). Without `--bench`, which Cargo passes, it only checks that it works. Each turn has its own connections and
//! no others beside them, and the order changes from round to round.

/// The C interface itself: nothing can depend on a package that is a shared and a static library only.
#[allow(dead_code, unused_imports)]
#[path = "../src/lib.rs"]
mod interface;

use gossip::message::{self, SignedMessage};
use gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use gossip::testing::cryptogen::{Member, Org};
use gossip::transport::{Pem, Tls, TlsConfig};
use gossip::{Comm, RemotePeer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const PATIENCE: Duration = Duration::from_secs(30);
const CHANNEL: &str = "mychannel";
const PAYLOAD: [u8; 100] = [7; 100];

struct Plan {
    rounds: usize,
    round_trips: usize,
    messages: usize,
}

/// One turn of one interface.
struct Figures {
    /// Median of acknowledged sends, one after the other, in microseconds.
    round_trip: f64,
    messages_per_second: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        return;
    }
    let measure = args.iter().any(|a| a == "--bench") && !args.iter().any(|a| a == "--test");
    let given = args.iter().position(|a| a == "--rounds").and_then(|at| args.get(at + 1)?.parse().ok());
    let plan = match measure {
        true => Plan { rounds: given.unwrap_or(9), round_trips: 5_000, messages: 100_000 },
        false => Plan { rounds: 1, round_trips: 100, messages: 1_000 },
    };
    let material = Material::new();
    let (mut trips, mut rates) = (Ratios::default(), Ratios::default());
    for round in 0..plan.rounds {
        let c_first = round % 2 == 1;
        let early = c_first.then(|| c::turn(&material, &plan));
        let rust = rust::turn(&material, &plan);
        let c = early.unwrap_or_else(|| c::turn(&material, &plan));
        trips.add(c.round_trip, rust.round_trip);
        rates.add(c.messages_per_second, rust.messages_per_second);
    }
    println!("{:<34}{:>10}{:>10}   C / Rust (lowest – highest round)", "", "C", "Rust");
    trips.print("round trip, median, µs");
    rates.print("messages a second");
}

#[derive(Default)]
struct Ratios {
    c: Vec<f64>,
    rust: Vec<f64>,
    ratio: Vec<f64>,
}

impl Ratios {
    fn add(&mut self, c: f64, rust: f64) {
        self.c.push(c);
        self.rust.push(rust);
        self.ratio.push(c / rust);
    }

    fn print(&mut self, what: &str) {
        let (c, rust, ratio) = (median(&mut self.c), median(&mut self.rust), median(&mut self.ratio));
        let (low, high) = (self.ratio[0], self.ratio[self.ratio.len() - 1]);
        println!("{what:<34}{c:>10.1}{rust:>10.1}   {ratio:.3} ({low:.3} – {high:.3})");
    }
}

/// Sorts them.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// An organisation with two members, their MSP folders in a temporary folder.
struct Material {
    members: [Member; 2],
    folders: [PathBuf; 2],
}

impl Material {
    fn new() -> Material {
        let org = Org::new("Org1MSP", "org1.example.com").expect("an organisation");
        let members = ["peer0", "peer1"].map(|name| org.peer(name).expect("a member"));
        let folder = |member: &Member| {
            let folder = std::env::temp_dir().join(format!("capi-{}-{}", std::process::id(), member.name));
            member.write_msp(&folder).expect("a folder");
            folder
        };
        let folders = [folder(&members[0]), folder(&members[1])];
        Material { members, folders }
    }
}

impl Drop for Material {
    fn drop(&mut self) {
        for folder in &self.folders {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Times `plan.round_trips` calls of `send`.
fn round_trips(plan: &Plan, mut send: impl FnMut(u64)) -> f64 {
    let time = |number| {
        let started = Instant::now();
        send(number);
        started.elapsed().as_secs_f64() * 1e6
    };
    let mut times: Vec<f64> = (0..plan.round_trips as u64).map(time).collect();
    median(&mut times)
}

mod rust {
    use super::*;

    fn start(member: &Member, folder: &Path) -> Comm {
        let msp = Arc::new(Msp::load(folder, &member.mspid).expect("an MSP"));
        let signer = SigningIdentity::load(&msp, folder, SystemTime::now()).expect("an identity");
        let identity = signer.serialize();
        let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));
        let pem = |what: &str, text: &str| Pem::new(what, text);
        let (cert, key) = (pem("cert", &member.tls_cert), pem("key", &member.tls_key));
        let tls = Tls::new(TlsConfig::new(cert, key, pem("roots", &member.tls_ca_cert))).expect("TLS");
        Comm::builder(identity, crypto.clone(), crypto).listen("127.0.0.1:0").tls(tls).start().expect("a Comm")
    }

    pub fn turn(material: &Material, plan: &Plan) -> Figures {
        let [from, to] = [0, 1].map(|n| start(&material.members[n], &material.folders[n]));
        let peers = [RemotePeer::new(to.local_addr().expect("it listens"))];
        let received = to.subscribe(|_| true);
        let trip = |number| {
            let message = message::data(0, CHANNEL, number, PAYLOAD.to_vec());
            assert_eq!(from.send_with_ack(message, PATIENCE, 1, &peers).ack_count(), 1);
        };
        let round_trip = thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..plan.round_trips + 1 {
                    received.recv_timeout(PATIENCE).expect("arrives").ack(None).expect("acknowledged");
                }
            });
            // The connection is made.
            trip(0);
            round_trips(plan, trip)
        });
        let started = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..plan.messages {
                    received.recv_timeout(PATIENCE).expect("arrives");
                }
            });
            for number in 0..plan.messages as u64 {
                let message = message::data(0, CHANNEL, number, PAYLOAD.to_vec());
                let message = SignedMessage::noop_sign(message).expect("encodes");
                from.send_timeout(&message, PATIENCE, &peers).expect("sent");
            }
        });
        let messages_per_second = plan.messages as f64 / started.elapsed().as_secs_f64();
        from.stop();
        to.stop();
        Figures { round_trip, messages_per_second }
    }
}

/// As a C program does it. The declarations are those of include/fabric_gossip.h.
mod c {
    use super::*;
    use std::ffi::{c_char, c_void, CStr, CString};
    use std::ptr::{null, null_mut};

    #[repr(C)]
    struct Str {
        data: *const c_char,
        len: usize,
    }

    #[repr(C)]
    struct Peer {
        endpoint: *const c_char,
        pki_id: *const u8,
        pki_id_len: usize,
    }

    type Handle = *mut c_void;
    type Error = *mut *mut c_void;

    unsafe extern "C" {
        fn gossip_crypto_load(folder: *const c_char, mspid: *const c_char, crypto: *mut Handle, error: Error) -> u32;
        fn gossip_crypto_free(crypto: Handle);
        fn gossip_tls_config_new(config: *mut Handle, error: Error) -> u32;
        fn gossip_tls_config_set_pair(
            config: Handle,
            cert: *const u8,
            cert_len: usize,
            key: *const u8,
            key_len: usize,
            error: Error,
        ) -> u32;
        fn gossip_tls_config_add_roots(config: Handle, roots: *const u8, len: usize, error: Error) -> u32;
        fn gossip_tls_config_free(config: Handle);
        fn gossip_tls_new(config: Handle, tls: *mut Handle, error: Error) -> u32;
        fn gossip_tls_free(tls: Handle);
        fn gossip_config_new(config: *mut Handle, error: Error) -> u32;
        fn gossip_config_set_listen(config: Handle, address: *const c_char, error: Error) -> u32;
        fn gossip_config_set_tls(config: Handle, tls: Handle, error: Error) -> u32;
        fn gossip_config_free(config: Handle);
        fn gossip_comm_start(crypto: Handle, config: Handle, comm: *mut Handle, error: Error) -> u32;
        fn gossip_comm_local_addr(comm: Handle) -> Str;
        fn gossip_comm_accept(
            comm: Handle,
            options: *const c_void,
            predicate: *const c_void,
            user: *mut c_void,
            free: *const c_void,
            subscription: *mut Handle,
            error: Error,
        ) -> u32;
        fn gossip_comm_send_timeout(
            comm: Handle,
            message: Handle,
            timeout: u64,
            peers: *const Peer,
            peer_count: usize,
            error: Error,
        ) -> u32;
        fn gossip_comm_send_with_ack(
            comm: Handle,
            message: Handle,
            timeout: u64,
            min_ack: usize,
            peers: *const Peer,
            peer_count: usize,
            acks: *mut usize,
            error: Error,
        ) -> u32;
        fn gossip_comm_stop(comm: Handle, drain: u64, error: Error) -> u32;
        fn gossip_comm_free(comm: Handle);
        fn gossip_message_new_data(
            channel: *const c_char,
            seq_num: u64,
            data: *const u8,
            len: usize,
            message: *mut Handle,
            error: Error,
        ) -> u32;
        fn gossip_message_free(message: Handle);
        fn gossip_subscription_recv(subscription: Handle, timeout: u64, event: *mut Handle, error: Error) -> u32;
        fn gossip_subscription_free(subscription: Handle);
        fn gossip_event_ack(event: Handle, text: *const c_char, error: Error) -> u32;
        fn gossip_event_free(event: Handle);
        fn gossip_error_message(error: Handle) -> Str;
    }

    const NANOSECONDS: u64 = PATIENCE.as_nanos() as u64;

    /// A call that has to succeed.
    fn check(call: impl FnOnce(Error) -> u32) {
        let mut error = null_mut();
        if call(&mut error) != 0 {
            // SAFETY: after a failure it is an error, whose text ends with a zero byte.
            panic!("{:?}", unsafe { CStr::from_ptr(gossip_error_message(error).data) });
        }
    }

    /// A call that has to give a handle.
    fn made(call: impl FnOnce(*mut Handle, Error) -> u32) -> Handle {
        let mut handle = null_mut();
        check(|error| call(&mut handle, error));
        handle
    }

    /// A handle that several threads use, as its functions allow.
    #[derive(Clone, Copy)]
    struct Shared(Handle);

    // SAFETY: a subscription, whose functions are thread-safe.
    unsafe impl Send for Shared {}

    impl Shared {
        fn handle(self) -> Handle {
            self.0
        }
    }

    // SAFETY, for all that follows: the handles are from the functions that make them, used as the header says and
    // freed once; texts end with a zero byte, and lengths are those of the data pointed to.

    fn start(member: &Member, folder: &Path) -> Handle {
        let text = |text: &str| CString::new(text).expect("no zero byte");
        let (folder, mspid) = (text(folder.to_str().expect("UTF-8")), text(&member.mspid));
        let (cert, key, roots) = (&member.tls_cert, &member.tls_key, &member.tls_ca_cert);
        unsafe {
            let crypto = made(|crypto, e| gossip_crypto_load(folder.as_ptr(), mspid.as_ptr(), crypto, e));
            let files = made(|files, e| gossip_tls_config_new(files, e));
            check(|e| gossip_tls_config_set_pair(files, cert.as_ptr(), cert.len(), key.as_ptr(), key.len(), e));
            check(|e| gossip_tls_config_add_roots(files, roots.as_ptr(), roots.len(), e));
            let tls = made(|tls, e| gossip_tls_new(files, tls, e));
            let config = made(|config, e| gossip_config_new(config, e));
            check(|e| gossip_config_set_listen(config, c"127.0.0.1:0".as_ptr(), e));
            check(|e| gossip_config_set_tls(config, tls, e));
            let comm = made(|comm, e| gossip_comm_start(crypto, config, comm, e));
            gossip_config_free(config);
            gossip_tls_free(tls);
            gossip_tls_config_free(files);
            gossip_crypto_free(crypto);
            comm
        }
    }

    fn new_message(number: u64) -> Handle {
        let channel = c"mychannel".as_ptr();
        made(|m, e| unsafe { gossip_message_new_data(channel, number, PAYLOAD.as_ptr(), PAYLOAD.len(), m, e) })
    }

    fn receive(subscription: Shared, count: usize, ack: bool) {
        for _ in 0..count {
            unsafe {
                let event = made(|event, e| gossip_subscription_recv(subscription.handle(), NANOSECONDS, event, e));
                if ack {
                    check(|e| gossip_event_ack(event, null(), e));
                }
                gossip_event_free(event);
            }
        }
    }

    pub fn turn(material: &Material, plan: &Plan) -> Figures {
        let [from, to] = [0, 1].map(|n| start(&material.members[n], &material.folders[n]));
        let accept = |received, e| unsafe { gossip_comm_accept(to, null(), null(), null_mut(), null(), received, e) };
        let received = Shared(made(accept));
        let endpoint = unsafe { gossip_comm_local_addr(to) };
        assert!(endpoint.len > 0);
        let peer = Peer { endpoint: endpoint.data, pki_id: null(), pki_id_len: 0 };
        let trip = |number| unsafe {
            let message = new_message(number);
            let mut acks = 0;
            check(|e| gossip_comm_send_with_ack(from, message, NANOSECONDS, 1, &peer, 1, &mut acks, e));
            assert_eq!(acks, 1);
            gossip_message_free(message);
        };
        let round_trip = thread::scope(|scope| {
            scope.spawn(move || receive(received, plan.round_trips + 1, true));
            // The connection is made.
            trip(0);
            round_trips(plan, trip)
        });
        let started = Instant::now();
        thread::scope(|scope| {
            scope.spawn(move || receive(received, plan.messages, false));
            for number in 0..plan.messages as u64 {
                let message = new_message(number);
                check(|e| unsafe { gossip_comm_send_timeout(from, message, NANOSECONDS, &peer, 1, e) });
                unsafe { gossip_message_free(message) };
            }
        });
        let messages_per_second = plan.messages as f64 / started.elapsed().as_secs_f64();
        unsafe {
            check(|e| gossip_comm_stop(from, 0, e));
            check(|e| gossip_comm_stop(to, 0, e));
            gossip_subscription_free(received.handle());
            gossip_comm_free(from);
            gossip_comm_free(to);
        }
        Figures { round_trip, messages_per_second }
    }
}
