//! A server with threads, on tiny_http, that reports failed logins, exceeded limits and request metrics, and ends in
//! order at SIGTERM.
//!
//! ```text
//! GUARD_AGENT_API_KEY=your-api-key server-blocking
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use guard_agent_blocking::{Agent, Report};
use guard_agent_tests::pipe::terminated;
use guard_agent_tests::service::{self, Service};
use tiny_http::{Request, Response, Server};

const THREADS: usize = 4;

fn main() -> ExitCode {
    service::end(serve())
}

fn serve() -> Result<Report, Box<dyn Error + Send + Sync>> {
    let agent = Agent::builder(service::config()?).on_error(|error| service::tell(error)).start()?;
    let server = Arc::new(Server::http("127.0.0.1:0")?);
    let address = server.server_addr().to_ip().ok_or("no address")?;
    service::announce(address);

    let service = Arc::new(Service::default());
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (server, service, agent) = (Arc::clone(&server), Arc::clone(&service), agent.clone());
            thread::spawn(move || {
                server.incoming_requests().for_each(|request| answer(request, &service, &agent))
            })
        })
        .collect();
    block_on(terminated());
    (0..THREADS).for_each(|_| server.unblock());
    for thread in threads {
        thread.join().map_err(|_| "a thread of the server panicked")?;
    }

    Ok(agent.shutdown(Duration::from_secs(10)))
}

fn answer(request: Request, service: &Service, agent: &Agent) {
    let Some(from) = request.remote_addr().map(|address| address.ip()) else { return };
    let headers = request.headers();
    let authorization = headers.iter().find(|header| header.field.equiv("authorization"));
    let seen = service::Request {
        from,
        method: request.method().as_str(),
        path: request.url(),
        authorization: authorization.map(|header| header.value.as_str()),
    };
    let (status, body) = service.answer(&seen, agent);
    // An error means that the client is gone.
    let _ = request.respond(Response::from_string(body).with_status_code(status));
}
