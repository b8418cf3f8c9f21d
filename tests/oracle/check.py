"""Has the reference agent 3.2.4 read the requests that `wire::tests::oracle` wrote into a directory."""

import gzip
import json
import re
import sys
from datetime import datetime
from pathlib import Path

from guard_agent.encryption import PayloadEncryptor
from guard_agent.models import AgentStatus, EventBatch, SecurityEvent, SecurityMetric
from guard_agent.signing import sign_payload

BATCH_ID = re.compile(r"\d+-[0-9a-f]{8}")
BATCH_MEMBERS = list(EventBatch.model_fields)
ENVELOPE_MEMBERS = ["encrypted_payload", "batch_id", "agent_version", "guard_version", "guard_core_version"]
DATES = {"timestamp", "last_flush", "created_at"}
PATHS = {"events": "/api/v1/events", "metrics": "/api/v1/metrics", "status": "/api/v1/status"}


class Difference(Exception):
    pass


def expect(what, ours, theirs):
    # `repr` tells 1 from 1.0 and True, and 0.0 from -0.0.
    if repr(ours) != repr(theirs):
        raise Difference(f"{what}:\n  sent {ours!r}\n  read {theirs!r}")


def strict_json(body):
    def refuse(constant):
        raise Difference(f"{constant} is not JSON")

    def members(pairs):
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise Difference(f"repeated member in {names}")
        return dict(pairs)

    return json.loads(body, parse_constant=refuse, object_pairs_hook=members)


def comparable(value):
    """Without the order of members, and with dates as dates."""
    if isinstance(value, dict):
        return {
            name: datetime.fromisoformat(member) if name in DATES and isinstance(member, str) else comparable(member)
            for name, member in sorted(value.items())
        }
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return value


def read(model, record):
    return comparable(model.model_validate(record, strict=False).model_dump(mode="json"))


def check_versions(case, body, project_id):
    expect("agent_version", case["headers"]["user-agent"], "guard-agent-rust/" + body["agent_version"])
    for name in ["guard_version", "guard_core_version"]:
        expect(name, case[name], body[name])
    expect("x-project-id", case["headers"].get("x-project-id"), project_id)
    if not BATCH_ID.fullmatch(body["batch_id"]):
        raise Difference(f"batch_id {body['batch_id']!r}")


def check_batch(case, body):
    kind, model = case["kind"], {"events": SecurityEvent, "metrics": SecurityMetric}[case["kind"]]
    check_versions(case, body, case["project_id"])
    if case["key"]:
        expect("members", ENVELOPE_MEMBERS, list(body))
        document = PayloadEncryptor(case["key"]).decrypt(body["encrypted_payload"])
        expect("document", ["events", "metrics"], list(document))
        path = "/api/v1/events/encrypted"
    else:
        expect("members", BATCH_MEMBERS, list(body))
        expect("project_id", case["project_id"] or "default", body["project_id"])
        expect("compressed", False, body["compressed"])
        document, path = body, PATHS[kind]
        batch = EventBatch.model_validate(body)
        expect("created_at", datetime.fromisoformat(body["created_at"]).timestamp(), batch.created_at.timestamp())
    expect("path", case["url"], "https://api.guard-core.com" + path)
    expect("the other kind", [], document["metrics" if kind == "events" else "events"])
    expect("count", len(case["sent"]), len(document[kind]))
    for sent, record in zip(case["sent"], document[kind]):
        expect("record", comparable(sent), comparable(record))
        expect("model", comparable(sent), read(model, record))
        if kind == "events":
            expect("member order", list(SecurityEvent.model_fields), list(record)[: len(SecurityEvent.model_fields)])
        else:
            expect("member order", list(SecurityMetric.model_fields), list(record))


def check_status(case, body):
    expect("path", case["url"], "https://api.guard-core.com" + PATHS["status"])
    expect("members", list(AgentStatus.model_fields), list(body))
    expect("model", comparable(case["sent"]), read(AgentStatus, body))


def check(case, body):
    headers = case["headers"]
    expect("content-type", headers["content-type"], "application/json")
    if headers.get("content-encoding") == "gzip":
        expect("time in the gzip header", b"\0\0\0\0", body[4:8])
        body = gzip.decompress(body)
    expect("signature", headers.get("x-payload-signature"), sign_payload(body, secret=case["secret"]))
    body = strict_json(body.decode("utf-8"))
    (check_status if case["kind"] == "status" else check_batch)(case, body)


def main(directory):
    cases = sorted(directory.glob("*.json"))
    failures = 0
    for path in cases:
        case = json.loads(path.read_text(encoding="utf-8"))
        try:
            check(case, path.with_suffix(".body").read_bytes())
        except Exception as error:
            failures += 1
            print(f"{path.stem}: {type(error).__name__}: {error}", file=sys.stderr)
    if failures or len(cases) != 15:
        sys.exit(f"oracle: {failures} of {len(cases)} requests are read differently (15 were expected)")
    print(f"oracle: the reference reads all {len(cases)} requests as we meant them")


main(Path(sys.argv[1]))
