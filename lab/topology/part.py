"""What every piece of a topology is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A piece of a topology: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
