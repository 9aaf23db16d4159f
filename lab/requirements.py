"""The catalogue of requirements: every rule of the specification, with the id that tests carry."""

from __future__ import annotations

import difflib
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from lab.documents import load_yaml
from lab.errors import BadInput
from lab.topology.scenario import Scenario

CATALOGUE_FILE = Path(__file__).parents[1] / "suites" / "requirements.yaml"


class Level(StrEnum):
    """How binding a rule is; ``refuse``: the stack must refuse it, or it must be absent."""

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    REFUSE = "refuse"


class Requirement(BaseModel):
    """One rule. ``source``: lines of the specification; ``adopted_by``: scenarios that took it over by decision C12.

    ``of_servers``: it is about agents and servers, so a stack that has none cannot keep it. ``not_tested``: why no test
    carries it, in plain words; whoever writes one takes that away. ``no_defect``: why no defect of the stack can
    break it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[A-Z0-9]+(-[A-Z0-9]+)+$")
    level: Level
    rule: str
    source: str
    scenarios: tuple[Scenario, ...] = Field(min_length=1)
    adopted_by: tuple[Scenario, ...] = ()
    of_servers: bool = False
    not_tested: str = ""
    no_defect: str = ""

    def source_for(self, scenario: Scenario) -> str:
        """Return where the rule comes from, honest about rules that the specification has for others only."""
        if scenario in self.adopted_by:
            return f"{self.source}; not from the specification for {scenario}, adopted by decision C12"
        return self.source


class Subject(BaseModel):
    """The requirements under one heading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    subject: str
    requirements: tuple[Requirement, ...]


class Catalogue(BaseModel):
    """All requirements by subject, and the decisions about what the specification leaves open."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    subjects: tuple[Subject, ...]
    decisions: dict[str, str]

    @cached_property
    def by_id(self) -> dict[str, Requirement]:
        """Every requirement by its id."""
        return {item.id: item for subject in self.subjects for item in subject.requirements}

    @cached_property
    def beyond_defects(self) -> dict[str, str]:
        """Every id, with why no defect of the stack can break its rule; empty where one can."""
        return {name: item.no_defect for name, item in self.by_id.items()}

    def for_scenario(self, scenario: Scenario) -> list[Requirement]:
        """Return what a stack has to fulfil in ``scenario``."""
        return [item for item in self.by_id.values() if scenario in item.scenarios]

    def complaint_about(self, requirement_id: str) -> str | None:
        """Return what is wrong with an id that a test carries, or None."""
        if requirement_id in self.by_id:
            return None
        close = difflib.get_close_matches(requirement_id, self.by_id, n=1)
        hint = f", did you mean '{close[0]}'?" if close else ""
        return f"there is no requirement '{requirement_id}'{hint}"


def load_catalogue(path: Path = CATALOGUE_FILE) -> Catalogue:
    """Read the catalogue.

    Raises:
        BadInput: the file is unreadable, malformed, or has an id twice.
    """
    try:
        catalogue = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: {error}") from error
    ids = [item.id for subject in catalogue.subjects for item in subject.requirements]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise BadInput(f"{path}: named twice: {', '.join(twice)}")
    return catalogue


@lru_cache(maxsize=4)
def _parsed(text: str) -> Catalogue:
    """A run's catalogue is asked for many times."""
    return Catalogue.model_validate(load_yaml(text))
