//! Acknowledgements of what was sent.

use super::error::{gossip_error, gossip_result, Outcome};
use super::guard::guard;
use super::handle::{self, Owned};
use super::{duration, gossip_duration};
use gossip::comm::{AckHandle, AggregatedSendResult, RemotePeer, SendResult};
use gossip::error::Error;

/// A message on its way to one peer, whose acknowledgement is awaited.
pub struct gossip_ack_handle(pub(super) AckHandle);

impl Owned for gossip_ack_handle {}

/// Succeeds if so many have acknowledged, and says how many did; else the error has a part for each that did not.
pub(super) fn enough(results: &AggregatedSendResult, min_ack: usize, peers: &[RemotePeer]) -> Outcome<usize> {
    let count = results.ack_count();
    if count >= min_ack {
        return Ok(count);
    }
    let mut taken = vec![false; peers.len()];
    let mut index = |result: &SendResult| {
        // The same peer may stand there twice: each of its results has a place of its own.
        let place = (0..peers.len()).find(|place| !taken[*place] && peers[*place] == result.peer).unwrap_or(0);
        if let Some(taken) = taken.get_mut(place) {
            *taken = true;
        }
        place
    };
    let mut placed: Vec<(usize, &SendResult)> = results.iter().map(|result| (index(result), result)).collect();
    // They stand there as they came in; which code the call returns should not depend on that.
    placed.sort_by_key(|(place, _)| *place);
    let failed: Vec<(usize, &Error)> =
        placed.iter().filter_map(|(place, result)| Some((*place, result.error.as_ref()?))).collect();
    let mut text = format!("{count} of {min_ack} acknowledgements");
    for (_, error) in failed.iter().take(10) {
        text += &format!("; {error}");
    }
    if failed.len() > 10 {
        text += &format!("; and {} more", failed.len() - 10);
    }
    let parts = failed.into_iter().map(|(place, error)| gossip_error::part(place, error)).collect();
    Err(gossip_error::of_parts(text, parts))
}

/// Waits up to `timeout` (0: not at all) until the peer has answered, or the message is known not to get through to it.
/// GOSSIP_OK: acknowledged. GOSSIP_TIMEOUT: neither yet, ask again. GOSSIP_NACK: the peer's own error. Anything else: why the
/// message did not get through. The answer is given once.
///
/// Thread-safe. Blocks for at most `timeout`.
#[no_mangle]
pub unsafe extern "C" fn gossip_ack_handle_wait(
    ack: *const gossip_ack_handle,
    timeout: gossip_duration,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || match handle::get(ack, "ack")?.0.wait(duration(timeout)) {
        Some(result) => match result.error {
            Some(error) => Err(error.into()),
            None => Ok(()),
        },
        None => Err(gossip_error::new(gossip_result::GOSSIP_TIMEOUT, "not acknowledged yet")),
    })
}

/// The message's nonce, by which it is acknowledged.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_ack_handle_nonce(ack: *const gossip_ack_handle) -> u64 {
    super::look(ack, 0, |ack| ack.0.nonce())
}

/// Frees it: the message is still sent, its acknowledgement ignored. NULL is nothing.
#[no_mangle]
pub unsafe extern "C" fn gossip_ack_handle_free(ack: *mut gossip_ack_handle) {
    gossip_ack_handle::free(ack);
}
