from __future__ import annotations

import json

import pytest

from lab.measure.ports import Listener, TcpConnection, parse_connections, parse_listeners
from lab.measure.throughput import parse_dd, parse_stages, reduction

TABLE = """LISTEN 0 128 0.0.0.0:22 0.0.0.0:*
LISTEN 0 5 127.0.0.1%lo:5201 0.0.0.0:*
LISTEN 0 128 [::]:443 [::]:*
LISTEN 0 128 [::1]:631 [::]:*
"""


def test_listeners_keep_the_difference_between_local_and_open() -> None:
    found = parse_listeners(TABLE)
    assert {item.port for item in found if not item.local} == {22, 443}
    assert Listener(5201, "127.0.0.1") in found
    assert not parse_listeners("")


def test_connections_have_both_ends() -> None:
    table = "0 0 10.30.0.11:49687 10.30.0.21:7788 \n0 36 [::ffff:10.0.2.15]:22 [::ffff:10.0.2.2]:34978\n"
    assert parse_connections(table)[0] == TcpConnection("10.30.0.11", 49687, "10.30.0.21", 7788)
    assert parse_connections(table)[1].here_port == 22
    assert not parse_connections("")


def test_dd_rates() -> None:
    words = "1+0 records in\n1+0 records out\n134217728 bytes (134 MB, 128 MiB) copied, 0.5 s, 268 MB/s\n"
    assert parse_dd(words) == 134217728 / 0.5
    with pytest.raises(StopIteration):
        parse_dd("dd: failed to open")


def test_reduction_counts_all_documents() -> None:
    known = {"stream": "s", "sequence": 1, "received_ns": 1, "optimised_ns": 2, "sent_ns": 3, "raw_bytes": 90}
    stages = parse_stages("\n".join(json.dumps({**known, "wire_bytes": size}) for size in (30, 60)))
    assert reduction(stages) == 2.0
    with pytest.raises(ZeroDivisionError):
        reduction([])
