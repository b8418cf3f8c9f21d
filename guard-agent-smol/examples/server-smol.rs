//! A small HTTP service that reports failed logins, exceeded limits and request metrics, and ends in order at SIGTERM.
//! On smol, or, with the feature of that name, on async-std.
//!
//! ```text
//! GUARD_AGENT_API_KEY=your-api-key server-smol [--executor smol|async-std]
//! ```

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use guard_agent_smol::shell::{Agent, Backend, Handle};
use guard_agent_smol::{BoxFuture, Report, Smol};
use guard_agent_tests::pipe::terminated;
use guard_agent_tests::service::{self, Service};
use smol::future::FutureExt as _;
use smol::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use smol::net::{TcpListener, TcpStream};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let served = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["--executor", "smol"] => smol::block_on(serve::<Smol>(|task| smol::spawn(task).detach())),
        #[cfg(feature = "async-std")]
        ["--executor", "async-std"] => {
            use guard_agent_smol::async_std::AsyncStd;

            async_std::task::block_on(serve::<AsyncStd>(|task| drop(async_std::task::spawn(task))))
        }
        #[cfg(not(feature = "async-std"))]
        ["--executor", "async-std"] => {
            Err("--executor async-std: not without the feature of that name".into())
        }
        _ => Err("the only argument is --executor smol|async-std".into()),
    };
    service::end(served)
}

async fn serve<B>(spawn: fn(BoxFuture<'static, ()>)) -> Result<Report, Box<dyn Error + Send + Sync>>
where
    B: Backend<Agent = Agent<B>>,
{
    let agent = Agent::<B>::builder(service::config()?).on_error(|error| service::tell(error)).start()?;
    let service = Arc::new(Service::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    service::announce(listener.local_addr()?);
    let accept = async {
        loop {
            let (stream, from) = listener.accept().await?;
            let (agent, service) = (Handle::clone(&agent), Arc::clone(&service));
            spawn(Box::pin(async move {
                // An error means that the client is gone.
                let _ = answer(stream, from, &service, &agent).await;
            }));
        }
    };
    let end = async {
        terminated().await;
        io::Result::Ok(())
    };
    accept.or(end).await?;
    Ok(agent.shutdown(Duration::from_secs(10)).await)
}

/// One request of a connection, without a body.
async fn answer(stream: TcpStream, from: SocketAddr, service: &Service, agent: &Handle) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    if reader.read_line(&mut first).await? == 0 {
        return Ok(());
    }
    let mut authorization = None;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).await?;
        match header.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.trim().to_owned());
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut words = first.split(' ');
    let request = service::Request {
        from: from.ip(),
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        authorization: authorization.as_deref(),
    };
    let (status, body) = service.answer(&request, agent);
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} \r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let mut stream = reader.into_inner();
    stream.write_all(answer.as_bytes()).await?;
    stream.close().await
}
