"""Rows as a reader gives them, made comparable with those that another gives."""

import datetime
import glob
import json

COLUMNS = [
    "event_id", "timestamp", "app_name", "chain_name", "agent_name", "policy_name", "reason",
    "trace_id", "session_id", "user_id", "direction", "action", "categories", "severity",
    "confidence", "latency_ms", "metadata", "journal_id", "seq",
]
TEXTS = set(COLUMNS) - {"timestamp", "categories", "confidence", "latency_ms", "metadata", "seq"}
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def micros(moment):
    return (moment.replace(tzinfo=datetime.timezone.utc) - EPOCH) // datetime.timedelta(microseconds=1)


def comparable(row):
    """A row whose values are equal if and only if they mean the same."""
    row = {name: row[name] for name in COLUMNS}
    for name in ["confidence", "latency_ms"]:
        row[name] = repr(float(row[name]))
    for name in TEXTS:
        # pandas has a number that is none for no text.
        row[name] = None if isinstance(row[name], float) else row[name]
    if isinstance(row["timestamp"], str):
        row["timestamp"] = micros(datetime.datetime.fromisoformat(row["timestamp"]))
    elif not isinstance(row["timestamp"], int):
        row["timestamp"] = micros(row["timestamp"])
    if isinstance(row["metadata"], str):
        text, row["metadata"] = row["metadata"], json.loads(row["metadata"])
        assert list(json.loads(text)) == sorted(json.loads(text)), "keys are sorted"
    row["categories"] = list(row["categories"])
    return row


def lines_of(folder):
    """The rows of a dataset of JSON lines, in the order of their seqs."""
    rows = []
    for path in glob.glob(f"{folder}/**/*.jsonl", recursive=True):
        with open(path, encoding="utf-8", newline="\n") as lines:
            rows += [comparable(json.loads(line)) for line in lines.read().split("\n") if line]
    return sorted(rows, key=lambda row: row["seq"])
