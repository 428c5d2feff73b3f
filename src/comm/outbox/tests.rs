use super::*;
use crate::proto::gossip::GossipMessage;

fn item(nonce: u64) -> Item {
    let message = SignedMessage::noop_sign(GossipMessage { nonce, ..Default::default() }).unwrap();
    Item::Message { message, tracker: None }
}

fn nonces<'a>(items: impl IntoIterator<Item = &'a Item>) -> Vec<u64> {
    let nonce = |item: &Item| match item {
        Item::Message { message, .. } => message.nonce(),
        Item::Greeting(_) => 0,
    };
    items.into_iter().map(nonce).collect()
}

#[test]
fn what_is_in_the_writers_hand_still_counts_and_comes_back_in_order() {
    let outbox = Outbox::new(3, 1 << 20, InlineWrites::default());
    let mut hand = VecDeque::new();
    (1..=2).for_each(|n| assert!(matches!(outbox.push(item(n), &Recent::new()), Ok(Taken::Queued))));
    assert!(outbox.take(&mut hand).is_none());
    assert!(outbox.push(item(3), &Recent::new()).is_ok());
    assert!(matches!(outbox.push(item(4), &Recent::new()), Err((_, NotTaken::Full))));
    outbox.settle(1, hand.pop_front().unwrap().len());
    assert!(outbox.push(item(4), &Recent::new()).is_ok());
    let (_, flushed) = outbox.when_flushed().unwrap();
    assert_eq!(nonces(&outbox.close(&mut hand)), [2, 3, 4]);
    assert!(flushed.try_recv().is_ok(), "reported is settled");
    assert!(matches!(outbox.push(item(5), &Recent::new()), Err((_, NotTaken::Closed))));
}

#[test]
fn senders_free_what_was_written_while_the_writer_works_and_nothing_stays_when_it_sleeps() {
    let outbox = Outbox::new(100, 1 << 20, InlineWrites::default());
    let push = |n| assert!(matches!(outbox.push(item(n), &Recent::new()), Ok(Taken::Queued)));
    let kept = || outbox.state.lock().spent.len();
    let mut spent = Vec::new();
    let mut write_all = || {
        let mut hand = VecDeque::new();
        outbox.take_queued(&mut hand, &mut spent);
        outbox.settle(hand.len(), hand.iter().map(Item::len).sum());
        spent.extend(hand);
    };
    (1..=FREED_TOGETHER as u64).for_each(push);
    write_all();
    push(100);
    write_all();
    assert_eq!(kept(), FREED_TOGETHER, "taken over with the next message");
    push(101);
    assert_eq!(kept(), 0, "freed by the sender");
    write_all();
    assert_eq!(kept(), 1);
    assert!(outbox.take(&mut VecDeque::new()).is_none());
    assert_eq!(kept(), 0, "the writer sleeps");
}

#[test]
fn an_idle_stream_is_lent_and_nobody_else_writes_meanwhile() {
    let outbox = Outbox::new(10, 1 << 20, InlineWrites::default());
    let mut hand = VecDeque::new();
    assert!(outbox.take(&mut hand).is_none());
    let Ok(Taken::Inline(first)) = outbox.push(item(1), &Recent::new()) else { panic!("not lent") };
    assert!(matches!(outbox.push(item(2), &Recent::new()), Ok(Taken::Queued)));
    assert!(outbox.take(&mut hand).is_none());
    assert!(hand.is_empty(), "the borrower's turn");
    outbox.unwritten(first);
    assert!(outbox.woken().try_recv().is_ok());
    assert!(outbox.take(&mut hand).is_none());
    assert_eq!(nonces(&hand), [1, 2]);
}

#[test]
fn a_sender_writes_inline_in_a_conversation_and_after_a_silence() {
    let micros = Duration::from_micros;
    let inline = InlineWrites::default();
    let allows = |size, pause, answered| inline.allows(size, pause, answered, Duration::MAX);
    assert!(allows(100, micros(50), true) && allows(100, micros(30_000), false));
    // A burst; a burst to many peers; a large message.
    assert!(!allows(100, micros(5), true) && !allows(100, micros(5_000), false) && !allows(5_000, Duration::MAX, true));
    // A message to many peers in turn, however long that takes.
    assert!(!inline.allows(100, micros(30_000), false, micros(5)) && inline.allows(100, micros(50), true, micros(5)));
    let outbox = Outbox::new(10, 1 << 20, InlineWrites::default());
    outbox.answered();
    outbox.take(&mut VecDeque::new());
    assert!(matches!(outbox.push(item(1), &Recent::new()), Ok(Taken::Inline(_))), "nothing was sent before");
    assert!(!outbox.answered.load(Ordering::Relaxed), "to be said anew after what was sent");
}

#[test]
fn a_lent_message_comes_back_to_the_writer_if_the_outbox_closes() {
    let outbox = Outbox::new(10, 1 << 20, InlineWrites::default());
    let mut hand = VecDeque::new();
    assert!(outbox.take(&mut hand).is_none());
    let Ok(Taken::Inline(lent)) = outbox.push(item(1), &Recent::new()) else { panic!("not lent") };
    assert!(outbox.close(&mut hand).is_empty());
    outbox.unwritten(lent);
    outbox.refuse_and_await_inline_write();
    assert_eq!(nonces(&outbox.close(&mut hand)), [1]);
    assert_eq!(outbox.owed(), 0);
}
