//! Acknowledgements of sent messages.

use super::error::{gossip_error, gossip_result, Outcome};
use super::guard::guard;
use super::handle::{self, Owned};
use super::{duration, gossip_duration};
use gossip::comm::{AckHandle, AggregatedSendResult, RemotePeer, SendResult};
use gossip::error::Error;

/// A message sent to one peer, whose acknowledgement is awaited.
pub struct gossip_ack_handle(pub(super) AckHandle);

impl Owned for gossip_ack_handle {}

/// Returns the number of acknowledgements if there are at least `min_ack`. Otherwise returns an error with one part for
/// each peer that did not acknowledge.
pub(super) fn enough(results: &AggregatedSendResult, min_ack: usize, peers: &[RemotePeer]) -> Outcome<usize> {
    let count = results.ack_count();
    if count >= min_ack {
        return Ok(count);
    }
    let mut taken = vec![false; peers.len()];
    let mut index = |result: &SendResult| {
        // The same peer may be listed twice: each of its results gets a separate place.
        let place = (0..peers.len()).find(|place| !taken[*place] && peers[*place] == result.peer).unwrap_or(0);
        if let Some(taken) = taken.get_mut(place) {
            *taken = true;
        }
        place
    };
    let mut placed: Vec<(usize, &SendResult)> = results.iter().map(|result| (index(result), result)).collect();
    // The results are in order of arrival, on which the returned code must not depend.
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

/// Waits up to `timeout` (0 does not wait) until the peer has answered, or until it is known that the message will not
/// reach it. The answer is returned once. GOSSIP_OK: acknowledged. GOSSIP_TIMEOUT: no answer yet; call again.
/// GOSSIP_NACK: the peer reported an error. Any other code: the reason why the message was not delivered;
/// GOSSIP_UNREACHABLE also for a time limit of the connection.
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
            Some(error) => Err(gossip_error::undelivered(&error)),
            None => Ok(()),
        },
        None => Err(gossip_error::new(gossip_result::GOSSIP_TIMEOUT, "not acknowledged yet")),
    })
}

/// Returns the message's nonce, which identifies its acknowledgement.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_ack_handle_nonce(ack: *const gossip_ack_handle) -> u64 {
    super::look(ack, 0, |ack| ack.0.nonce())
}

/// Frees the handle. The message is still sent; its acknowledgement is ignored. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_ack_handle_free(ack: *mut gossip_ack_handle) {
    gossip_ack_handle::free(ack);
}
