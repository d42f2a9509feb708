"""Real servers for a test, and clients of others to look into them with."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# What a first start may take, which installs the server.
START_SECONDS_MAX = 600


def _said(*command: str) -> str:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=START_SECONDS_MAX,
    ).stdout.strip()


@contextlib.contextmanager
def postgres(database: str) -> Iterator[str]:
    """Start one, with a new database; gives its URL."""
    script = str(SCRIPTS / "sql-servers")
    with Path(_said(script, "lock", "postgres", "quick")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        port = json.loads(_said(script, "up", "postgres", "quick"))["port"]
        url = f"postgresql://postgres@127.0.0.1:{port}"
        ask("psycopg", "psycopg-binary", program=_CREATE, url=f"{url}/postgres", database=database)
        yield f"{url}/{database}"


@contextlib.contextmanager
def s3(folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """Start one, with a new bucket; gives the usual variables that lead there."""
    folder.mkdir()
    server = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "servers"), "run", "s3", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        word, port = server.stdout.readline().split()
        assert word == "ready"
        variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "testtest",
            "AWS_REGION": "us-east-1",
        }
        ask("boto3", program=_MAKE_BUCKET, environ=variables, bucket=bucket)
        yield variables
    finally:
        server.stdin.close()
        server.wait(60)


def ask(
    *packages: str, program: str, environ: dict[str, str] | None = None, **given: str
) -> list[Any]:
    """Run a program that has some packages of others; what it prints, a JSON value a line."""
    python = _said(str(SCRIPTS / "servers"), "python", *packages)
    done = subprocess.run(
        [python, "-c", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(environ or {})},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


_CREATE = """
import json, sys, psycopg
given = json.load(sys.stdin)
with psycopg.connect(given["url"], autocommit=True) as connection:
    connection.execute(f"DROP DATABASE IF EXISTS {given['database']}")
    connection.execute(f"CREATE DATABASE {given['database']}")
"""

_MAKE_BUCKET = """
import json, os, sys, boto3
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
client.create_bucket(Bucket=json.load(sys.stdin)["bucket"])
"""

# Each row as its event gave it.
ROWS_OF_TABLE = """
import json, sys, psycopg
from psycopg.rows import dict_row
given = json.load(sys.stdin)
with psycopg.connect(given["url"], row_factory=dict_row, options="-c timezone=UTC") as connection:
    for row in connection.execute("SELECT * FROM safety_events ORDER BY seq"):
        row["timestamp"] = row["timestamp"].isoformat().replace("+00:00", "Z")
        del row["journal_id"], row["seq"]
        print(json.dumps(row))
"""

OBJECTS = """
import json, os, sys, boto3
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
given = json.load(sys.stdin)
for found in client.list_objects_v2(Bucket=given["bucket"]).get("Contents", []):
    path = os.path.join(given["folder"], found["Key"].replace("/", "_"))
    client.download_file(given["bucket"], found["Key"], path)
    print(json.dumps([found["Key"], path]))
"""

ROWS_OF_PARQUET = """
import json, sys, pyarrow.parquet
for row in pyarrow.parquet.read_table(json.load(sys.stdin)["path"]).to_pylist():
    row["timestamp"] = row["timestamp"].isoformat().replace("+00:00", "Z")
    row["metadata"] = json.loads(row["metadata"])
    del row["journal_id"], row["seq"]
    print(json.dumps(row))
"""
