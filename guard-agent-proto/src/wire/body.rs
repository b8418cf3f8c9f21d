use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Serialize;

use super::encrypt::Cipher;
use crate::{AgentConfig, Batch, BatchId, Kind};

const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");
const EMPTY_DOCUMENT: &str = r#"{"events":[],"metrics":[]}"#;
/// Bytes of the longest date, quotes included.
const MAX_DATE: usize = r#""2026-01-02T03:04:05.123456Z""#.len();

/// The parts of a batch's body that are the same for every batch, encoded once.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// `{"project_id":"…"`
    head: Vec<u8>,
    /// `,"agent_version":"…","guard_version":…,"guard_core_version":…}`
    tail: Vec<u8>,
}

impl Frame {
    pub(super) fn new(config: &AgentConfig) -> Self {
        let project_id = config.project_id.as_deref().filter(|id| !id.is_empty()).unwrap_or("default");
        let mut head = Vec::from(*br#"{"project_id":"#);
        head.extend(json(&project_id));
        let mut tail = Vec::from(*br#","agent_version":"#);
        tail.extend(json(&AGENT_VERSION));
        tail.extend(br#","guard_version":"#);
        tail.extend(json(&config.guard_version));
        tail.extend(br#","guard_core_version":"#);
        tail.extend(json(&config.guard_core_version));
        tail.push(b'}');
        Self { head, tail }
    }

    /// The plaintext batch.
    pub(super) fn plain(&self, batch: &Batch) -> Vec<u8> {
        let mut body = Vec::with_capacity(records_len(batch) + self.plain_overhead());
        body.extend(&self.head);
        body.push(b',');
        push_lists(&mut body, batch);
        self.push_plain_tail(&mut body, &batch.id().to_string(), &json(&batch.created_at()));
        body
    }

    /// The envelope around the encrypted records.
    pub(super) fn encrypted(&self, batch: &Batch, cipher: &Cipher) -> Vec<u8> {
        let mut document = Vec::with_capacity(Cipher::OVERHEAD + records_len(batch) + EMPTY_DOCUMENT.len());
        document.extend(batch.nonce());
        document.push(b'{');
        push_lists(&mut document, batch);
        document.push(b'}');
        cipher.seal(b"", &mut document, 0);

        let text_len = Cipher::text_len(document.len());
        let mut body = String::with_capacity(text_len + self.envelope_overhead());
        body.push_str(r#"{"encrypted_payload":""#);
        Cipher::push_text(&document, &mut body);
        body.push('"');
        let mut body = body.into_bytes();
        self.push_envelope_tail(&mut body, &batch.id().to_string());
        body
    }

    /// Bytes that records and their commas may take in a plaintext batch of at most `limit` bytes.
    pub(super) fn plain_budget(&self, limit: usize) -> usize {
        limit.saturating_sub(self.plain_overhead())
    }

    /// Bytes that records and their commas may take in an encrypted batch of at most `limit` bytes.
    pub(super) fn encrypted_budget(&self, limit: usize) -> usize {
        let text_len = limit.saturating_sub(self.envelope_overhead());
        Cipher::document_len(text_len).saturating_sub(Cipher::OVERHEAD + EMPTY_DOCUMENT.len())
    }

    fn plain_overhead(&self) -> usize {
        let mut body = self.head.clone();
        body.push(b',');
        body.extend(EMPTY_DOCUMENT.trim_matches(['{', '}']).bytes());
        self.push_plain_tail(&mut body, &longest_id(), &[b'0'; MAX_DATE]);
        body.len()
    }

    fn envelope_overhead(&self) -> usize {
        let mut body = Vec::from(*br#"{"encrypted_payload":"""#);
        self.push_envelope_tail(&mut body, &longest_id());
        body.len()
    }

    fn push_plain_tail(&self, body: &mut Vec<u8>, id: &str, created_at: &[u8]) {
        push_id(body, id);
        body.extend(br#","created_at":"#);
        body.extend(created_at);
        body.extend(br#","compressed":false"#);
        body.extend(&self.tail);
    }

    fn push_envelope_tail(&self, body: &mut Vec<u8>, id: &str) {
        push_id(body, id);
        body.extend(&self.tail);
    }
}

/// The JSON of text, numbers and plain structs.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are not text, or a failing `Serialize`, has no JSON; neither comes here.
    serde_json::to_vec(value).unwrap_or_else(|_| Vec::from(*b"null"))
}

fn push_lists(body: &mut Vec<u8>, batch: &Batch) {
    body.extend(br#""events":["#);
    if batch.kind() == Kind::Event {
        push_records(body, batch);
    }
    body.extend(br#"],"metrics":["#);
    if batch.kind() == Kind::Metric {
        push_records(body, batch);
    }
    body.push(b']');
}

fn push_records(body: &mut Vec<u8>, batch: &Batch) {
    for (i, record) in batch.records().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        body.extend_from_slice(record);
    }
}

fn push_id(body: &mut Vec<u8>, id: &str) {
    body.extend(br#","batch_id":""#);
    body.extend(id.as_bytes());
    body.push(b'"');
}

fn records_len(batch: &Batch) -> usize {
    batch.json_len() + batch.len().saturating_sub(1)
}

fn longest_id() -> String {
    BatchId::new(u64::MAX, u32::MAX).to_string()
}
