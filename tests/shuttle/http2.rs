//! The HTTP/2 transport in plain text over sockets in memory: who reads, who writes, who is woken. A wait without a
//! wake-up is a deadlock here, since time limits above 100 ms do not pass.

use crate::support::{check, eventually, task, together, LIMIT};
use bytes::Bytes;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::http2::{descriptors, sever, Http2Transport, Options};
use fabric_gossip::transport::{code, Acceptor, Connection, Limits, Server, Status, Stream, StreamEnd, Transport};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::mpsc::{channel, Receiver, Sender};
use shuttle::sync::Mutex;
use shuttle::thread;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

/// Size in bytes of a message of which the smallest window takes two.
const BIG: usize = 30_000;

/// Serves streams with a function, and counts those that were served to their end.
struct Handler<F> {
    serve: F,
    served: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
}

impl<F: Fn(Arc<dyn Stream>) + Send + Sync> Acceptor for Handler<F> {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        if catch_unwind(AssertUnwindSafe(|| (self.serve)(stream))).is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        self.served.fetch_add(1, Ordering::SeqCst);
        Status::ok()
    }
}

fn transport() -> Http2Transport {
    let mut limits = Limits::default();
    (limits.keepalive_time, limits.keepalive_timeout, limits.max_connection_idle) = (LIMIT, LIMIT, LIMIT);
    limits.handshake_timeout = LIMIT;
    let mut options = Options::default();
    (options.spin, options.stream_window) = (Duration::ZERO, 65_535);
    Http2Transport::new(None, limits, options).unwrap()
}

/// Runs `client` with a connection to a server that serves `streams` streams with `serve`. All of them end without a
/// stop of the server, and nothing is left afterwards.
fn connected(
    streams: usize,
    serve: impl Fn(Arc<dyn Stream>) + Send + Sync + 'static,
    client: impl FnOnce(Box<dyn Connection>, &dyn Server),
) {
    let (served, failed) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
    let (near, far) = (transport(), transport());
    let handler = Handler { serve, served: served.clone(), failed: failed.clone() };
    let server = far.listen("127.0.0.1:0", Arc::new(handler)).unwrap();
    let connection = near.dial(server.local_addr(), LIMIT, &Cancel::new()).unwrap();
    client(connection, &*server);
    eventually(|| served.load(Ordering::SeqCst) == streams);
    assert!(!failed.load(Ordering::SeqCst), "the server's side failed");
    assert!(server.stop(Duration::ZERO));
    drop((near, far, server));
    eventually(|| descriptors() == 0);
}

/// A channel whose receiver several threads may have.
fn signals() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (sender, receiver) = channel();
    (sender, Mutex::new(receiver))
}

fn message(number: u8, size: usize) -> Bytes {
    Bytes::from(vec![number; size])
}

fn send_all(stream: &dyn Stream, numbers: std::ops::Range<u8>, size: usize) -> Result<(), StreamEnd> {
    numbers.into_iter().try_for_each(|number| stream.send(message(number, size)))
}

/// Receives these messages, which come in order.
fn receive_all(stream: &dyn Stream, numbers: std::ops::Range<u8>, size: usize) {
    for number in numbers {
        let received = stream.recv(None).unwrap().unwrap();
        assert!(received == message(number, size), "{:?} instead of {number}", received.first());
    }
}

/// Receives to the end of the stream.
fn end_of(stream: &dyn Stream) -> StreamEnd {
    loop {
        if let Err(end) = stream.recv(None) {
            return end;
        }
    }
}

/// Sends messages that need window again and again, and receives as many.
fn exchange(stream: &dyn Stream) {
    together([task(|| send_all(stream, 0..4, BIG).unwrap()), task(|| receive_all(stream, 0..4, BIG))]);
}

#[test]
fn messages_arrive_once_and_in_order_in_both_directions() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            exchange(&*stream);
            assert_eq!(end_of(&*stream), StreamEnd::Remote(Status::ok()));
        };
        connected(1, serve, |connection, _| {
            let stream = connection.open(None).unwrap();
            exchange(&*stream);
            stream.finish(&Status::ok()).unwrap();
            assert_eq!(end_of(&*stream), StreamEnd::Remote(Status::ok()));
        });
    });
}

#[test]
fn a_writer_goes_on_when_its_window_is_returned() {
    check(|| {
        let (open, opened) = signals();
        let serve = move |stream: Arc<dyn Stream>| {
            opened.lock().unwrap().recv().unwrap();
            receive_all(&*stream, 0..5, BIG);
            assert_eq!(end_of(&*stream), StreamEnd::Remote(Status::ok()));
        };
        connected(1, serve, |connection, _| {
            let stream = connection.open(None).unwrap();
            stream.start_send(message(0, BIG)).unwrap();
            // Nobody reads the accepted end now, except the steward, and nobody this one, except this thread.
            assert!(stream.wait_sent(None).unwrap());
            stream.start_send(message(1, BIG)).unwrap();
            assert!(stream.wait_sent(None).unwrap());
            open.send(()).unwrap();
            send_all(&*stream, 2..5, BIG).unwrap();
            stream.finish(&Status::ok()).unwrap();
            assert_eq!(end_of(&*stream), StreamEnd::Remote(Status::ok()));
        });
    });
}

#[test]
fn a_writer_without_window_does_not_keep_back_the_window_of_its_peer() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            // Takes nothing until everything is sent.
            send_all(&*stream, 0..6, BIG).unwrap();
            receive_all(&*stream, 0..4, BIG);
        };
        connected(1, serve, |connection, _| {
            let stream = connection.open(None).unwrap();
            let receive = || {
                for number in 0..6 {
                    receive_all(&*stream, number..number + 1, BIG);
                    // The writer finds nothing to do meanwhile.
                    (0..20).for_each(|_| thread::yield_now());
                }
            };
            together([task(|| send_all(&*stream, 0..4, BIG).unwrap()), task(receive)]);
            assert_eq!(end_of(&*stream), StreamEnd::Remote(Status::ok()));
        });
    });
}

#[test]
fn a_ping_is_answered_while_a_writer_has_no_window() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| send_all(&*stream, 0..3, BIG).unwrap();
        connected(1, serve, |connection, _| {
            let stream = connection.open(None).unwrap();
            (0..2).for_each(|_| connection.ping(LIMIT).unwrap());
            receive_all(&*stream, 0..3, BIG);
        });
    });
}

#[test]
fn the_reader_that_leaves_hands_over_to_those_that_wait() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            while let Ok(Some(message)) = stream.recv(None) {
                stream.send(message).unwrap();
            }
        };
        connected(3, serve, |connection, _| {
            let streams = [(); 3].map(|()| connection.open(None).unwrap());
            let converse = |stream: &Arc<dyn Stream>, count: u8| {
                for number in 0..count {
                    stream.send(message(number, 10)).unwrap();
                    receive_all(&**stream, number..number + 1, 10);
                }
            };
            together([
                task(|| converse(&streams[0], 1)),
                task(|| converse(&streams[1], 2)),
                task(|| converse(&streams[2], 3)),
            ]);
        });
    });
}

#[test]
fn a_reader_with_a_time_limit_leaves_and_returns_beside_another() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            while let Ok(Some(message)) = stream.recv(None) {
                stream.send(message).unwrap();
            }
        };
        connected(2, serve, |connection, _| {
            let streams = [(); 2].map(|()| connection.open(None).unwrap());
            send_all(&*streams[0], 0..2, 10).unwrap();
            send_all(&*streams[1], 0..1, 10).unwrap();
            together([
                task(|| receive_all(&*streams[0], 0..2, 10)),
                task(|| {
                    let attempt = || streams[1].recv(Some(Duration::from_millis(1))).unwrap();
                    let received = std::iter::repeat_with(attempt).flatten().next();
                    assert_eq!(received, Some(message(0, 10)));
                }),
            ]);
        });
    });
}

#[test]
fn the_steward_reads_while_nobody_does_and_gives_the_role_back() {
    check(|| {
        let (open, opened) = signals();
        let serve = move |stream: Arc<dyn Stream>| {
            for number in 0..2 {
                receive_all(&*stream, number..number + 1, 10);
                stream.send(message(number, 10)).unwrap();
                // Meanwhile the steward answers the ping.
                opened.lock().unwrap().recv().unwrap();
            }
        };
        connected(1, serve, |connection, _| {
            connection.ping(LIMIT).unwrap();
            let stream = connection.open(None).unwrap();
            for number in 0..2 {
                stream.send(message(number, 10)).unwrap();
                receive_all(&*stream, number..number + 1, 10);
                connection.ping(LIMIT).unwrap();
                open.send(()).unwrap();
            }
            assert_eq!(end_of(&*stream), StreamEnd::Remote(Status::ok()));
        });
    });
}

#[test]
fn what_is_left_to_the_holder_of_the_write_turn_is_sent() {
    check(|| {
        let (received, arrivals) = channel();
        let received = Mutex::new(received);
        let serve = move |stream: Arc<dyn Stream>| {
            receive_all(&*stream, 0..1, 100);
            received.lock().unwrap().send(()).unwrap();
            end_of(&*stream);
        };
        connected(3, serve, |connection, _| {
            let streams = [(); 3].map(|()| connection.open(None).unwrap());
            together([
                task(|| streams[0].start_send(message(0, 100)).unwrap()),
                task(|| streams[1].start_send(message(0, 100)).unwrap()),
                task(|| send_all(&*streams[2], 0..1, 100).unwrap()),
            ]);
            // Nobody uses this end meanwhile, so that what was left unsent would stay unsent.
            (0..3).for_each(|_| arrivals.recv().unwrap());
        });
    });
}

#[test]
fn a_writer_that_gives_up_leaves_nothing_of_other_streams_unsent() {
    check(|| {
        let (received, arrivals) = channel();
        let received = Mutex::new(received);
        let serve = move |stream: Arc<dyn Stream>| match stream.recv(None).unwrap() {
            Some(first) if first[0] == 0 => stream.cancel(),
            _ => {
                received.lock().unwrap().send(()).unwrap();
                end_of(&*stream);
            }
        };
        connected(2, serve, |connection, _| {
            let streams = [(); 2].map(|()| connection.open(None).unwrap());
            together([
                task(|| drop(send_all(&*streams[0], 0..5, BIG))),
                task(|| streams[1].start_send(message(9, BIG)).unwrap()),
            ]);
            // Nobody uses this end meanwhile.
            arrivals.recv().unwrap();
        });
    });
}

#[test]
fn a_cancel_by_the_client_ends_all_waits() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            let [sent, received] = together([task(|| send_all(&*stream, 0..5, BIG)), task(|| Err(end_of(&*stream)))]);
            for end in [sent, received] {
                assert!(matches!(&end, Err(StreamEnd::Lost(status)) if status.code == code::CANCELLED), "{end:?}");
            }
        };
        connected(1, serve, |connection, _| {
            let stream = connection.open(None).unwrap();
            let ends = together([
                task(|| send_all(&*stream, 0..5, BIG).err().unwrap_or(StreamEnd::Local)),
                task(|| {
                    // One of them, so that the server waits for window.
                    if let Err(end) = stream.recv(None) {
                        return end;
                    }
                    stream.cancel();
                    end_of(&*stream)
                }),
                task(|| {
                    stream.cancel();
                    StreamEnd::Local
                }),
            ]);
            assert_eq!(ends, [StreamEnd::Local, StreamEnd::Local, StreamEnd::Local]);
        });
    });
}

#[test]
fn a_cancel_by_the_server_ends_all_waits() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            let [sent, received, _] = together([
                task(|| send_all(&*stream, 0..5, BIG).err()),
                task(|| Some(end_of(&*stream))),
                task(|| {
                    stream.cancel();
                    None
                }),
            ]);
            assert!(sent.is_none_or(|end| end == StreamEnd::Local));
            assert_eq!(received, Some(StreamEnd::Local));
        };
        connected(1, serve, |connection, _| {
            let stream = connection.open(None).unwrap();
            let ends = together([task(|| send_all(&*stream, 0..5, BIG).err()), task(|| Some(end_of(&*stream)))]);
            for end in ends.into_iter().flatten() {
                assert!(matches!(&end, StreamEnd::Remote(status) if status.code == code::CANCELLED), "{end:?}");
            }
        });
    });
}

#[test]
fn the_loss_of_a_connection_wakes_everybody() {
    fn is_lost(result: Result<(), StreamEnd>) {
        assert!(matches!(result, Ok(()) | Err(StreamEnd::Lost(_))), "{result:?}");
    }
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            together([task(|| is_lost(send_all(&*stream, 0..5, BIG))), task(|| is_lost(Err(end_of(&*stream))))]);
        };
        connected(1, serve, |connection, _| {
            let stream = connection.open(None).unwrap();
            together([
                task(|| is_lost(send_all(&*stream, 0..5, BIG))),
                task(|| {
                    assert_eq!(stream.recv(None).unwrap(), Some(message(0, BIG)));
                    sever();
                    is_lost(Err(end_of(&*stream)));
                }),
                task(move || drop(connection.ping(LIMIT))),
            ]);
        });
    });
}

#[test]
fn a_client_that_lets_go_of_its_connection_ends_the_waits_of_the_server() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            let [sent, received] = together([task(|| send_all(&*stream, 0..5, BIG)), task(|| Err(end_of(&*stream)))]);
            assert!(matches!(sent, Err(StreamEnd::Lost(_))), "{sent:?}");
            assert!(matches!(received, Err(StreamEnd::Lost(_))), "{received:?}");
        };
        connected(1, serve, |connection, _| {
            let stream = connection.open(None).unwrap();
            stream.start_send(message(0, BIG)).unwrap();
            together([task(move || drop(connection)), task(move || drop(stream))]);
        });
    });
}

#[test]
fn a_stop_of_the_server_ends_streams_and_dials() {
    check(|| {
        let serve = |stream: Arc<dyn Stream>| {
            let ends = together([task(|| send_all(&*stream, 0..5, BIG).err()), task(|| Some(end_of(&*stream)))]);
            let ours = |end: &StreamEnd| matches!(end, StreamEnd::Local | StreamEnd::Lost(_));
            assert!(ends.iter().flatten().all(ours), "{ends:?}");
        };
        connected(1, serve, |connection, server| {
            let stream = connection.open(None).unwrap();
            let second = transport();
            stream.send(message(0, 10)).unwrap();
            assert!(stream.recv(None).is_ok());
            together([
                task(|| drop(send_all(&*stream, 1..6, BIG))),
                task(|| drop(end_of(&*stream))),
                task(|| drop(second.dial(server.local_addr(), LIMIT, &Cancel::new()))),
                task(|| assert!(server.stop(Duration::ZERO))),
            ]);
        });
    });
}

#[test]
fn a_graceful_stop_waits_for_streams_that_end() {
    check(|| {
        connected(
            1,
            |stream| exchange(&*stream),
            |connection, server| {
                let stream = connection.open(None).unwrap();
                stream.send(message(0, BIG)).unwrap();
                assert_eq!(stream.recv(None).unwrap(), Some(message(0, BIG)));
                together([
                    task(|| {
                        together([
                            task(|| send_all(&*stream, 1..4, BIG).unwrap()),
                            task(|| receive_all(&*stream, 1..4, BIG)),
                        ]);
                        assert_eq!(end_of(&*stream), StreamEnd::Remote(Status::ok()));
                    }),
                    task(|| assert!(server.stop(LIMIT))),
                ]);
            },
        );
    });
}

#[test]
fn a_cancelled_dial_returns() {
    check(|| {
        let (near, far) = (transport(), transport());
        let handler = Handler { serve: |_| (), served: Arc::default(), failed: Arc::default() };
        let server = far.listen("127.0.0.1:0", Arc::new(handler)).unwrap();
        let cancel = Cancel::new();
        let [connection, _] = together([
            task(|| near.dial(server.local_addr(), LIMIT, &cancel).ok()),
            task(|| {
                cancel.cancel();
                None
            }),
        ]);
        drop(connection);
        drop((server, near, far));
        eventually(|| descriptors() == 0);
    });
}
