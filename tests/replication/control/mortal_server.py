"""The real configuration server as a child process that kills itself after a number of committed transactions.

A nursery process imports everything once and forks a server for each line on its standard input: the configuration
is read from the file that is its argument, the line is the number of commits to live for (0: for ever). It answers
``dead SIGNAL COMMITS`` when a server has died.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from control_stand_ins import PATIENCE, QUICK, World

import lab
from lab.replication.common.config import Endpoint
from lab.replication.configuration_server.__main__ import _serve
from lab.replication.configuration_server.config import load_server_config
from lab.replication.configuration_server.database import Database
from lab.waiting import Deadline, wait_until

COUNT = struct.Struct("<Q")


def count_commits(shared: mmap.mmap, lives: int) -> None:
    """Have every outermost transaction counted, and the process killed right after commit number ``lives``."""
    transaction = Database.transaction

    @contextmanager
    def counted(self):
        outermost = not self._depth
        with transaction(self):
            yield
        if outermost:
            commits = COUNT.unpack_from(shared)[0] + 1
            COUNT.pack_into(shared, 0, commits)
            if commits == lives:
                os.kill(os.getpid(), signal.SIGKILL)

    Database.transaction = counted


def nursery(config_file: Path) -> None:
    for line in sys.stdin:
        shared = mmap.mmap(-1, COUNT.size)
        child = os.fork()
        if child == 0:
            count_commits(shared, int(line))
            asyncio.run(_serve(load_server_config(config_file)))
            os._exit(0)
        say("born", child)
        _, status = os.waitpid(child, 0)
        say("dead", os.waitstatus_to_exitcode(status), COUNT.unpack_from(shared)[0])


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class MortalServer:
    """A server in a child process, as the world sees one: a port, and an end."""

    def __init__(self, nursery: Nursery, lives: int) -> None:
        self.port = nursery.port
        self._nursery = nursery
        self.pid = nursery.bear(lives)
        self._ending: tuple[int, int] | None = None

    @property
    def ending(self) -> tuple[int, int] | None:
        """Exit code and number of commits once it is dead."""
        if self._ending is None:
            self._ending = self._nursery.ending()
        return self._ending

    async def close(self) -> None:
        if self.ending is None:
            os.kill(self.pid, signal.SIGKILL)
            wait_until(lambda: self.ending, Deadline.after(10), "end of the server")


class Nursery:
    """The nursery process."""

    def __init__(self, config_file: Path, port: int) -> None:
        self.port = port
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(config_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # The lab that is tested here, which is not always the one that is installed.
            env={**os.environ, "PYTHONPATH": str(Path(lab.__file__).parents[1])},
        )
        self._said: queue.Queue[list[str]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._said.put(line.split())

    def bear(self, lives: int) -> int:
        self._process.stdin.write(f"{lives}\n")
        self._process.stdin.flush()
        word, pid = self._said.get(timeout=30)
        assert word == "born"
        return int(pid)

    def ending(self) -> tuple[int, int] | None:
        try:
            word, code, commits = self._said.get_nowait()
        except queue.Empty:
            return None
        assert word == "dead"
        return int(code), int(commits)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(10)
        self._process.stdout.close()


class MortalWorld(World):
    """A world whose configuration server is a process that can be killed at any commit."""

    nursery: Nursery | None = None
    lives = 0

    def _start_server(self) -> MortalServer:
        if self.nursery is None:
            self.nursery = Nursery(self._write_config(), self.config.listen.port)
        return MortalServer(self.nursery, self.lives)

    def restart_server(self, lives: int = 0) -> None:
        """Kill the server if it lives, and start one that lives for ``lives`` commits."""
        self.run(self.server.close())
        self.lives = lives
        self.server = self._start_server()

    def close(self) -> None:
        super().close()
        self.nursery.close()

    def _write_config(self) -> Path:
        config = self.config
        listen = Endpoint("127.0.0.1", free_port())
        self.config = config = type(config)(
            **{field.name: getattr(config, field.name) for field in fields(config)} | {"listen": listen}
        )
        path = self.folder / "configuration-server.json"
        value = {
            "name": config.name,
            "listen": listen.to_json(),
            "addresses": list(config.addresses),
            "fabrics": {site: endpoint.to_json() for site, endpoint in config.fabrics.items()},
            "operators": list(config.operators),
            "deadlines": {field.name: getattr(PATIENT, field.name) for field in fields(PATIENT)},
            "scripts_dir": str(config.scripts_dir),
        }
        for key in ("identity_dir", "ca_dir", "issued_dir", "database", "passphrase_file"):
            value[key] = str(getattr(config, key))
        if config.vault is not None:
            value |= {"vault": config.vault.to_json(), "vault_addresses": list(config.vault_addresses)}
        path.write_text(json.dumps(value))
        return path


PATIENT = type(QUICK)(**{**vars(QUICK), "delivery": 5 * PATIENCE, "watch": 0.5})
"""Components need a moment to come back to a server that was killed."""


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    nursery(Path(sys.argv[1]))
