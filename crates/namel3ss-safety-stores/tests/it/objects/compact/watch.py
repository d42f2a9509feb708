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

counts = {name: {"looks": 0, "errors": 0, "twice": 0} for name in readers}
lows = dict.fromkeys(readers, least)


def look(name, read, is_last):
    count = counts[name]
    try:
        total, distinct = read()
    except Exception as error:  # noqa: BLE001
        # Of whatever kind: each reader, and each server, has its own for what is gone.
        if is_last:
            raise
        count["errors"] += 1
        count["error"] = str(error)[:200]
        return
    count["looks"] += 1
    if distinct < lows[name]:
        sys.exit(f"{name}: {distinct} rows, {lows[name]} were there before")
    lows[name] = distinct
    if total != distinct:
        if kind == "folder" or is_last or total > 2 * distinct:
            sys.exit(f"{name}: {total} rows, {distinct} different ones")
        count["twice"] += 1


print("reading", flush=True)
is_last = False
while not is_last:
    # Once nobody compacts any more, there is nothing to fail over.
    is_last = bool(select.select([sys.stdin], [], [], 0)[0])
    for name, read in readers.items():
        look(name, read, is_last)
print(counts)
