"""How fabric runs a program over there, without two things that invoke does for terminals."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator

from fabric import Config, Remote

READ_BYTES = 64 << 10


class AllAtOnce(io.StringIO):
    """What a program reads. Invoke asks for a single character each time, and naps for 10 ms after each of them."""

    def read(self, size: int | None = -1, /) -> str:
        """Return all that is left, however little is asked for."""
        del size
        return super().read()


class WholeCharacters(Remote):  # type: ignore[misc]  # fabric has no types
    """Decodes output as one text. Invoke decodes each 1000 bytes alone, and spoils characters that two share."""

    def read_proc_output(self, reader: Callable[[int], bytes]) -> Iterator[str]:
        """Yield the output in pieces, as it comes."""
        decoder = codecs.getincrementaldecoder(self.encoding)(errors="replace")
        while data := reader(READ_BYTES):
            yield decoder.decode(data)
        yield decoder.decode(b"", final=True)


def runner_config() -> Config:
    """Return fabric's settings with this runner."""
    return Config(overrides={"runners": {"remote": WholeCharacters}})
