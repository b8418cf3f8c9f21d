//! A service on axum that reports failed logins, exceeded limits and request metrics, and ends in order at SIGTERM.
//!
//! ```text
//! GUARD_AGENT_API_KEY=your-api-key server-tokio
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use guard_agent_tests::pipe::terminated;
use guard_agent_tests::service::{self, Service};
use guard_agent_tokio::{Agent, Report};
use tokio::net::TcpListener;

#[derive(Clone)]
struct App {
    agent: Agent,
    service: Arc<Service>,
}

#[tokio::main]
async fn main() -> ExitCode {
    service::end(serve().await)
}

async fn serve() -> Result<Report, Box<dyn Error + Send + Sync>> {
    let agent = Agent::builder(service::config()?).on_error(|error| service::tell(error)).start()?;
    let app = App { agent: agent.clone(), service: Arc::default() };
    let router = Router::new().fallback(answer).with_state(app);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    service::announce(listener.local_addr()?);
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let serve = axum::serve(listener, router).with_graceful_shutdown(terminated());
    // A client that does not finish its request holds up nobody for long.
    let patience = async {
        terminated().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    tokio::select! {
        served = serve => served?,
        () = patience => {}
    }

    Ok(agent.shutdown(Duration::from_secs(10)).await)
}

async fn answer(
    State(app): State<App>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> (StatusCode, &'static str) {
    let request = service::Request {
        from: from.ip(),
        method: request.method().as_str(),
        path: request.uri().path(),
        authorization: request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()),
    };
    let (status, body) = app.service.answer(&request, &app.agent);
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
}
