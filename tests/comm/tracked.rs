//! Acknowledged sends that do not hold up their caller.

use crate::common::*;
use fabric_gossip::comm::AckHandle;
use fabric_gossip::{message, ErrorKind};
use std::thread;
use std::time::Duration;

for_each_transport!(
    many_are_under_way_and_arrive_in_order,
    a_refusal_is_told_and_an_answer_is_given_once,
    what_is_not_answered_in_time_can_be_waited_for_again,
    an_unreachable_peer_is_told_at_once,
    a_full_queue_takes_nothing_more,
    a_dropped_handle_takes_nothing_back,
    a_stop_ends_the_wait,
);

/// With a limit beyond the range of a clock.
fn tracked(from: &Node, to: &Node, seq: u64) -> AckHandle {
    from.send_tracked(message::data(0, "channel", seq, vec![7; 10]), Duration::MAX, &to.peer()).unwrap()
}

fn many_are_under_way_and_arrive_in_order(net: &impl Form) {
    const COUNT: u64 = 2000;
    // Acknowledgements do not wait for room.
    let (sender, receiver) = (net.node("sender"), net.node_with("receiver", |c| c.send_buff_size = COUNT as usize));
    let inbox = receiver.inbox();
    thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 0..COUNT {
                let received = next(&inbox);
                assert!(format!("{:?}", received.message().content()).contains(&format!("seq_num: {seq},")));
                received.ack(None).unwrap();
            }
        });
        let handles: Vec<_> = (0..COUNT).map(|seq| tracked(&sender, &receiver, seq)).collect();
        for handle in handles {
            let result = handle.finish(PATIENCE);
            assert!(result.error.is_none(), "{:?}", result.error);
            assert!(result.round_trip.is_some_and(|t| t > Duration::ZERO));
            assert_eq!(result.peer, receiver.peer());
        }
    });
}

fn a_refusal_is_told_and_an_answer_is_given_once(net: &impl Form) {
    let (sender, receiver) = (net.node("sender"), net.node("receiver"));
    let inbox = receiver.inbox();
    let handle = tracked(&sender, &receiver, 0);
    next(&inbox).ack(Some("no room")).unwrap();
    let result = handle.wait(PATIENCE).unwrap();
    let error = result.error.unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Nack, "no room"));
    assert!(result.round_trip.is_some());
    assert!(handle.wait(Duration::ZERO).is_none());
}

fn what_is_not_answered_in_time_can_be_waited_for_again(net: &impl Form) {
    let (sender, receiver) = (net.node("sender"), net.node("receiver"));
    let inbox = receiver.inbox();
    let handle = tracked(&sender, &receiver, 0);
    let message = next(&inbox);
    assert!(handle.wait(Duration::ZERO).is_none());
    assert!(handle.wait(ms(10)).is_none());
    message.ack(None).unwrap();
    assert!(handle.wait(PATIENCE).unwrap().error.is_none());

    let silent = tracked(&sender, &receiver, 1);
    let error = silent.finish(ms(10)).error.unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "timed out"));
}

fn an_unreachable_peer_is_told_at_once(net: &impl Form) {
    let sender = net.node("sender");
    let nobody = net.refused();
    let peer = fabric_gossip::comm::RemotePeer::new(&nobody.endpoint);
    let handle = sender.send_tracked(data(0).message().clone(), PATIENCE, &peer).unwrap();
    let result = handle.wait(PATIENCE).unwrap();
    assert_eq!(result.error.unwrap().kind(), ErrorKind::Unreachable);
    assert!(result.round_trip.is_none());
}

fn a_full_queue_takes_nothing_more(net: &impl Form) {
    let sender = net.node_with("sender", |config| config.send_buff_size = 2);
    let mute = net.serve_without_ping();
    let peer = fabric_gossip::comm::RemotePeer::new(&mute.endpoint);
    let send = || sender.send_tracked(data(0).message().clone(), ms(10), &peer);
    let taken = [send().unwrap(), send().unwrap()];
    assert_eq!(send().unwrap_err().kind(), ErrorKind::Full);
    assert!(taken.iter().all(|handle| handle.wait(Duration::ZERO).is_none()));
}

fn a_dropped_handle_takes_nothing_back(net: &impl Form) {
    let (sender, receiver) = (net.node("sender"), net.node("receiver"));
    let inbox = receiver.inbox();
    drop(tracked(&sender, &receiver, 0));
    next(&inbox).ack(None).unwrap();
    let handle = tracked(&sender, &receiver, 1);
    next(&inbox).ack(None).unwrap();
    assert!(handle.wait(PATIENCE).unwrap().error.is_none());
}

fn a_stop_ends_the_wait(net: &impl Form) {
    let (sender, receiver) = (net.node("sender"), net.node("receiver"));
    let inbox = receiver.inbox();
    let handle = tracked(&sender, &receiver, 0);
    next(&inbox);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| handle.wait(PATIENCE).unwrap());
        sender.stop();
        assert_eq!(waiting.join().unwrap().error.unwrap().kind(), ErrorKind::Stopped);
    });
    let refused = sender.send_tracked(data(0).message().clone(), PATIENCE, &receiver.peer());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Stopped);
}
