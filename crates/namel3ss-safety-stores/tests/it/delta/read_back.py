"""Reads a Delta table as its users would, with deltalake and polars, and compares every row with the
same events as JSON lines: read_back.py TABLE ENDPOINT JSONL_FOLDER, with an empty ENDPOINT for a
local table"""

import os
import pathlib
import sys

import deltalake
import polars
import pyarrow

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "objects"))
from rows import COLUMNS, comparable, lines_of  # noqa: E402

url, endpoint, jsonl = sys.argv[1:]
options = {}
if endpoint:
    options = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest",
    }
expected = lines_of(jsonl)


def same(reader, rows):
    rows = sorted((comparable(row) for row in rows), key=lambda row: row["seq"])
    assert len(rows) == len(expected), f"{reader}: {len(rows)} rows, not {len(expected)}"
    for there, here in zip(rows, expected):
        assert there == here, f"{reader}: {there}\nis not {here}"


# deltalake.
table = deltalake.DeltaTable(url, storage_options=options)
fields = {field.name: field.type for field in table.schema().fields}
assert list(fields) == [*COLUMNS, "date"], list(fields)
kinds = {name: str(kind) for name, kind in fields.items()}
for name, wanted in {
    "timestamp": "timestamp", "seq": "long", "confidence": "double", "metadata": "string", "date": "date",
}.items():
    assert f'"{wanted}"' in kinds[name], (name, kinds[name])
protocol = table.protocol()
assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2), protocol
assert table.metadata().partition_columns == ["date"]
arrow = table.to_pyarrow_table()
assert arrow.schema.field("timestamp").type == pyarrow.timestamp("us", tz="UTC"), arrow.schema
rows = arrow.to_pylist()
same("deltalake", rows)
[journal] = {row["journal_id"] for row in rows}
assert table.transaction_version(journal) == len(expected)
first = table.history()[-1]
assert first["operation"] == "CREATE TABLE" and "namel3ss-safety" in first["engineInfo"], first
assert table.history(1)[0]["operation"] == "WRITE"
adds = pyarrow.table(table.get_add_actions(flatten=True)).to_pylist()
assert sum(add["num_records"] for add in adds) == len(expected)
days = {row["date"] for row in rows}
assert len(days) > 1, days
for day in days:
    part = [row for row in rows if row["date"] == day]
    names = table.file_uris(partition_filters=[("date", "=", str(day))])
    assert names and all(f"date={day}" in name for name in names), names
    bounds = [add for add in adds if add["partition.date"] == day]
    assert min(row["timestamp"] for row in part) == min(add["min.timestamp"] for add in bounds)
    assert max(row["timestamp"] for row in part) == max(add["max.timestamp"] for add in bounds)
    assert sum(add["null_count.reason"] for add in bounds) == sum(row["reason"] is None for row in part)

# polars.
scan = polars.scan_delta(url, storage_options=options or None)
same("polars", scan.collect().to_dicts())
day = max(days)
late = scan.filter(polars.col("date") == day).collect()
assert late.height == sum(row["date"] == day for row in rows)
middle = sorted(row["timestamp"] for row in rows)[len(expected) // 2]
later = scan.filter(polars.col("timestamp") >= middle).collect().height
assert later == sum(row["timestamp"] >= middle for row in rows)

print(f"read back {len(expected)} rows of version {table.version()}", flush=True)
# Their threads may abort a process that ends by itself.
os._exit(0)
