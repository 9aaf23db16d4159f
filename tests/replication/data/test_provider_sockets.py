"""When a server of an image is there to be called."""

from __future__ import annotations

import socket
from pathlib import Path

from lab.replication.provider.qemu_nbd import accepts


def test_a_socket_that_is_bound_only_accepts_nobody(tmp_path: Path) -> None:
    """Found on a busy host: the file was there, nobody listened yet, and a planned failback ended with an error."""
    path = tmp_path / "disk.sock"
    assert not accepts(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert path.exists()
        assert not accepts(path)
        server.listen()
        assert accepts(path)
