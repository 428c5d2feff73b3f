//! The threads that sign and verify, so that the driver never blocks on cryptography.

use super::fair_queue::FairQueue;
use super::identities;
use crate::cancel::Cancel;
use crate::comm::threads::Threads;
use crate::crypto::{CryptoService, PkiId};
use crate::discovery::{Event, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::IdentityMapper;
use crate::message::{Content, GossipMessage, SignedMessage};
use crate::sync::channel::{select, unbounded, Receiver, Sender};
use crate::sync::{entering_user_code, Mutex};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// Number of threads that verify and sign.
const WORKERS: usize = 2;

/// Verifies a block; supplied by the user of the channel. Fabric's `VerifyBlock`.
pub type BlockVerifier = Arc<dyn Fn(&SignedMessage) -> Result<()> + Send + Sync>;

/// The services that workers need to verify and sign.
pub(super) struct Judge {
    pub mapper: IdentityMapper,
    pub crypto: Arc<dyn CryptoService>,
    pub blocks: Option<BlockVerifier>,
}

/// The queues of work. They are unbounded because the core bounds them: it limits the signatures and verifications in
/// progress, and every answer frees a slot.
pub(super) struct Workers {
    signing: Sender<Signing>,
    verifying: Verifying,
    to_verify: Sender<()>,
}

/// Messages to verify, queued by sender, so that one sender does not delay the others.
type Verifying = Arc<Mutex<FairQueue<(Token, SignedMessage)>>>;

struct Signing {
    token: Token,
    message: GossipMessage,
    internal_endpoint: String,
}

impl Workers {
    /// Starts the threads; they end when `stopping` is set.
    pub fn start(judge: Judge, answers: &Sender<Event>, threads: &Threads, stopping: &Cancel) -> Result<Workers> {
        let (signing, to_sign) = unbounded();
        // One token for each message in the queues.
        let (to_verify, verify) = unbounded();
        let verifying = Verifying::default();
        let judge = Arc::new(judge);
        for _ in 0..WORKERS {
            let worker = Worker {
                judge: judge.clone(),
                to_sign: to_sign.clone(),
                verifying: verifying.clone(),
                to_verify: verify.clone(),
                answers: answers.clone(),
                stopping: stopping.clone(),
            };
            threads.spawn("gossip-verify", move || worker.run()).map_err(|e| e.error)?;
        }
        Ok(Workers { signing, verifying, to_verify })
    }

    pub fn sign(&self, token: Token, message: GossipMessage, internal_endpoint: String) {
        let _ = self.signing.send(Signing { token, message, internal_endpoint });
    }

    pub fn verify(&self, token: Token, message: SignedMessage, from: &PkiId) {
        self.verifying.lock().push(from, (token, message));
        let _ = self.to_verify.send(());
    }

    /// Returns the number of waiting verifications.
    pub fn waiting(&self) -> usize {
        self.verifying.lock().len()
    }
}

struct Worker {
    judge: Arc<Judge>,
    to_sign: Receiver<Signing>,
    verifying: Verifying,
    to_verify: Receiver<()>,
    answers: Sender<Event>,
    stopping: Cancel,
}

impl Worker {
    fn run(&self) {
        while !self.stopping.is_cancelled() {
            // Our own heartbeat takes precedence over verifications.
            if let Ok(signing) = self.to_sign.try_recv() {
                self.sign(signing);
                continue;
            }
            select! {
                recv(self.to_sign) -> signing => match signing {
                    Ok(signing) => self.sign(signing),
                    Err(_) => return,
                },
                recv(self.to_verify) -> work => match work {
                    Ok(()) => {
                        let next = self.verifying.lock().pop();
                        if let Some((token, message)) = next {
                            self.verify(token, &message);
                        }
                    }
                    Err(_) => return,
                },
                recv(self.stopping.signal()) -> _ => return,
            }
        }
    }

    fn sign(&self, signing: Signing) {
        let Signing { token, message, internal_endpoint } = signing;
        let mapper = &self.judge.mapper;
        let result =
            SignedMessage::sign(message, |bytes| mapper.sign(bytes)).and_then(|signed| {
                match internal_endpoint.is_empty() {
                    true => Ok(signed),
                    false => signed.sign_secret(&internal_endpoint, |bytes| mapper.sign(bytes)),
                }
            });
        let _ = self.answers.send(Event::Signed { token, result });
    }

    fn verify(&self, token: Token, message: &SignedMessage) {
        let verdict = catch_unwind(AssertUnwindSafe(|| self.judge(message)))
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the verification panicked")));
        if let Err(e) = &verdict {
            log::debug!("invalid message: {message}: {e}");
        }
        let _ = self.answers.send(Event::Verified { token, valid: verdict.is_ok() });
    }

    fn judge(&self, message: &SignedMessage) -> Result<()> {
        let Judge { mapper, crypto, blocks } = &*self.judge;
        match (message.content(), blocks) {
            (Some(Content::DataMsg(_)), Some(judge)) => {
                entering_user_code();
                judge(message)
            }
            (Some(Content::DataMsg(_)), None) => Ok(()),
            _ => identities::verify(message, mapper, &**crypto),
        }
    }
}
