//! How things end.

mod common;

use common::{block, number, pair, peer, soon, PATIENCE};
use gossip_async::ErrorKind;

#[tokio::test]
async fn stop_writes_what_is_queued_ends_subscriptions_and_may_come_twice() {
    let (a, b) = pair().await;
    let mut received = b.accept(|_| true);
    for n in 0..20 {
        a.send_timeout(&block(n), PATIENCE, &[peer(&b)]).await.unwrap();
    }
    soon(a.connect(&peer(&b))).await.unwrap();
    soon(async { tokio::join!(a.stop(), a.stop()) }).await;
    for n in 0..20 {
        assert_eq!(number(&soon(received.recv()).await.unwrap()), n);
    }
    soon(b.stop()).await;
    assert!(soon(received.recv()).await.is_none());
    let error = a.send(&block(0), &[peer(&b)]).unwrap_err();
    assert_eq!(error[0].1.kind(), ErrorKind::Stopped);
}

#[tokio::test]
async fn a_closed_connection_ends_on_both_sides_and_can_be_made_again() {
    let (a, b) = pair().await;
    let mut received = b.accept(|_| true);
    a.send(&block(1), &[peer(&b)]).unwrap();
    soon(received.recv()).await.unwrap();
    a.close_conn(&peer(&b));
    soon(b.wait_for_connections(0)).await;
    a.send(&block(2), &[peer(&b)]).unwrap();
    assert_eq!(number(&soon(received.recv()).await.unwrap()), 2);
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn a_dropped_comm_lets_go_of_its_peers() {
    let (a, b) = pair().await;
    soon(a.connect(&peer(&b))).await.unwrap();
    soon(b.wait_for_connections(1)).await;
    drop(a);
    soon(b.wait_for_connections(0)).await;
    soon(b.stop()).await;
}

#[tokio::test]
async fn stopping_ends_an_acknowledged_send() {
    let (a, b) = pair().await;
    let mut silent = b.accept(|_| true);
    let to = [peer(&b)];
    let limit = std::time::Duration::from_secs(3600);
    let message = gossip_async::wire::data(0, "mychannel", 1, "a block");
    let stop = async {
        silent.recv().await.unwrap();
        a.stop().await;
    };
    let (result, ()) = soon(async { tokio::join!(a.send_with_ack(message, limit, 1, &to), stop) }).await;
    assert_eq!(result[0].error.as_ref().unwrap().kind(), ErrorKind::Stopped);
    soon(b.stop()).await;
}
