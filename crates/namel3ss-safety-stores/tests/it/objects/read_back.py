"""Reads a dataset as its users would, with pyarrow, polars, DuckDB and pandas, and compares every
row with the same events as JSON lines: read_back.py PARQUET_FOLDER JSONL_FOLDER"""

import glob
import sys

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet

from rows import COLUMNS, comparable, lines_of

parquet, jsonl = sys.argv[1:]
def same(reader, rows):
    rows = sorted((comparable(row) for row in rows), key=lambda row: row["seq"])
    assert len(rows) == len(expected), f"{reader}: {len(rows)} rows, not {len(expected)}"
    for there, here in zip(rows, expected):
        assert there == here, f"{reader}: {there}\nis not {here}"


expected = lines_of(jsonl)
files = sorted(glob.glob(f"{parquet}/**/*.parquet", recursive=True))

# pyarrow, as a dataset of Hive partitions.
dataset = pyarrow.dataset.dataset(parquet, format="parquet", partitioning="hive")
table = dataset.to_table()
assert table.column_names == [*COLUMNS, "year", "month", "day"], table.column_names
schema = pyarrow.parquet.read_schema(files[0])
words = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
for name, wanted in {
    "timestamp": pyarrow.timestamp("us", tz="UTC"), "action": words, "direction": words,
    "severity": words, "policy_name": words, "reason": pyarrow.string(),
    "confidence": pyarrow.float64(), "metadata": pyarrow.string(), "seq": pyarrow.int64(),
}.items():
    assert schema.field(name).type == wanted, (name, schema.field(name).type)
assert schema.field("categories").type.value_type == pyarrow.string()
same("pyarrow", table.to_pylist())
middle = expected[len(expected) // 2]["timestamp"]
late = pyarrow.compute.field("timestamp") >= pyarrow.scalar(middle, pyarrow.timestamp("us", tz="UTC"))
later = sum(row["timestamp"] >= middle for row in expected)
assert dataset.to_table(filter=late).num_rows == later

# The files themselves.
largest = max((pyarrow.parquet.ParquetFile(path) for path in files), key=lambda f: f.metadata.num_rows)
assert largest.metadata.num_row_groups > 1, largest.metadata
for group in range(largest.metadata.num_row_groups):
    columns = largest.metadata.row_group(group)
    for at in range(columns.num_columns):
        column = columns.column(at)
        assert column.compression == "ZSTD", column
        if column.path_in_schema in ["action", "direction", "severity", "policy_name"]:
            assert column.has_dictionary_page and "RLE_DICTIONARY" in column.encodings, column
        if column.path_in_schema in ["timestamp", "seq"]:
            assert column.statistics.has_min_max and column.has_column_index, column
bounds = [largest.metadata.row_group(group).column(1).statistics for group in range(2)]
assert bounds[0].max <= bounds[1].min, "row groups follow each other in time"

# polars, DuckDB, pandas.
scan = polars.scan_parquet(f"{parquet}/**/*.parquet", hive_partitioning=True)
same("polars", scan.collect().to_dicts())
blocked = sum(row["action"] == "block" for row in expected)
assert scan.filter(polars.col("action").cast(polars.String) == "block").collect().height == blocked
duckdb.sql("SET TimeZone = 'UTC'")
found = duckdb.sql(f"SELECT * FROM read_parquet('{parquet}/**/*.parquet', hive_partitioning = true)")
names = found.columns
same("DuckDB", (dict(zip(names, row)) for row in found.fetchall()))
sql = f"SELECT count(*) FROM '{parquet}/**/*.parquet' WHERE action = 'block'"
assert duckdb.sql(sql).fetchall() == [(blocked,)]
frame = pandas.concat([pandas.read_parquet(path, partitioning=None) for path in files])
assert frame["seq"].sum() == sum(row["seq"] for row in expected)
assert (frame["action"] == "block").sum() == blocked
print(f"read back {len(expected)} rows from {len(files)} files")
