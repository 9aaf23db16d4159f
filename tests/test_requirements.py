from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.requirements import Level, load_catalogue
from lab.topology.scenario import Scenario

CATALOGUE = load_catalogue()
IDS = (Path(__file__).parent / "requirement_ids.txt").read_text().split()


def test_every_id_of_the_specification_is_there_and_no_other() -> None:
    assert sorted(CATALOGUE.by_id) == sorted(IDS)


def test_physical_servers_inherit() -> None:
    for parent, child in ((Scenario.V2S, Scenario.P2S), (Scenario.V2A, Scenario.P2A)):
        own = {"GEN-V2S-HOST", "GEN-V2A-HOST", "V2A-CS-VMWARE"}
        inherited = {item.id for item in CATALOGUE.for_scenario(parent)} - own
        assert inherited <= {item.id for item in CATALOGUE.for_scenario(child)}


def test_adopted_rules_say_so() -> None:
    port = CATALOGUE.by_id["V2A-PORT-9443"]
    assert port.source_for(Scenario.V2A) == "L64"
    assert "adopted by decision C12" in port.source_for(Scenario.P2S)
    for item in CATALOGUE.by_id.values():
        assert set(item.adopted_by) <= set(item.scenarios)
        if item.id.startswith("V2A-"):
            assert set(item.adopted_by) == set(item.scenarios) & {Scenario.V2S, Scenario.P2S}


def test_levels() -> None:
    assert CATALOGUE.by_id["V2A-PFO-REFUSED"].level is Level.REFUSE
    assert CATALOGUE.by_id["H2S-VMM-TWO"].level is Level.RECOMMENDED
    assert CATALOGUE.by_id["V2A-PORT-9443"].level is Level.REQUIRED


def test_only_rules_without_a_test_say_why() -> None:
    said = {item.id for item in CATALOGUE.by_id.values() if item.not_tested}
    assert said == set()
    carried = "".join(path.read_text() for path in (Path(__file__).parents[1] / "suites").glob("*/test_*.py"))
    assert not [name for name in said if f'"{name}"' in carried], "there is a test now"


def test_every_contradiction_is_decided() -> None:
    assert list(CATALOGUE.decisions) == [f"C{number}" for number in range(1, 22)]


def test_an_unknown_id_gets_a_suggestion() -> None:
    assert CATALOGUE.complaint_about("V2A-PORT-9443") is None
    assert "did you mean 'V2A-PORT-9443'" in (CATALOGUE.complaint_about("V2A-PORT-9433") or "")


@pytest.mark.parametrize("content", ["[", "subjects: 3", "{}"])
def test_a_broken_catalogue_is_bad_input(tmp_path: Path, content: str) -> None:
    path = tmp_path / "requirements.yaml"
    path.write_text(content)
    with pytest.raises(BadInput):
        load_catalogue(path)


def test_an_id_twice_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "requirements.yaml"
    entry = '{id: A-B, level: required, source: "L1", scenarios: [P2S], rule: "x"}'
    path.write_text(f"subjects: [{{subject: s, requirements: [{entry}, {entry}]}}]\ndecisions: {{}}\n")
    with pytest.raises(BadInput, match="named twice: A-B"):
        load_catalogue(path)
