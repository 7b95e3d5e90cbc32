//! `Debug` of the types that hold sockets: which one it is, not what is in its memory.

use std::fmt::{Debug, Formatter, Result};

use crate::api::datagram::Datagram;
use crate::api::handle::Handle;
use crate::api::receiver::Receiver;
#[cfg(feature = "tokio")]
use crate::api::stream::AsyncReceiver;
use crate::engine::worker::Worker;

impl Debug for Handle {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut text = f.debug_struct("Handle");
        text.field("interface", &self.interface().name).field("mode", &self.mode()).finish_non_exhaustive()
    }
}

impl Debug for Receiver {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Receiver").field("handle", &self.handle()).finish_non_exhaustive()
    }
}

#[cfg(feature = "tokio")]
impl Debug for AsyncReceiver {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("AsyncReceiver").field("handle", &self.handle()).finish_non_exhaustive()
    }
}

impl Debug for Worker {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Worker").field("queue", &self.queue()).finish_non_exhaustive()
    }
}

impl Debug for Datagram<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Datagram")
            .field("source", &self.source())
            .field("group", &self.group())
            .field("port", &self.port())
            .field("bytes", &self.payload().len())
            .field("subscription", &self.subscription())
            .field("time", &self.time())
            .field("path", &self.path())
            .field("vlan", &self.vlan())
            .finish()
    }
}
