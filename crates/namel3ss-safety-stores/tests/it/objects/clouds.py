"""Reads the objects of a bucket as other programs would, with boto3 or azure-storage-blob, and compares
every row with the same events as JSON lines: clouds.py s3|azure ENDPOINT KEY PREFIX JSONL_FOLDER"""

import csv
import io
import json
import re
import sys

from rows import COLUMNS, comparable, lines_of

kind, endpoint, secret, prefix, jsonl = sys.argv[1:]
csv.field_size_limit(1 << 30)


def s3():
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key=secret,
    )
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="safety", Prefix=f"{prefix}/year="):
        for found in page["Contents"]:
            yield found["Key"], client.get_object(Bucket="safety", Key=found["Key"])["Body"].read()


def azure():
    from azure.storage.blob import ContainerClient

    credential = {"account_name": "devstoreaccount1", "account_key": secret}
    client = ContainerClient(endpoint, "safety", credential=credential)
    for name in client.list_blob_names(name_starts_with=f"{prefix}/year="):
        yield name, client.download_blob(name).readall()


def cell(name, text):
    """A CSV cell without the apostrophe that makes it inert; an empty one is no text at all."""
    if name in ["categories", "metadata"]:
        return json.loads(text)
    if name in ["timestamp", "confidence", "latency_ms"]:
        return text
    if name == "seq":
        return int(text)
    if re.match(r"'+([=+\-@\t\r\n＝＋－＠]|\Z)", text):
        return text[1:]
    return text or None


def rows_of(key, data):
    if key.endswith(".parquet"):
        import pyarrow.parquet

        return pyarrow.parquet.read_table(io.BytesIO(data), partitioning=None).to_pylist()
    text = data.decode()
    if key.endswith(".json"):
        return json.loads(text)
    header, *cells = csv.reader(io.StringIO(text, newline=""))
    assert header == COLUMNS, header
    return [{name: cell(name, text) for name, text in zip(header, row)} for row in cells]


objects = list({"s3": s3, "azure": azure}[kind]())
found = [comparable(row) for key, data in objects for row in rows_of(key, data)]
found.sort(key=lambda row: row["seq"])
expected = lines_of(jsonl)
assert len(found) == len(expected), f"{len(found)} rows, not {len(expected)}"
for there, here in zip(found, expected):
    assert there == here, f"{there}\nis not {here}"
print(f"read back {len(found)} rows from {len(objects)} objects")
