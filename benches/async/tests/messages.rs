//! Sent messages arrive, in order, and nothing grows without bound.

mod common;

use common::{block, number, pair, peer, soon, start, PATIENCE};
use gossip_async::testing::Org;
use gossip_async::{ErrorKind, RemotePeer, SubscriptionOptions};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_in_order_both_ways_over_one_connection() {
    const MESSAGES: u64 = 5_000;
    let (a, b) = pair().await;
    let (mut at_a, mut at_b) = (a.accept(|_| true), b.accept(|_| true));
    // The dialled peer answers over the same connection.
    a.send(&block(0), &[peer(&b)]).unwrap();
    let first = soon(at_b.recv()).await.unwrap();
    let to_a = RemotePeer { pki_id: Some(first.connection_info().id.clone()), endpoint: String::new() };
    assert_eq!(first.connection_info().id, *a.pki_id());
    let to_b = peer(&b);
    let send = |from: gossip_async::Comm, to: RemotePeer| async move {
        for n in 1..=MESSAGES {
            from.send_timeout(&block(n), PATIENCE, std::slice::from_ref(&to)).await.unwrap();
        }
    };
    let (a2, b2) = (a.clone(), b.clone());
    let senders = [tokio::spawn(send(a2, to_b)), tokio::spawn(send(b2, to_a))];
    for n in 1..=MESSAGES {
        assert_eq!(number(&soon(at_a.recv()).await.unwrap()), n);
        assert_eq!(number(&soon(at_b.recv()).await.unwrap()), n);
    }
    for sender in senders {
        soon(sender).await.unwrap();
    }
    assert_eq!((a.connection_count(), b.connection_count()), (1, 1));
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn a_subscription_gets_what_it_asked_for() {
    let (a, b) = pair().await;
    let mut even = b.accept(|m| number(m).is_multiple_of(2));
    for n in 1..=4 {
        a.send_timeout(&block(n), PATIENCE, &[peer(&b)]).await.unwrap();
    }
    assert_eq!(number(&soon(even.recv()).await.unwrap()), 2);
    assert_eq!(number(&soon(even.recv()).await.unwrap()), 4);
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn a_slow_subscriber_holds_a_bounded_number_and_knows_what_it_missed() {
    let (a, b) = pair().await;
    let options = SubscriptionOptions { capacity: 8, wait: Duration::ZERO, ..SubscriptionOptions::default() };
    let slow = b.subscribe_with(&options, |_| true);
    let mut fast = b.accept(|_| true);
    for n in 1..=100 {
        a.send_timeout(&block(n), PATIENCE, &[peer(&b)]).await.unwrap();
    }
    for n in 1..=100 {
        assert_eq!(number(&soon(fast.recv()).await.unwrap()), n);
    }
    assert_eq!((slow.len(), slow.missed()), (8, 92));
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn a_full_queue_is_an_error_and_a_stopped_subscriber_holds_up_the_sender() {
    let (a, b) = pair().await;
    let options =
        SubscriptionOptions { capacity: 1, wait: Duration::from_secs(3600), ..SubscriptionOptions::default() };
    let mut stuck = b.subscribe_with(&options, |_| true);
    let large = |n| {
        let block = gossip_async::wire::data(0, "mychannel", n, vec![7; 1 << 20]);
        gossip_async::SignedMessage::unsigned(block)
    };
    let mut sent = 0;
    let limit = Duration::from_millis(500);
    while a.send_timeout(&large(sent), limit, &[peer(&b)]).await.is_ok() {
        sent += 1;
        assert!(sent < 200, "the sender is held up");
    }
    let full = a.send(&large(sent), &[peer(&b)]).unwrap_err();
    assert_eq!(full[0].1.kind(), ErrorKind::Full);
    for n in 0..sent {
        assert_eq!(number(&soon(stuck.recv()).await.unwrap()), n);
    }
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_taken() {
    let (a, b) = pair().await;
    let block = gossip_async::wire::data(0, "mychannel", 1, vec![7; 100 << 20]);
    let error = a.send(&gossip_async::SignedMessage::unsigned(block), &[peer(&b)]).unwrap_err();
    assert_eq!(error[0].1.kind(), ErrorKind::TooLarge);
    soon(async { tokio::join!(a.stop(), b.stop()) }).await;
}

#[tokio::test]
async fn a_newer_connection_of_a_peer_takes_the_place_of_the_older_one() {
    let org = Org::new("Org1MSP");
    let (member, b) = (org.member("a"), start(&org.member("b")).await);
    let mut received = b.accept(|_| true);
    let older = start(&member).await;
    older.send(&block(1), &[peer(&b)]).unwrap();
    assert_eq!(number(&soon(received.recv()).await.unwrap()), 1);
    // The same peer again, as after a crash.
    let newer = start(&member).await;
    newer.send(&block(2), &[peer(&b)]).unwrap();
    let second = soon(received.recv()).await.unwrap();
    assert_eq!(number(&second), 2);
    soon(older.wait_for_connections(0)).await;
    assert_eq!((newer.connection_count(), b.connection_count()), (1, 1));
    let mut answers = newer.accept(|_| true);
    let to = RemotePeer { endpoint: String::new(), pki_id: Some(second.connection_info().id.clone()) };
    b.send(&block(3), &[to]).unwrap();
    assert_eq!(number(&soon(answers.recv()).await.unwrap()), 3);
    soon(async { tokio::join!(older.stop(), newer.stop(), b.stop()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_dial_each_other_at_once_lose_nothing() {
    for round in 0..10 {
        let (a, b) = pair().await;
        let (mut at_a, mut at_b) = (a.accept(|_| true), b.accept(|_| true));
        for n in 0..20 {
            a.send(&block(n), &[peer(&b)]).unwrap();
            b.send(&block(n), &[peer(&a)]).unwrap();
        }
        for n in 0..20 {
            assert_eq!(number(&soon(at_a.recv()).await.unwrap()), n, "round {round}");
            assert_eq!(number(&soon(at_b.recv()).await.unwrap()), n, "round {round}");
        }
        soon(async { tokio::join!(a.stop(), b.stop()) }).await;
    }
}
