"""Reads a table as other programs would, with psycopg, PyMySQL or sqlite3, and compares every row with
the same events as JSON lines: clients.py KIND WHERE TABLE JSONL

What a column can't hold, such as NUL in a text of PostgreSQL's, stands in the metadata under `row.exact`.
"""

import datetime
import decimal
import json
import re
import sys

kind, where, table, jsonl = sys.argv[1:]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
JSON = ["categories", "metadata"]


def loads(text):
    """JSON whose numbers are equal if they are written with the same digits: 1e300 and 1000…"""
    return json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal)


def postgres():
    import psycopg
    from psycopg.rows import dict_row
    from psycopg.types.json import set_json_loads

    set_json_loads(loads)
    with psycopg.connect(where, row_factory=dict_row, options="-c timezone=UTC") as connection:
        yield from connection.execute(f"SELECT * FROM {table} ORDER BY seq")


def mysql():
    import pymysql

    host, port, database = where.split("/")
    connection = pymysql.connect(
        host=host, port=int(port), user="root", database=database, charset="utf8mb4",
        cursorclass=pymysql.cursors.DictCursor, init_command="SET time_zone = '+00:00'",
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY seq")
        yield from cursor.fetchall()


def sqlite():
    import sqlite3

    connection = sqlite3.connect(where)
    connection.row_factory = sqlite3.Row
    yield from map(dict, connection.execute(f"SELECT * FROM {table} ORDER BY seq"))


def micros(moment):
    if isinstance(moment, str):
        if not re.match(r"(?!0000)\d{4}-", moment):
            # Of a year that Python has no name for: what is left is its text.
            return moment
        moment = datetime.datetime.fromisoformat(moment)
    moment = moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc)
    return (moment - EPOCH) // datetime.timedelta(microseconds=1)


def comparable(row):
    """A row whose values are equal if and only if they mean the same."""
    row = dict(row)
    for name in JSON:
        if isinstance(row[name], str):
            row[name] = loads(row[name])
    exact = row["metadata"].pop("row.exact", None)
    if exact is not None:
        row.update(loads(exact))
    row["timestamp"] = micros(row["timestamp"])
    for name in ["confidence", "latency_ms"]:
        # A number that is none is null where a column has no other word for it.
        number = float("nan" if row[name] is None else row[name])
        row[name] = number if number == number else "NaN"
    row["journal_id"] = str(row["journal_id"]).replace("-", "")
    row["seq"] = int(row["seq"])
    return row


expected = []
with open(jsonl, encoding="utf-8", newline="\n") as lines:
    expected = [comparable(loads(line)) for line in lines.read().split("\n") if line]
found = [comparable(row) for row in {"postgres": postgres, "mysql": mysql, "sqlite": sqlite}[kind]()]
assert len(found) == len(expected), f"{len(found)} rows, not {len(expected)}"
for there, here in zip(found, sorted(expected, key=lambda row: row["seq"])):
    assert there.keys() == here.keys(), (there.keys(), here.keys())
    for name, value in here.items():
        assert there[name] == value, f"{name}: {there[name]!r} is not {value!r}"
print(f"read back {len(found)} rows")
