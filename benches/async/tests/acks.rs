//! Acknowledged sends.

mod common;

use common::{pair, peer, soon, start, PATIENCE};
use gossip_async::testing::Org;
use gossip_async::{wire, ErrorKind, RemotePeer};
use std::time::{Duration, Instant};

fn block() -> wire::GossipMessage {
    wire::data(0, "mychannel", 1, "a block")
}

#[tokio::test]
async fn an_acknowledgement_can_be_given_once() {
    let (a, b) = pair().await;
    let mut blocks = b.accept(|_| true);
    let answer = async {
        let block = blocks.recv().await.unwrap();
        block.ack(None).unwrap();
        assert_eq!(block.clone().ack(None).unwrap_err().kind(), ErrorKind::AlreadyAcknowledged);
    };
    let to = [peer(&b)];
    let (result, ()) = soon(async { tokio::join!(a.send_with_ack(block(), PATIENCE, 1, &to), answer) }).await;
    assert_eq!((result.ack_count(), result.len()), (1, 1));
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn an_error_comes_back_as_the_peer_said_it() {
    let (a, b) = pair().await;
    let mut blocks = b.accept(|_| true);
    let answer = async { blocks.recv().await.unwrap().ack(Some("disk full")).unwrap() };
    let to = [peer(&b)];
    let (result, ()) = soon(async { tokio::join!(a.send_with_ack(block(), PATIENCE, 1, &to), answer) }).await;
    let error = result[0].error.as_ref().unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Nack, "disk full"));
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn one_deadline_covers_all_of_it() {
    let (a, b) = pair().await;
    let _silent = b.accept(|_| true);
    let limit = Duration::from_millis(300);
    let started = Instant::now();
    let result = soon(a.send_with_ack(block(), limit, 1, &[peer(&b)])).await;
    assert!(started.elapsed() >= limit);
    let error = result[0].error.as_ref().unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "timed out"));
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn who_cannot_be_reached_counts_at_once() {
    let org = Org::new("Org1MSP");
    let (a, gone) = (start(&org.member("a")).await, start(&org.member("gone")).await);
    let nobody = peer(&gone);
    soon(gone.stop()).await;
    let result = soon(a.send_with_ack(block(), Duration::from_secs(3600), 1, &[nobody])).await;
    assert_eq!(result[0].error.as_ref().unwrap().kind(), ErrorKind::Disconnected);
    soon(a.stop()).await;
}

#[tokio::test]
async fn enough_acknowledgements_end_the_wait() {
    let org = Org::new("Org1MSP");
    let a = start(&org.member("a")).await;
    let mut others = Vec::new();
    for name in ["b", "c", "d"] {
        others.push(start(&org.member(name)).await);
    }
    let to: Vec<RemotePeer> = others.iter().map(peer).collect();
    let mut blocks: Vec<_> = others[..2].iter().map(|other| other.accept(|_| true)).collect();
    let answers = async {
        for blocks in &mut blocks {
            blocks.recv().await.unwrap().ack(None).unwrap();
        }
    };
    // The third never answers.
    let limit = Duration::from_secs(3600);
    let (result, ()) = soon(async { tokio::join!(a.send_with_ack(block(), limit, 2, &to), answers) }).await;
    assert_eq!((result.ack_count(), result.nack_count()), (2, 0));
    for comm in others.iter().chain([&a]) {
        soon(comm.stop()).await;
    }
}

#[tokio::test]
async fn a_full_queue_counts_against_the_deadline_only() {
    let (a, b) = pair().await;
    let mut blocks = b.accept(|_| true);
    let to = [peer(&b)];
    // More at a time than the queue has room for.
    let sends: Vec<_> = (0..60)
        .map(|_| {
            let (a, to) = (a.clone(), to.clone());
            tokio::spawn(async move { a.send_with_ack(block(), PATIENCE, 1, &to).await.ack_count() })
        })
        .collect();
    for _ in 0..60 {
        let block = soon(blocks.recv()).await.unwrap();
        // The way back is bounded too.
        while let Err(full) = block.ack(None) {
            assert_eq!(full.kind(), ErrorKind::Full);
            tokio::task::yield_now().await;
        }
    }
    for send in sends {
        assert_eq!(soon(send).await.unwrap(), 1);
    }
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}
