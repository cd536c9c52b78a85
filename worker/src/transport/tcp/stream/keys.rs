//! The succession of a connection's keys, and what reading leaves for writing to say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::kernel::KernelConnection;
use rustls::{AlertDescription, ConnectionTrafficSecrets, Error, Tls13CipherSuite};

use super::record::{Opener, Sealer};

/// See the module.
pub(super) struct Keys {
    suite: &'static Tls13CipherSuite,
    /// Whether the peer has asked for a key update of this side.
    update_wanted: AtomicBool,
    state: Mutex<State>,
}

struct State {
    succession: Box<dyn Succession>,
    /// The last word.
    alert: AlertDescription,
}

/// Where new keys come from, on whichever side of the handshake.
trait Succession: Send {
    fn next_to_send(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error>;
    fn next_to_receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error>;
}

impl<Data: Send> Succession for KernelConnection<Data> {
    fn next_to_send(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        self.update_tx_secret()
    }

    fn next_to_receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        self.update_rx_secret()
    }
}

impl Keys {
    pub(super) fn new<Data: Send + 'static>(
        suite: &'static Tls13CipherSuite,
        connection: KernelConnection<Data>,
    ) -> Self {
        let state = State { succession: Box::new(connection), alert: AlertDescription::CloseNotify };
        Self { suite, update_wanted: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// The key that the peer seals with after its key update.
    pub(super) fn next_opener(&self) -> Result<Opener, Error> {
        let (sequence, secrets) = self.lock().succession.next_to_receive()?;
        Opener::new(self.suite, sequence, secrets)
    }

    /// The key that this side seals with after its key update.
    pub(super) fn next_sealer(&self) -> Result<Sealer, Error> {
        let (sequence, secrets) = self.lock().succession.next_to_send()?;
        Sealer::new(self.suite, sequence, secrets)
    }

    /// The peer wants this side to use another key.
    pub(super) fn want_update(&self) {
        self.update_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether the peer has wanted that since the last call.
    pub(super) fn take_update_wanted(&self) -> bool {
        // Most of the time nobody has: reading costs less than swapping.
        self.update_wanted.load(Ordering::Relaxed) && self.update_wanted.swap(false, Ordering::Relaxed)
    }

    /// Reading ended by an error, which the peer is told at the end.
    pub(super) fn blame(&self, error: &Error) {
        self.lock().alert = match error {
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            Error::InvalidMessage(_) => AlertDescription::DecodeError,
            // Who has sent an alert wants no other one.
            Error::AlertReceived(_) => AlertDescription::CloseNotify,
            _ => AlertDescription::UnexpectedMessage,
        };
    }

    /// What to tell the peer at the end: that this was all, unless it is to blame.
    pub(super) fn last_alert(&self) -> AlertDescription {
        self.lock().alert
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
