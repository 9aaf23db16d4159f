"""sushy-tools' application over the machines of one lab. It is one object for each process: so is an emulated BMC."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

from lab.emulators.common.home import CannotStart
from lab.emulators.common.wsgi import Wsgi


def sushy_application(uri: str, pool: str, systems: frozenset[str], state: Path) -> Wsgi:
    """Return the application; media become volumes of the pool ``pool``. Raises CannotStart without sushy-tools."""
    try:
        from sushy_tools.emulator.main import app
    except ImportError as error:
        message = "sushy-tools is not installed: pip install 'recovery-lab[dev]' (or make bootstrap)"
        raise CannotStart(message) from error
    # It remembers its drivers, which belong to the last one in this process.
    app.__dict__.pop("_cache", None)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = {
        "SUSHY_EMULATOR_LIBVIRT_URI": uri,
        "SUSHY_EMULATOR_STORAGE_POOL": pool,
        "SUSHY_EMULATOR_ALLOWED_INSTANCES": sorted(systems),
        "SUSHY_EMULATOR_STATE_DIR": str(state),
        "SUSHY_EMULATOR_VMEDIA_VERIFY_SSL": True,
        "SUSHY_EMULATOR_FEATURE_SET": "vmedia",
    }
    # It warns of every machine that is not behind this BMC, at every look.
    app.logger.setLevel(logging.ERROR)
    app.configure(extra_config=settings)
    return cast("Wsgi", app.wsgi_app)
