//! A stopped `Comm` leaves no threads in its process.

use crate::common::*;
use fabric_gossip::comm::RemotePeer;

/// Runs peers through most of their functions, and stops them.
fn live(net: &impl Form) {
    let [first, second] = ["first", "second"].map(|name| net.node(name));
    let inbox = second.inbox();
    let raw = Raw::connect(net, "raw", &first.endpoint);
    (1..=10).for_each(|n| first.send(&data(n), &[second.peer()]).unwrap());
    assert_eq!(next_nonces(&inbox, 10), Vec::from_iter(1..=10));
    first.handshake(&second.peer()).unwrap();
    let (refused, mute) = (net.refused(), net.mute());
    first.send(&data(11), &[&refused, &mute].map(|served| RemotePeer::new(&served.endpoint))).unwrap();
    let threads = threads();
    for name in ["gossip-write", "gossip-ids"] {
        assert!(threads.iter().any(|thread| thread == name), "{name} is not among {threads:?}: has it another name?");
    }
    drop(raw);
    first.leave(net);
    drop(second);
}

/// The names of the library's threads. (The system cuts them to 15 bytes.)
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("gossip")).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn no_thread_is_left_after_the_stop() {
    in_own_process!();
    live(&Memory::new());
    // The network's own threads, on which streams were accepted, end a moment later; those of a Comm have ended.
    assert_eq!(threads(), [""; 0]);
    #[cfg(feature = "c-core")]
    {
        live(&Grpc::new());
        // The thread that collects calls of the C core exists until the last call is over.
        eventually("every thread has ended", || threads().is_empty());
    }
    #[cfg(feature = "http2")]
    {
        live(&Nghttp2::new());
        // The thread that waits for the other side to close its connections waits for a second at most.
        eventually("every thread has ended", || threads().is_empty());
    }
}
