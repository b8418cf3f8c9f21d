use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::http::{PlainAnswer, read_request, write_answer};
use super::platform::Platform;
use super::{Builder, Collector};

/// How often waiters look at the clock.
const TICK: Duration = Duration::from_millis(50);

/// What the server and its handle share.
#[derive(Debug)]
pub(super) struct Shared {
    platform: Mutex<Platform>,
    down: AtomicBool,
    changed: Condvar,
    changes: watch::Sender<()>,
}

/// From the handle to the server; the channel says when it is done.
#[derive(Debug)]
pub(super) enum Command {
    Down(mpsc::Sender<()>),
    Up(mpsc::Sender<()>),
    Stop,
}

impl Shared {
    pub(super) fn new(builder: &Builder) -> Self {
        Self {
            platform: Mutex::new(Platform::new(builder.keys.clone(), builder.count_only)),
            down: AtomicBool::new(false),
            changed: Condvar::new(),
            changes: watch::Sender::new(()),
        }
    }

    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::SeqCst)
    }

    pub(super) fn platform(&self) -> MutexGuard<'_, Platform> {
        // A failed assertion of a test may poison it; what is inside is still right.
        self.platform.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(
        &self,
        platform: MutexGuard<'a, Platform>,
        limit: Duration,
    ) -> MutexGuard<'a, Platform> {
        self.changed.wait_timeout(platform, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn notify(&self) {
        self.changed.notify_all();
        self.changes.send_replace(());
    }
}

#[expect(clippy::expect_used, reason = "a test without its collector cannot go on")]
pub(super) fn start(builder: Builder) -> Collector {
    let shared = Arc::new(Shared::new(&builder));
    let (commands, inbox) = tokio::sync::mpsc::unbounded_channel();
    let (tell_addr, told_addr) = mpsc::channel();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, builder.port));
    let server_shared = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name(String::from("collector"))
        .spawn(move || {
            // Made here, since the caller may be on a runtime of its own.
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let port = reserve(at).expect("a port");
                let addr = port.local_addr().expect("an address");
                let server = Server { port, shared: server_shared, connections: JoinSet::new() };
                let listener = server.listen();
                // An error means that the caller is gone; then so are the commands.
                let _ = tell_addr.send(addr);
                server.run(listener, inbox).await;
            });
        })
        .expect("a thread");
    let addr = told_addr.recv().expect("a collector that listens");
    Collector { addr, shared, commands: Some(commands), thread: Some(thread) }
}

struct Server {
    /// Never listens: while the platform is down, nobody else gets the port.
    port: TcpSocket,
    shared: Arc<Shared>,
    connections: JoinSet<()>,
}

impl Server {
    async fn run(mut self, listener: TcpListener, mut inbox: UnboundedReceiver<Command>) {
        let mut listener = Some(listener);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                Some(stream) = accept(listener.as_ref()) => {
                    self.connections.spawn(serve(stream, Arc::clone(&self.shared)));
                }
                Some(_) = self.connections.join_next() => {}
                _ = tick.tick() => self.shared.notify(),
                command = inbox.recv() => match command {
                    // The handle waits for `done`; an error would mean that its thread is gone.
                    Some(Command::Down(done)) => {
                        listener = None;
                        self.connections.shutdown().await;
                        let _ = done.send(());
                    }
                    Some(Command::Up(done)) => {
                        listener.get_or_insert_with(|| self.listen());
                        let _ = done.send(());
                    }
                    Some(Command::Stop) | None => return,
                },
            }
        }
    }

    #[expect(clippy::expect_used, reason = "a test without its collector cannot go on")]
    fn listen(&self) -> TcpListener {
        let socket = self.port.local_addr().and_then(bind).expect("the port");
        socket.listen(1024).expect("a listener")
    }
}

/// The next connection; `None` when that one failed.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// A port for nobody but those who ask for this very one, as [`bind`] does.
fn reserve(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of an earlier process may still linger on the port.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.set_reuseport(true)?;
    Ok(socket)
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    // Without it, an answer in two pieces waits for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    loop {
        // Otherwise the client is gone, was cut off, or does not speak HTTP.
        let Ok(Some(request)) = read_request(&mut stream, &mut buffer).await else { return };
        let (answer, platform) = if request.path == "/stats" {
            let summary = shared.platform().received.summary();
            (super::Answer::normal(), PlainAnswer::json(200, &summary))
        } else {
            shared.platform().take(request)
        };
        shared.notify();
        let flooded = |bytes| shared.platform().received.flooded += bytes;
        let written = write_answer(&mut stream, &answer, &platform, flooded).await;
        if answer.again.is_some() {
            shared.platform().received.unasked += 1;
            shared.notify();
        }
        match written {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}
