//! Bounded channels and `select!` with the part of `crossbeam-channel`'s interface that the library uses.
//!
//! A `select!` takes any of the ready arms, as in `crossbeam-channel`. Timeouts never expire by themselves: a wait
//! without a wake-up is a deadlock, which the model checker reports.

pub use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use super::thread::{self, Thread};
use super::Mutex;
use shuttle::rand::Rng;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Channel<T>(Mutex<State<T>>);

struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receivers: usize,
    /// Threads that wait for any change.
    waiting: Vec<Thread>,
}

impl<T> State<T> {
    fn changed(&mut self) {
        self.waiting.drain(..).for_each(|thread| thread.unpark());
    }
}

impl<T> Channel<T> {
    fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.lock();
        if state.receivers == 0 {
            return Err(TrySendError::Disconnected(item));
        }
        if state.items.len() >= state.capacity {
            return Err(TrySendError::Full(item));
        }
        state.items.push_back(item);
        state.changed();
        Ok(())
    }

    fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.lock();
        match state.items.pop_front() {
            Some(item) => {
                state.changed();
                Ok(item)
            }
            None if state.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }
}

pub struct Sender<T>(Arc<Channel<T>>);

pub struct Receiver<T>(Arc<Channel<T>>);

/// Creates a bounded channel. With capacity 0 it carries no items and only signals that its other end is gone.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { items: VecDeque::new(), capacity, senders: 1, receivers: 1, waiting: Vec::new() };
    let channel = Arc::new(Channel(Mutex::new(state)));
    (Sender(channel.clone()), Receiver(channel))
}

pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

pub fn never<T>() -> Receiver<T> {
    let state = State { items: VecDeque::new(), capacity: 0, senders: 1, receivers: 1, waiting: Vec::new() };
    Receiver(Arc::new(Channel(Mutex::new(state))))
}

pub fn after(_: Duration) -> Receiver<Instant> {
    panic!("the model has no real time: pass its own clock");
}

impl<T> Sender<T> {
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(item)
    }

    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        let mut send = SendArm::new(self, item);
        block_on(&mut [&mut send]);
        send.result()
    }

    pub fn len(&self) -> usize {
        self.0 .0.lock().items.len()
    }

    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Receiver<T> {
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    pub fn recv(&self) -> Result<T, RecvError> {
        let mut recv = RecvArm::new(self);
        block_on(&mut [&mut recv]);
        recv.result()
    }

    pub fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        self.recv().map_err(|RecvError| RecvTimeoutError::Disconnected)
    }

    pub fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    pub fn len(&self) -> usize {
        self.0 .0.lock().items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0 .0.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0 .0.lock().receivers += 1;
        Receiver(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0 .0.lock();
        state.senders -= 1;
        if state.senders == 0 {
            state.changed();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0 .0.lock();
        state.receivers -= 1;
        if state.receivers == 0 {
            state.changed();
            // Dropping an item may use this channel.
            let left = std::mem::take(&mut state.items);
            drop(state);
            drop(left);
        }
    }
}

/// One arm of a `select!`.
pub trait Arm {
    /// Registers `waiter` to be woken by any change.
    fn register(&self, waiter: &Thread);
    /// Returns whether the arm is done.
    fn attempt(&mut self) -> bool;
}

pub struct RecvArm<T>(Arc<Channel<T>>, Option<Result<T, RecvError>>);

impl<T> RecvArm<T> {
    pub fn new(receiver: &Receiver<T>) -> Self {
        RecvArm(receiver.0.clone(), None)
    }

    pub fn result(self) -> Result<T, RecvError> {
        self.1.expect("done")
    }
}

impl<T> Arm for RecvArm<T> {
    fn register(&self, waiter: &Thread) {
        self.0 .0.lock().waiting.push(waiter.clone());
    }

    fn attempt(&mut self) -> bool {
        self.1 = match self.0.try_recv() {
            Ok(item) => Some(Ok(item)),
            Err(TryRecvError::Disconnected) => Some(Err(RecvError)),
            Err(TryRecvError::Empty) => None,
        };
        self.1.is_some()
    }
}

/// Holds the item until it is sent, or for good if there is no receiver.
pub struct SendArm<T>(Arc<Channel<T>>, Option<T>);

impl<T> SendArm<T> {
    pub fn new(sender: &Sender<T>, item: T) -> Self {
        SendArm(sender.0.clone(), Some(item))
    }

    pub fn result(self) -> Result<(), SendError<T>> {
        self.1.map_or(Ok(()), |item| Err(SendError(item)))
    }
}

impl<T> Arm for SendArm<T> {
    fn register(&self, waiter: &Thread) {
        self.0 .0.lock().waiting.push(waiter.clone());
    }

    fn attempt(&mut self) -> bool {
        let sent = self.0.try_send(self.1.take().expect("not sent yet"));
        let full = matches!(sent, Err(TrySendError::Full(_)));
        self.1 = sent.err().map(TrySendError::into_inner);
        !full
    }
}

/// Blocks until one of the arms is done, and returns its index.
pub fn block_on(arms: &mut [&mut dyn Arm]) -> usize {
    let me = thread::current();
    loop {
        arms.iter().for_each(|arm| arm.register(&me));
        let first = shuttle::rand::thread_rng().gen_range(0..arms.len());
        for i in 0..arms.len() {
            let at = (first + i) % arms.len();
            if arms[at].attempt() {
                return at;
            }
        }
        thread::park();
    }
}

/// Selects as `crossbeam_channel::select!` does, for up to eight arms and without `default`.
macro_rules! select {
    ($($arms:tt)*) => { $crate::sync::model::channel::select_parse!([] $($arms)*) };
}

/// Converts the arms to one form: `(arm pattern => body)`.
macro_rules! select_parse {
    ([$($done:tt)*] recv($r:expr) -> $p:pat => $body:block $(,)? $($rest:tt)*) => {
        $crate::sync::model::channel::select_parse!([$($done)* (RecvArm::new(&$r), $p => $body)] $($rest)*)
    };
    ([$($done:tt)*] recv($r:expr) -> $p:pat => $body:expr $(, $($rest:tt)*)?) => {
        $crate::sync::model::channel::select_parse!([$($done)* (RecvArm::new(&$r), $p => $body)] $($($rest)*)?)
    };
    ([$($done:tt)*] send($s:expr, $m:expr) -> $p:pat => $body:expr, $($rest:tt)*) => {
        $crate::sync::model::channel::select_parse!([$($done)* (SendArm::new(&$s, $m), $p => $body)] $($rest)*)
    };
    ([$($done:tt)*]) => { $crate::sync::model::channel::select_name!([a b c d e f g h] [] $($done)*) };
}

/// Names each arm.
macro_rules! select_name {
    ([$n:ident $($free:ident)*] [$($named:tt)*] ($arm:expr, $p:pat => $body:expr) $($rest:tt)*) => {
        $crate::sync::model::channel::select_name!([$($free)*] [$($named)* ($n $arm, $p => $body)] $($rest)*)
    };
    ([$($free:ident)*] [$(($n:ident $arm:expr, $p:pat => $body:expr))*]) => {{
        #[allow(unused_imports)]
        use $crate::sync::model::channel::{block_on, select_body, RecvArm, SendArm};
        $(let mut $n = $arm;)*
        let done = block_on(&mut [$(&mut $n),*]);
        select_body!(done, 0; $($n $p => $body;)*)
    }};
}

/// Runs the body of the completed arm.
macro_rules! select_body {
    ($done:ident, $at:expr; $n:ident $p:pat => $body:expr; $($rest:tt)*) => {
        if $done == $at {
            let $p = $n.result();
            $body
        } else {
            select_body!($done, $at + 1; $($rest)*)
        }
    };
    ($done:ident, $at:expr;) => { unreachable!("no arm is done") };
}

pub(crate) use {select, select_body, select_name, select_parse};
