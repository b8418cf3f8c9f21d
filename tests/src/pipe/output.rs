use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait to be written.
const WAITING: usize = 4_096;
/// How often to look whether there is room again, at the end.
const LOOK: Duration = Duration::from_millis(5);

/// A stream that is written by a thread of its own: whoever does not read it holds up that thread alone.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pieces: SyncSender<Piece>,
    left_out: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Piece {
    Line(String),
    /// Answered once everything before it is written.
    Mark(Sender<()>),
}

impl Output {
    pub(super) fn open(stream: impl Write + Send + 'static) -> Self {
        let (pieces, queue) = mpsc::sync_channel(WAITING);
        thread::spawn(move || write(stream, &queue));
        Self { pieces, left_out: Arc::default() }
    }

    /// Writes a line, and waits while too many wait before it.
    pub(super) fn print(&self, line: String) {
        // The thread ends with the process.
        let _ = self.pieces.send(Piece::Line(line));
    }

    /// Writes a line, unless too many wait before it.
    pub(super) fn offer(&self, line: String) {
        if self.pieces.try_send(Piece::Line(line)).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were offered in vain.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, `last` as the last line, but not beyond the deadline. Says whether it was.
    pub(super) fn finish(&self, last: Option<String>, deadline: Instant) -> bool {
        let (give, written) = mpsc::channel();
        let mut pieces = last.into_iter().map(Piece::Line).chain([Piece::Mark(give)]);
        pieces.all(|piece| self.put(piece, deadline))
            && written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    fn put(&self, mut piece: Piece, deadline: Instant) -> bool {
        loop {
            piece = match self.pieces.try_send(piece) {
                Ok(()) => return true,
                Err(TrySendError::Full(piece)) if Instant::now() < deadline => piece,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return false,
            };
            thread::sleep(LOOK);
        }
    }
}

fn write(mut stream: impl Write, queue: &Receiver<Piece>) {
    for piece in queue {
        // There is nobody left to tell that the stream is closed, nor whoever waited for the mark.
        match piece {
            Piece::Line(line) => {
                let _ = writeln!(stream, "{line}");
            }
            Piece::Mark(written) => {
                let _ = written.send(());
            }
        }
    }
}
