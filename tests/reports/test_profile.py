"""Where the time of a run went, from its events."""

from dataclasses import replace

from run_samples import a_measurement, a_run, a_test, event

from lab.ledger import Event, EventKind
from lab.requirements import load_catalogue
from reports.charts import profile_chart
from reports.fold import fold
from reports.html import render
from reports.profile import CPU, profile, subject_of


def at(found: Event, seconds: int) -> Event:
    return replace(found, at=f"2026-11-24T12:{seconds // 60:02}:{seconds % 60:02}.500000000Z")


def phase(name: str, seconds: float, end: int) -> Event:
    return at(event(EventKind.PHASE, {"name": name, "seconds": seconds}), end)


def timed() -> list[Event]:
    started, environment, *inside, ended = a_run(
        phase("machines", 10.0, 12),
        at(a_test("ports/test_flows.py::test_a", "passed"), 20),
        at(a_test("ports/test_flows.py::test_b", "passed"), 30),
        at(a_test("failover/test_it.py::test_c", "passed"), 40),
        phase("suites", 30.0, 42),
        at(a_measurement(CPU, 5.0, "s"), 45),
    )
    return [at(started, 0), at(environment, 0), *inside, at(ended, 50)]


def test_a_run_without_phases_has_no_profile() -> None:
    assert profile(a_run(a_test("ports/test_flows.py::test_a", "passed"))) is None


def test_spans_are_where_they_were() -> None:
    found = profile(timed())
    assert found is not None
    assert found.seconds == 50
    phases = {span.name: (span.began_s, span.seconds) for span in found.of_depth(0)}
    assert phases == {"machines": (2.0, 10.0), "suites": (12.0, 30.0)}
    subjects = {span.name: (span.began_s, span.seconds) for span in found.of_depth(1)}
    assert subjects == {"ports": (18.5, 11.5), "failover": (38.5, 1.5)}
    assert [span.seconds for span in found.of_depth(2)] == [1.5] * 3
    assert (found.harness_cpu_s, found.harness_share) == (5.0, 0.1)


def test_the_longest_come_first_and_nothing_is_said_of_what_was_not_measured() -> None:
    found = profile([item for item in timed() if item.kind is not EventKind.MEASUREMENT])
    assert found is not None
    assert [span.name for span in found.of_depth(0)] == ["suites", "machines"]
    assert found.harness_share is None


def test_a_subject_is_the_folder() -> None:
    assert subject_of("suites/ports/test_flows.py::test_a") == "ports"
    assert subject_of("elsewhere/test_x.py::test_a[b/c]") == "test_x.py"


def test_the_page_shows_it() -> None:
    certificate = fold(timed(), load_catalogue())
    assert certificate.profile is not None
    page = render(certificate)
    assert "Where the time went" in page
    assert "10 % at most" in page
    assert "machines" in profile_chart(certificate.profile)
