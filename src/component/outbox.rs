//! What is to be sent over a link: one buffer that many append to and one task writes.
//!
//! Appending is a copy under a lock that is held for nothing else. The task takes the whole buffer at once, so a burst of stanzas
//! costs one system call, and whoever appends decides when to wake it: the reader of the stream does so when it has nothing more to
//! read, everybody else at once.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::sync::Notify;

/// What a buffer keeps of its memory when nothing was sent for [`IDLE`], in bytes.
const KEEP: usize = 16 << 10;

/// How long nothing is sent before buffers give back what a burst made them grow to.
const IDLE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    open: bool,
}

/// The bytes that wait to be sent over one link.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    drained: Notify,
    /// The length of the buffer, to be looked at without the lock.
    waiting: AtomicUsize,
    max_bytes: usize,
}

impl Outbox {
    /// A closed outbox; once it is open it takes that many bytes.
    pub fn new(max_bytes: usize) -> Outbox {
        Outbox {
            state: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            waiting: AtomicUsize::new(0),
            max_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the outbox and opens it for a new stream.
    pub fn open(&self) {
        let mut state = self.lock();
        state.buffer.clear();
        state.open = true;
        self.waiting.store(0, Ordering::Relaxed);
    }

    /// Closes the outbox: nothing is taken any more, and the writer ends when it has written what there is.
    pub fn close(&self) {
        self.lock().open = false;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Appends what `write` writes, whole stanzas only; false, and nothing is appended, if the outbox is closed or full.
    pub fn push(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.lock();
        if !state.open || state.buffer.len() > self.max_bytes {
            return false;
        }
        write(&mut state.buffer);
        self.waiting.store(state.buffer.len(), Ordering::Relaxed);
        true
    }

    /// Wakes the writer.
    pub fn wake(&self) {
        self.filled.notify_one();
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether at most half of the bound is taken, or the outbox is closed.
    pub fn has_room(&self) -> bool {
        self.len() <= self.max_bytes / 2 || !self.lock().open
    }

    /// Waits until there is room. A reader that waits here passes the server's pressure on to the server.
    pub async fn room(&self) {
        while !self.has_room() {
            let drained = self.drained.notified();
            // Looked at again, because the writer may have been here before we listened.
            if self.has_room() {
                return;
            }
            self.wake();
            drained.await;
        }
    }

    /// Swaps what waits for the empty buffer; false when there is nothing and there will be nothing.
    async fn take(&self, empty: &mut Vec<u8>) -> bool {
        loop {
            let filled = self.filled.notified();
            {
                let mut state = self.lock();
                if !state.buffer.is_empty() {
                    std::mem::swap(&mut state.buffer, empty);
                    self.waiting.store(0, Ordering::Relaxed);
                    return true;
                }
                if !state.open {
                    return false;
                }
            }
            if tokio::time::timeout(IDLE, filled).await.is_err() {
                empty.shrink_to(KEEP);
                let mut state = self.lock();
                let len = state.buffer.len();
                state.buffer.shrink_to(KEEP.max(len));
            }
        }
    }

    /// Writes until the outbox is closed and empty.
    ///
    /// # Errors
    /// The first error of the writer, or `TimedOut` if it takes nothing for `patience`.
    pub async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        mut writer: W,
        patience: Duration,
    ) -> io::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        let mut bytes = Vec::new();
        while self.take(&mut bytes).await {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let written = tokio::time::timeout(patience, writer.write(rest)).await??;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = &rest[written..];
            }
            bytes.clear();
            self.drained.notify_waiters();
        }
        writer.flush().await?;
        writer.shutdown().await
    }
}

/// The writing half that the XML stream sees: it appends to the outbox.
#[derive(Debug)]
pub struct OutboxWriter(pub Arc<Outbox>);

impl AsyncWrite for OutboxWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.0.push(|buffer| buffer.extend_from_slice(bytes)) {
            Poll::Ready(Ok(bytes.len()))
        } else {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.wake();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_ends_the_writer() {
        let outbox = Outbox::new(1 << 20);
        outbox.open();
        assert!(outbox.push(|b| b.extend_from_slice(&[b' '; 4096])));
        let (near, _far) = tokio::io::duplex(64);
        let began = tokio::time::Instant::now();
        let error = outbox
            .write_to(near, Duration::from_secs(30))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_full_outbox_takes_no_more_and_keeps_what_it_has() {
        let outbox = Outbox::new(10);
        assert!(!outbox.push(|b| b.push(b'x')), "closed until opened");
        outbox.open();
        assert!(outbox.push(|b| b.extend_from_slice(b"0123456789ab")));
        assert!(!outbox.push(|b| b.push(b'x')));
        assert_eq!(outbox.len(), 12);
        let (near, mut far) = tokio::io::duplex(64);
        outbox.close();
        outbox.write_to(near, Duration::from_secs(1)).await.unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut far, &mut text)
            .await
            .unwrap();
        assert_eq!(text, "0123456789ab");
    }
}
