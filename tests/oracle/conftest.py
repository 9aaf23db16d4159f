from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.oracle.group import Group, Member
from lab.oracle.local import LocalWriter
from lab.oracle.native_tool import native_tool
from tests.oracle.ports import free_udp_ports

RUN = "0123456789abcdef" * 2


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native_tool(tmp_path_factory.mktemp("tool"))


@pytest.fixture
def make_group(tmp_path: Path) -> Callable[..., Group]:
    def make(machines: int = 3, volumes: int = 2, lanes: int = 2, log_slots: int = 256, hot_slots: int = 24) -> Group:
        members = []
        for machine, port in enumerate(free_udp_ports(machines)):
            paths = [tmp_path / f"m{machine}v{volume}" / "records" for volume in range(volumes)]
            for path in paths:
                path.parent.mkdir(exist_ok=True)
            members.append(Member(f"vm{machine}", tuple(map(str, paths)), "127.0.0.1", port))
        return Group(RUN, tuple(members), lanes, log_slots, hot_slots, seed=11)

    return make


@pytest.fixture
def writers(tool: Path, tmp_path: Path) -> Iterator[Callable[[Group], list[LocalWriter]]]:
    made: list[LocalWriter] = []

    def make(group: Group) -> list[LocalWriter]:
        made.extend(
            LocalWriter(tool, group, machine, tmp_path / f"m{machine}.history") for machine in range(len(group.members))
        )
        return made

    yield make
    for writer in made:
        if writer.running:
            writer.kill()
