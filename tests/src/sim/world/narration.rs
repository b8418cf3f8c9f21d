use guard_agent_proto::store::{StoreAnswer, StoreOp};
use guard_agent_proto::{Input, Kind, Request};

use super::World;
use crate::sim::network::{Answer, Fault};
use crate::sim::platform::Read;

impl World {
    pub(super) fn trace_input(&mut self, w: usize, input: &Input) {
        match input {
            Input::Records(records) => {
                let bytes: usize = records.iter().map(|record| record.json().len()).sum();
                let first = self.made - records.len() as u64;
                self.trace.line(
                    self.now,
                    format_args!("[{w}] {} records from {first} on, {bytes} bytes", records.len()),
                );
            }
            Input::Response { id, result } => match result {
                Ok(response) => {
                    let body = String::from_utf8_lossy(&response.body[..response.body.len().min(100)]);
                    let retry_after = &response.retry_after;
                    self.trace.line(
                        self.now,
                        format_args!("[{w}] answer {id}: {} {retry_after:?} {body}", response.status),
                    );
                }
                Err(error) => self.trace.line(self.now, format_args!("[{w}] answer {id}: {error}")),
            },
            Input::StoreReply { id, result } => match result {
                Ok(StoreAnswer::Blocks { blocks, .. }) => {
                    self.trace
                        .line(self.now, format_args!("[{w}] store reply {id}: {} blocks", blocks.len()));
                }
                Ok(
                    StoreAnswer::Done
                    | StoreAnswer::Diverged { .. }
                    | StoreAnswer::Orphans { .. }
                    | StoreAnswer::Adopted { .. },
                )
                | Err(_) => {
                    self.trace.line(self.now, format_args!("[{w}] store reply {id}: {result:?}"));
                }
            },
            Input::Timeout
            | Input::Lost { .. }
            | Input::Invalid { .. }
            | Input::Flush { .. }
            | Input::RefreshRules
            | Input::CredentialsChanged
            | Input::Shutdown { .. }
            | _ => self.trace.line(self.now, format_args!("[{w}] {input:?}")),
        }
    }

    pub(super) fn trace_send(
        &mut self,
        request: &Request,
        endpoint: guard_agent_proto::Endpoint,
        read: &Read,
        hash: u64,
        fault: Option<Fault>,
    ) {
        let id = request.id;
        match read {
            Read::Batch { id: batch, records, bytes, .. } => {
                let (first, last) = (records.first(), records.last());
                self.trace.line(
                    self.now,
                    format_args!(
                        "  send {id} to {endpoint}: {batch} of {} records ({first:?} to {last:?}), {bytes} \
                         bytes {hash:016x}, {fault:?}",
                        records.len()
                    ),
                );
            }
            Read::Status | Read::Rules { .. } => {
                self.trace.line(self.now, format_args!("  send {id} to {endpoint}: {hash:016x}, {fault:?}"));
            }
        }
    }
}

pub(super) fn status_of(answer: &Answer) -> u16 {
    answer.result.as_ref().map_or(0, |response| response.status)
}

pub(super) fn brief(op: &StoreOp) -> String {
    match op {
        StoreOp::Write(write) => {
            let logs = Kind::ALL.map(|kind| {
                let log = &write.logs[kind];
                format!("{:?} -{:?} at {:?}", log.append, log.remove, log.expected)
            });
            format!("write {} to {}, notes {:?}", logs.join(" and "), write.stream, write.notes)
        }
        StoreOp::List { .. } => String::from("list"),
        StoreOp::Adopt { stream, .. } => format!("adopt {stream}"),
        StoreOp::Read { stream, kind, from, limit, .. } => {
            format!("read {limit} {kind} blocks of {stream} from {from}")
        }
        StoreOp::Close { stream, keep } => format!("close {stream}, keep: {keep}"),
    }
}
