"""Reads a dataset as its users would, with pyarrow, polars, DuckDB and pandas, and compares every
row with the same events as JSON lines: read_back.py PARQUET_FOLDER JSONL_FOLDER EXTREMES MICROS

EXTREMES is a folder of events whose moments Python's calendar can't name, MICROS are these, by seq."""

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

parquet, jsonl, extremes, micros = sys.argv[1:]


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
# Plain texts: some engines fail on dictionary types. The encoding is Parquet's own, below.
for name, wanted in {
    "timestamp": pyarrow.timestamp("us", tz="UTC"), "action": pyarrow.string(),
    "direction": pyarrow.string(), "severity": pyarrow.string(), "policy_name": pyarrow.string(),
    "reason": pyarrow.string(),
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
# A reader of a moment opens its day, and in there the row group that has it.
moment = pyarrow.scalar(middle, pyarrow.timestamp("us", tz="UTC"))
near = pyarrow.compute.field("timestamp") == moment
day = dataset.to_table(filter=near).to_pylist()[0]
field = pyarrow.compute.field
dated = (field("month") == day["month"]) & (field("day") == day["day"])
fragments = list(dataset.get_fragments(filter=dated))
groups = [group for fragment in fragments for group in fragment.split_by_row_group(near)]
assert len(fragments) < len(files) and len(groups) < largest.metadata.num_row_groups, (fragments, groups)
assert len(groups) == 1, groups
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
statistics = duckdb.sql(
    f"SELECT row_group_id, stats_min_value, stats_max_value FROM parquet_metadata('{parquet}/**/*.parquet')"
    " WHERE path_in_schema = 'timestamp' ORDER BY file_name, row_group_id"
).fetchall()
assert len(statistics) > len(files) and all(low and high for _, low, high in statistics), statistics
frame = pandas.concat([pandas.read_parquet(path, partitioning=None) for path in files])
same("pandas", frame.to_dict("records"))
assert frame["seq"].sum() == sum(row["seq"] for row in expected)
assert (frame["action"] == "block").sum() == blocked

# Moments beyond Python's calendar, as the numbers that they are.
wanted = [int(moment) for moment in micros.split(",")]
lowest, highest = -(2**63), 2**63 - 1
by_seq = pyarrow.dataset.dataset(extremes, format="parquet").to_table().sort_by("seq")
assert by_seq["timestamp"].cast(pyarrow.int64()).to_pylist() == wanted
by_seq = polars.scan_parquet(f"{extremes}/**/*.parquet").sort("seq").collect()
assert by_seq["timestamp"].to_physical().to_list() == wanted
parts = glob.glob(f"{extremes}/**/*.parquet", recursive=True)
by_seq = pandas.concat([pandas.read_parquet(path, partitioning=None) for path in parts]).sort_values("seq")
# What pandas itself takes for no moment is the same number.
assert by_seq["timestamp"].astype("int64").tolist() == wanted
# DuckDB has the highest for infinity, and no year before 290,309 BC.
sql = f"""SELECT epoch_us(timestamp) FROM '{extremes}/**/*.parquet'
    WHERE seq IN ({", ".join(str(at + 1) for at, moment in enumerate(wanted) if lowest < moment < highest)})
    ORDER BY seq"""
assert [moment for [moment] in duckdb.sql(sql).fetchall()] == [m for m in wanted if lowest < m < highest]
print(f"read back {len(expected)} rows from {len(files)} files")
