"""Installing through a BMC: whatever goes wrong ends in a clear error, with the machine off and its drive empty."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sshd_server import Server

from lab.hypervisors.model import PowerState
from lab.images.identity import new_ssh_key
from lab.machines.installation import Console, NotInstalled, OldSystem, Patience, Signs, install, wait_for_system
from lab.machines.memory_bmc import MemoryBmc
from lab.machines.power import BootSource, MediaRefused
from lab.machines.ssh import ConnectionLost, Result, SshTransport, WrongHostKey
from lab.waiting import Deadline

SIGNS = Signs("installer: started", "installer: done", "installer: refused:", "nothing to boot")
MEDIUM = "https://127.0.0.1/medium.iso"
TOKEN = "a1b2"


@dataclass
class Machine(MemoryBmc):
    """A machine that prints, and does what its installer does; ``ignores``: the choice of what to boot."""

    record: Path = Path()
    prints: str = ""
    goes_off: bool = True
    ignores: bool = False

    def _boot(self) -> None:
        if self.ignores:
            self._override = None
        super()._boot()
        if self.booted[-1] is BootSource.CD:
            self._print(self.prints)
            self._state = PowerState.OFF if self.goes_off else PowerState.ON
        else:
            self._print("old system login:")

    def _print(self, text: str) -> None:
        with self.record.open("a") as file:
            file.write(f"{text}\r\n")


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


def run(machine: Machine, seconds: float = 5.0) -> None:
    install(machine, MEDIUM, Console(machine.record), SIGNS, Patience(seconds, seconds))


def assert_as_found(machine: MemoryBmc) -> None:
    assert machine.state() is PowerState.OFF
    assert machine.inserted() is None
    assert machine.boot_override() is None


def test_the_medium_is_booted_once_and_gone_afterwards(record: Path) -> None:
    machine = Machine(record=record, prints="installer: done")
    machine.power_on(Deadline.after(1))
    run(machine)
    assert machine.booted == [BootSource.DISK, BootSource.CD]
    assert_as_found(machine)


def test_a_machine_boots_the_network_once_and_has_no_medium(record: Path) -> None:
    class OverNetwork(Machine):
        def insert(self, url: str) -> None:
            raise AssertionError(url)

        def _boot(self) -> None:
            if self._override is BootSource.NETWORK:
                self.booted.append(BootSource.NETWORK)
                self._override, self._state = None, PowerState.OFF
                self._print(self.prints)
            else:
                super()._boot()

    machine = OverNetwork(record=record, prints="installer: done")
    install(machine, None, Console(record), SIGNS, Patience(5, 5))
    assert machine.booted == [BootSource.NETWORK]
    assert_as_found(machine)


def test_a_machine_that_starts_no_installer_is_not_waited_for_to_the_end(record: Path) -> None:
    machine = Machine(record=record, goes_off=False, ignores=True)
    with pytest.raises(NotInstalled, match=r"started no installer: .* an old disk perhaps(?s:.*)old system login:"):
        install(machine, MEDIUM, Console(record), SIGNS, Patience(0.1, 60))
    assert_as_found(machine)


def test_a_firmware_that_found_nothing_to_boot_is_believed(record: Path) -> None:
    machine = Machine(record=record, prints="no answer\nnothing to boot", goes_off=False)
    with pytest.raises(NotInstalled, match=r"the machine found nothing to boot\n(?s:.*)no answer"):
        install(machine, MEDIUM, Console(record), SIGNS, Patience(60, 60))
    assert_as_found(machine)


def test_an_installer_that_has_started_has_its_time(record: Path) -> None:
    machine = Machine(record=record, prints="installer: started\nnothing to boot", goes_off=False)
    with pytest.raises(NotInstalled, match="no installed machine that is off within"):
        install(machine, MEDIUM, Console(record), SIGNS, Patience(0, 0.5))


def test_a_medium_that_an_earlier_run_left_is_replaced(record: Path) -> None:
    machine = Machine(record=record, prints="installer: done")
    machine.insert("https://127.0.0.1/other.iso")
    run(machine)
    assert machine.booted == [BootSource.CD]


def test_the_reason_of_an_installer_that_refuses_is_the_error(record: Path) -> None:
    machine = Machine(record=record, prints="installer: refused: no disk with the serial number x", goes_off=False)
    with pytest.raises(NotInstalled, match="refused: no disk with the serial number x"):
        run(machine)
    assert_as_found(machine)


def test_what_an_earlier_installer_said_does_not_count(record: Path) -> None:
    record.write_text("installer: refused: long ago\ninstaller: done\n")
    machine = Machine(record=record, prints="installer: done")
    run(machine)
    machine.prints = "crash"
    with pytest.raises(NotInstalled, match="before its installer was done"):
        run(machine)
    assert_as_found(machine)


@pytest.mark.parametrize("ignores", [True, False])
def test_a_machine_that_stays_on_is_shown_with_its_console(record: Path, ignores: bool) -> None:
    machine = Machine(record=record, prints="kernel panic", goes_off=False, ignores=ignores)
    with pytest.raises(NotInstalled, match="old system login:" if ignores else "kernel panic"):
        run(machine, seconds=0.1)
    assert_as_found(machine)


def test_a_medium_that_cannot_be_inserted_boots_nothing(record: Path) -> None:
    class Picky(Machine):
        def insert(self, url: str) -> None:
            raise MediaRefused(f"{url} cannot be inserted: 404")

    machine = Picky(record=record)
    with pytest.raises(MediaRefused, match="404"):
        run(machine)
    assert machine.booted == []
    assert_as_found(machine)


def test_what_cannot_be_put_right_is_said_with_the_first_error(record: Path) -> None:
    class Stuck(Machine):
        def eject(self) -> None:
            if self._medium is not None:
                raise MediaRefused("the drive is stuck")

    machine = Stuck(record=record, prints="installer: refused: why not", goes_off=False)
    with pytest.raises(NotInstalled, match="why not") as refused:
        run(machine)
    assert any("the drive is stuck" in note for note in refused.value.__notes__)
    assert machine.state() is PowerState.OFF


def test_a_console_that_nobody_records_is_not_missed(record: Path) -> None:
    machine = Machine(record=record)
    install(machine, MEDIUM, Console(None), SIGNS, Patience(5, 5))
    assert_as_found(machine)
    machine.goes_off = False
    with pytest.raises(NotInstalled, match=r"its console is not recorded"):
        install(machine, MEDIUM, Console(None), SIGNS, Patience(0.1, 0.1))


@dataclass
class Login:
    answer: Callable[[], Result]
    closed: int = 0

    def run(self, *argv: str, stdin: str | None = None, seconds: float = 1.0) -> Result:
        return self.answer()

    def close(self) -> None:
        self.closed += 1


def wait(answer: Callable[[], Result], record: Path) -> Login:
    login = Login(answer)
    wait_for_system(login, "/etc/token", TOKEN, Console(record), Deadline.after(0.1))
    return login


def raising(error: Exception) -> Callable[[], Result]:
    def answer() -> Result:
        raise error

    return answer


def test_the_installed_system_shows_its_token(record: Path) -> None:
    assert wait(lambda: Result(0, f"{TOKEN}\n", ""), record).closed == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: Result(0, "other\n", ""), "shows 'other'"),
        (lambda: Result(1, "", "no such file"), "has no mark of an installation"),
        (raising(WrongHostKey("the host key is not the known one")), "another system .* the host key is not"),
    ],
)
def test_an_old_system_is_noticed_at_once(answer, words: str, record: Path) -> None:
    with pytest.raises(OldSystem, match=words):
        wait(answer, record)


def test_a_machine_that_never_answers_is_shown_with_its_console(record: Path) -> None:
    record.write_text("Kernel panic - not syncing\n")
    with pytest.raises(NotInstalled, match=r"never answers.*refused.*(?s:.*)Kernel panic"):
        wait(raising(ConnectionLost("connection refused")), record)


def test_a_real_login_to_another_system_is_noticed_at_once(server: Server, record: Path, tmp_path: Path) -> None:
    login = replace(server.login, host_key=new_ssh_key("installed").public)
    shell = SshTransport("app1", server.endpoint, login)
    with pytest.raises(OldSystem, match=r"app1: the host key at .* is not the known one"):
        wait_for_system(shell, "/etc/token", TOKEN, Console(record), Deadline.after(30))
    shell.close()


def test_a_real_login_reads_the_token(machine: SshTransport, record: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    wait_for_system(machine, str(token), TOKEN, Console(record), Deadline.after(30))
    with pytest.raises(OldSystem, match="has no mark of an installation"):
        wait_for_system(machine, f"{token}.other", TOKEN, Console(record), Deadline.after(30))
