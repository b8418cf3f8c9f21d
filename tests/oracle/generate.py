"""Writes the vectors: bodies, ciphertexts, signatures and verdicts of the reference agent 3.2.4."""

import asyncio
import base64
import json
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import guard_agent.encryption as encryption
from guard_agent.models import AgentStatus, DynamicRules, EventBatch, SecurityEvent, SecurityMetric
from guard_agent.signing import sign_payload
from guard_agent.utils import safe_json_serialize

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
WHOLE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
MICROS = WHOLE.replace(microsecond=123456)
OFFSET = datetime(2026, 1, 2, 3, 4, 5, 7, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))


def key(n):
    return f"00000000-0000-4000-8000-{n:012x}"


EVENTS = [
    SecurityEvent(idempotency_key=key(1), timestamp=WHOLE, event_type="ip_banned", ip_address="192.0.2.7"),
    SecurityEvent(
        idempotency_key=key(2), timestamp=MICROS, event_type="custom_rule_triggered", ip_address="2001:db8::1",
        country="DE", user_agent="Mozilla/5.0 \u201cx\u201d", action_taken="request_blocked", reason="é 😀 \x7f \\ \" /",
        endpoint="/a?b=c&d=%20", method="GET", status_code=429, response_time=0.125,
        decorator_type="rate_limit", rule_type="pattern", pattern_matched="<script>", handler_name="h",
        metadata={"z": [1, 2.0, None, True, {"y": "\u2028"}], "a": {}, "big": 2**53, "tiny": 1e-07, "e": 1e16},
        trace="extra", nested={"k": [1]},
    ),
    SecurityEvent(idempotency_key=key(3), timestamp=OFFSET, event_type="", status_code=-1, response_time=0.0),
]
METRICS = [
    SecurityMetric(timestamp=WHOLE, metric_type=kind, value=value, endpoint=endpoint, tags=tags)
    for kind, value, endpoint, tags in [
        ("request_count", 100, None, {}),
        ("response_time", 1e-07, "/a", {"k": "<\u007f/>", "é": "😀"}),
        ("error_rate", 0.1, None, {"b": "1", "a": "2"}),
        ("bandwidth_usage", 1e16, None, {}),
        ("threat_level", -2.5, None, {}),
        ("block_rate", 0.0, "", {}),
        ("cache_hit_rate", 1.7976931348623157e308, None, {}),
    ]
]
STATUSES = [
    AgentStatus(timestamp=WHOLE, status="healthy", uptime=12, events_sent=3, events_failed=0, buffer_size=1),
    AgentStatus(
        timestamp=MICROS, status="degraded", uptime=0.5, events_sent=0, events_failed=4, buffer_size=90,
        last_flush=OFFSET, errors=["Buffer nearly full", "High failure rate: 100.0%"],
    ),
]

# Documents, and whether we are deliberately stricter than the reference's coercions.
RULES = [
    ('{"rule_id":"r1","version":3,"timestamp":"2026-01-02T03:04:05Z","ttl":60}', False),
    ('{"rule_id":"r1","timestamp":"2026-01-02 03:04:05+00:00","expires_at":"2026-01-02 03:04:05.000007-05:30"}', False),
    ('{"ip_blacklist":["192.0.2.7","2001:db8::/32"],"ip_whitelist":[],"ip_ban_duration":60,"unknown":{"a":1}}', False),
    ('{"blocked_countries":["CN"],"whitelist_countries":["DE"],"blocked_user_agents":["bot.*"]}', False),
    ('{"blocked_cloud_providers":["AWS","AWS","GCP"],"suspicious_patterns":["a(b"]}', False),
    ('{"global_rate_limit":100,"global_rate_window":60,"endpoint_rate_limits":{"/a":[10,60]}}', False),
    ('{"global_rate_limit":null,"global_rate_window":null,"message":null,"expires_at":null}', False),
    ('{"enable_penetration_detection":true,"enable_ip_banning":false,"enable_rate_limiting":null,'
     '"enable_rate_limit_auto_ban":true,"auto_ban_threshold":1,"auto_ban_duration":3600}', False),
    ('{"emergency_mode":true,"emergency_whitelist":["192.0.2.1"],"emergency_whitelist_only":true,"message":"é"}', False),
    ('{"rule_id":"r1","ttl":-5}', False),
    ('{"rule_id":null}', False),
    ('{"rule_id":7}', False),
    ('{"ip_blacklist":null}', False),
    ('{"ip_blacklist":"192.0.2.7"}', False),
    ('{"ip_blacklist":[7]}', False),
    ('{"ip_blacklist":{"a":1}}', False),
    ('{"rule_id":"r1","version":"three"}', False),
    ('{"rule_id":"r1","timestamp":"yesterday"}', False),
    ('{"endpoint_rate_limits":{"/a":[10]}}', False),
    ('{"endpoint_rate_limits":{"/a":[10,60,1]}}', False),
    ('{"endpoint_rate_limits":{"/a":["ten",60]}}', False),
    ('{"endpoint_rate_limits":[["/a",[10,60]]]}', False),
    ('{"auto_ban_threshold":0}', False),
    ('{"auto_ban_duration":0}', False),
    ('{"emergency_mode":null}', False),
    ('{"emergency_mode":[]}', False),
    ('{"enable_ip_banning":"perhaps"}', False),
    ('{"rule_id":"r1","ttl":"60"}', True),
    ('{"rule_id":"r1","ttl":60.0}', True),
    ('{"emergency_mode":"yes"}', True),
    ('{"emergency_mode":1}', True),
]


def plain(data):
    return asyncio.run(safe_json_serialize(data))


def canonical(data):
    """The text that `PayloadEncryptor.encrypt` encrypts."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True, default=encryption._default_json_handler)


def spellings(model):
    """As in a plain body, and as in the encrypted document."""
    return {"plain": plain(model.model_dump()), "canonical": canonical(model.model_dump())}


def encrypted(events, metrics, nonce):
    encryption.os.urandom = lambda n: nonce[:n]
    document = {"events": [e.model_dump() for e in events], "metrics": [m.model_dump() for m in metrics]}
    payload = encryption.PayloadEncryptor(KEY).encrypt(document)
    return {"key": KEY, "document": canonical(document), "payload": payload}


def batch(**records):
    model = EventBatch(
        project_id="default", batch_id="1795342404872-d2e621ed", created_at=MICROS, agent_version="3.2.4",
        guard_version="7.0.1", **records,
    )
    return plain(model.model_dump())


def verdict(document, stricter):
    try:
        rules = DynamicRules(**json.loads(document))
    except ValueError as error:
        return {"document": document, "refused": [str(e["loc"][0]) for e in error.errors()]}
    read = json.loads(rules.model_dump_json())
    read["blocked_cloud_providers"] = sorted(read["blocked_cloud_providers"])
    if "timestamp" not in json.loads(document):
        del read["timestamp"]
    return {"document": document, "stricter": stricter, "read": read}


def main(out):
    bodies = ["{}", batch(events=EVENTS), batch(metrics=METRICS), '{"k":"é"}']
    vectors = {
        "encrypted": [
            encrypted([], [], bytes([0x5A] * 12)),
            encrypted(EVENTS, [], bytes(range(12))),
            encrypted([], METRICS, bytes(range(0xA0, 0xAC))),
        ],
        "signatures": [
            {"secret": secret, "body": body, "signature": sign_payload(body.encode(), secret=secret)}
            for secret in ["topsecret", "clé", "s" * 100] for body in bodies
        ],
        "events": [spellings(event) for event in EVENTS],
        "metrics": [spellings(metric) for metric in METRICS],
        "statuses": [spellings(status) for status in STATUSES],
        "batches": [{"events": batch(events=EVENTS), "metrics": batch(metrics=METRICS)}],
        "rules": [verdict(document, stricter) for document, stricter in RULES],
    }
    for name, cases in vectors.items():
        text = json.dumps(cases, ensure_ascii=False, indent=1, sort_keys=True)
        (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")


main(Path(sys.argv[1]))
