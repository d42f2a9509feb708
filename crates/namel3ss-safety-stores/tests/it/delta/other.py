"""Does with a Delta table what other writers do, with deltalake: other.py TABLE WHAT"""

import datetime
import json
import os
import sys

import deltalake
import pyarrow
import pyarrow.parquet

path, what = sys.argv[1:]
TEXTS = [
    "event_id", "app_name", "chain_name", "agent_name", "policy_name", "reason", "trace_id",
    "session_id", "user_id", "direction", "action", "severity", "metadata", "journal_id",
]


def rows(journal, seqs, **more):
    """Rows as somebody else writes them, with all columns of ours."""
    at = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
    columns = {name: pyarrow.array([None] * len(seqs), pyarrow.string()) for name in TEXTS}
    for name, text in {
        "event_id": "theirs", "direction": "input", "action": "allow", "severity": "none",
        "metadata": "{}", "journal_id": journal,
    }.items():
        columns[name] = pyarrow.array([text] * len(seqs), pyarrow.string())
    columns["timestamp"] = pyarrow.array([at] * len(seqs), pyarrow.timestamp("us", tz="UTC"))
    columns["categories"] = pyarrow.array([[]] * len(seqs), pyarrow.list_(pyarrow.string()))
    columns["confidence"] = columns["latency_ms"] = pyarrow.array([1.0] * len(seqs))
    columns["seq"] = pyarrow.array(seqs, pyarrow.int64())
    for name, values in more.items():
        columns[name] = values
    return pyarrow.table(columns)


def open_table():
    return deltalake.DeltaTable(path)


match what.split(":"):
    case ["create"]:
        # Columns in another order, one more of its own, no partitions.
        note = pyarrow.array(["mine"], pyarrow.string())
        deltalake.write_deltalake(path, rows("0" * 32, [1], note=note))
    case ["create-by-date"]:
        date = pyarrow.array([datetime.date(2026, 3, 1)], pyarrow.date32())
        deltalake.write_deltalake(path, rows("0" * 32, [1], date=date), partition_by=["date"])
    case ["create-short"]:
        short = rows("0" * 32, [1]).drop_columns(["reason", "latency_ms"])
        deltalake.write_deltalake(path, short)
    case ["create-by-action"]:
        deltalake.write_deltalake(path, rows("0" * 32, [1]), partition_by=["action"])
    case ["append", journal, first, last]:
        seqs = list(range(int(first), int(last) + 1))
        columns = [field.name for field in open_table().schema().fields]
        more = {
            "date": pyarrow.array([datetime.date(2026, 3, 1)] * len(seqs), pyarrow.date32()),
            "note": pyarrow.array(["mine"] * len(seqs), pyarrow.string()),
            "team": pyarrow.array(["theirs"] * len(seqs), pyarrow.string()),
        }
        more = {name: values for name, values in more.items() if name in columns}
        deltalake.write_deltalake(path, rows(journal, seqs, **more), mode="append")
    case ["look"]:
        pass
    case ["checkpoint"]:
        open_table().create_checkpoint()
    case ["compact"]:
        done = open_table().optimize.compact()
        assert done["numFilesRemoved"] > 1, done
        open_table().vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        open_table().create_checkpoint()
        open_table().cleanup_metadata()
    case ["delete", first, last]:
        open_table().delete(f"seq >= {first} and seq <= {last}")
    case ["like-spark"]:
        # A file and a commit as Spark writes them: moments of 96 bits, no statistics; and nulls.
        late = datetime.datetime(3000, 1, 1, 12, tzinfo=datetime.timezone.utc)
        table = rows(None, [None] * 3)
        for name, values in {
            "timestamp": pyarrow.array([late, late, None], pyarrow.timestamp("us", tz="UTC")),
            "metadata": pyarrow.array(['{"n":1}', None, "{}"], pyarrow.string()),
            "confidence": pyarrow.array([0.5, None, None], pyarrow.float64()),
            "action": pyarrow.array(["Denied", None, "maybe"], pyarrow.string()),
            "direction": pyarrow.array(["sideways", None, "input"], pyarrow.string()),
        }.items():
            table = table.set_column(table.schema.get_field_index(name), name, values)
        name = "date=3000-01-01/part-00000.parquet"
        os.makedirs(os.path.dirname(f"{path}/{name}"), exist_ok=True)
        pyarrow.parquet.write_table(table, f"{path}/{name}", use_deprecated_int96_timestamps=True)
        add = {
            "path": name, "partitionValues": {"date": "3000-01-01"}, "dataChange": True,
            "size": os.path.getsize(f"{path}/{name}"), "modificationTime": 0,
        }
        with open(f"{path}/_delta_log/{open_table().version() + 1:020}.json", "x") as commit:
            json.dump({"add": add}, commit)
    case ["add-column"]:
        team = deltalake.Field("team", deltalake.schema.PrimitiveType("string"), nullable=True)
        open_table().alter.add_columns(team)
    case ["constrain"]:
        open_table().alter.add_constraint({"late": "seq >= 0"})
    case _:
        sys.exit(__doc__)
table = open_table()
found = table.to_pyarrow_table(columns=["journal_id", "seq"]).to_pylist()
print(json.dumps({
    "version": table.version(),
    "files": len(table.file_uris()),
    "history": len(table.history()),
    "rows": len(found),
    "different": len({(row["journal_id"], row["seq"]) for row in found}),
}), flush=True)
# Their threads may abort a process that ends by itself.
os._exit(0)
