import io
import re
import threading

from rich.console import Console

from lab.provision.board import ConsoleBoard


def plain() -> tuple[ConsoleBoard, io.StringIO]:
    output = io.StringIO()
    return ConsoleBoard(Console(file=output, force_terminal=False, width=200), "lab x"), output


def test_elsewhere_than_on_a_terminal_every_step_is_a_plain_line() -> None:
    board, output = plain()
    with board:
        board.step("app1", "booting")
        board.step("app1", "ready")
    lines = output.getvalue().splitlines()
    assert [re.sub(r"^\[ +\d+\.\d s\] ", "", line) for line in lines] == ["app1: booting", "app1: ready"]
    assert "\x1b" not in output.getvalue()


def test_names_are_no_markup() -> None:
    board, output = plain()
    with board:
        board.step("[red]app1[/red]", "[bold]x[/nonsense]")
    assert "[red]app1[/red]: [bold]x[/nonsense]" in output.getvalue()


def test_a_terminal_shows_a_table_with_the_last_steps() -> None:
    output = io.StringIO()
    board = ConsoleBoard(Console(file=output, force_terminal=True, width=100), "lab x")
    with board:
        for step in ("booting", "ready"):
            board.step("app1", step)
        board.step("app2", "failed")
    last = output.getvalue()
    assert all(text in last for text in ("lab x", "app1", "ready", "app2", "failed", "✓", "✗"))


def test_machines_report_side_by_side() -> None:
    board, output = plain()
    threads = [threading.Thread(target=board.step, args=(f"m{number}", "ready")) for number in range(20)]
    with board:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(output.getvalue().splitlines()) == 20
