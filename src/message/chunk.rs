//! Memory for messages that are built on this thread: consecutive ones of medium size share an allocation.
//!
//! An allocator keeps smaller ones at hand for each thread, but searches for memory of this size, under a lock.

use bytes::{Bytes, BytesMut};
use std::cell::Cell;

/// Sizes in bytes of messages that share an allocation.
const MEDIUM: std::ops::RangeInclusive<usize> = 512..=4 << 10;

/// Size in bytes of an allocation that messages share: 16 KiB. A program that keeps one of them keeps all of it.
const CHUNK: usize = 16 << 10;

/// Number of messages of a thread that have memory of their own: most threads build only one, and would keep the rest of
/// its allocation.
const FIRST: u32 = 16;

thread_local! {
    /// Number of messages of medium size that this thread has built, up to [`FIRST`].
    static BUILT: Cell<u32> = const { Cell::new(0) };
    /// The rest of this thread's last allocation.
    static REST: Cell<BytesMut> = Cell::default();
}

/// Returns an empty buffer with room for `size` bytes.
pub(super) fn take(size: usize) -> BytesMut {
    if !MEDIUM.contains(&size) {
        return BytesMut::with_capacity(size);
    }
    let built = BUILT.get();
    if built < FIRST {
        BUILT.set(built + 1);
        return BytesMut::with_capacity(size);
    }
    // Fails while the thread ends.
    let mut rest = REST.try_with(Cell::take).unwrap_or_default();
    if rest.capacity() < size {
        rest = BytesMut::with_capacity(CHUNK);
    }
    rest
}

/// Returns what was written to a buffer from [`take`]. The next message gets the rest of it.
pub(super) fn finish(mut buffer: BytesMut) -> Bytes {
    if buffer.capacity() - buffer.len() >= *MEDIUM.start() {
        let rest = buffer.split_off(buffer.len());
        let _ = REST.try_with(|kept| kept.set(rest));
    }
    buffer.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(size: usize) -> Bytes {
        let mut buffer = take(size);
        assert!(buffer.is_empty() && buffer.capacity() >= size);
        buffer.resize(size, 7);
        finish(buffer)
    }

    #[test]
    fn messages_of_medium_size_share_memory_until_it_is_used_up() {
        BUILT.set(0);
        REST.take();
        (0..FIRST).for_each(|_| drop(build(1000)));
        assert_eq!(REST.take().capacity(), 0, "the first messages leave nothing");
        let built: Vec<_> = (0..20).map(|_| build(1000)).collect();
        let follows = |pair: &&[Bytes]| pair[1].as_ptr() as usize == pair[0].as_ptr() as usize + 1000;
        assert_eq!(built.windows(2).filter(follows).count(), 18, "two allocations");
        assert!(built.iter().all(|message| message.iter().all(|byte| *byte == 7)));
    }

    #[test]
    fn small_and_large_messages_have_memory_of_their_own() {
        for size in [0, 1, 511, 4097, 1 << 20] {
            let buffer = take(size);
            assert!(buffer.capacity() < size + 64, "{size}: {}", buffer.capacity());
        }
    }
}
