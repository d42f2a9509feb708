"""Counts the rows of a dataset again and again, as its users would, while it is compacted, until
standard input closes: watch.py folder PATH ROWS | watch.py bucket PREFIX ENDPOINT ROWS

In a folder each look sees every row once, or fails since a file is gone. In a bucket it sees every row
once or twice, or fails likewise. ROWS are there from the beginning; more come."""

import select
import sys

kind, place, *rest = sys.argv[1:]
least = int(rest[-1])

import duckdb  # noqa: E402
import polars  # noqa: E402
import pyarrow.dataset  # noqa: E402


def pairs(journals, seqs):
    found = list(zip(journals, seqs))
    return len(found), len(set(found))


def with_pyarrow(filesystem=None):
    found = pyarrow.dataset.dataset(place, format="parquet", partitioning="hive", filesystem=filesystem)
    table = found.to_table(columns=["journal_id", "seq"])
    return pairs(table["journal_id"].to_pylist(), table["seq"].to_pylist())


def with_duckdb():
    sql = f"SELECT journal_id, seq FROM read_parquet('{place}/**/*.parquet')"
    found = duckdb.sql(sql).fetchall()
    return len(found), len(set(found))


def with_polars():
    found = polars.scan_parquet(f"{place}/**/*.parquet").select("journal_id", "seq").collect()
    return pairs(found["journal_id"], found["seq"])


if kind == "folder":
    readers = {"pyarrow": with_pyarrow, "duckdb": with_duckdb, "polars": with_polars}
else:
    import pyarrow.fs

    s3 = pyarrow.fs.S3FileSystem(
        access_key="test", secret_key="testtest", endpoint_override=rest[0], region="us-east-1"
    )
    readers = {"pyarrow": lambda: with_pyarrow(s3)}

# What the readers say of files that are gone; or all of them, which no reader finds worth an error of
# its own kind. The server that stands in for S3 breaks off an object that is removed while it is sent.
GONE = (
    "No such file", "not found", "404", "NOT_FOUND", "does not exist", "Cannot open file",
    "NO_SUCH_KEY", "No files found", "No match for FieldRef", "at least 1 source", "INTERNAL_FAILURE",
    "expanded paths were empty",
)
counts = {name: {"looks": 0, "gone": 0, "twice": 0} for name in readers}
lows = dict.fromkeys(readers, least)
print("reading", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for name, read in readers.items():
        count = counts[name]
        try:
            total, distinct = read()
        except Exception as error:  # noqa: BLE001
            if not any(word in str(error) for word in GONE):
                sys.exit(f"{name}: {type(error).__name__}: {error}")
            count["gone"] += 1
            continue
        count["looks"] += 1
        if distinct < lows[name]:
            sys.exit(f"{name}: {distinct} rows, {lows[name]} were there before")
        lows[name] = distinct
        if total != distinct:
            if kind == "folder" or total > 2 * distinct:
                sys.exit(f"{name}: {total} rows, {distinct} different ones")
            count["twice"] += 1
print(counts)
if not all(count["looks"] for count in counts.values()):
    sys.exit(f"a reader saw nothing: {counts}")
