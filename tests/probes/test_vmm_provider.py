"""The provider of a VMM server, which manages hosts and is none."""

from __future__ import annotations

import sys

import pytest
from data_path import Heard

from lab.replication.common.config import Endpoint, ServiceConfig
from lab.replication.provider.__main__ import build


@pytest.mark.requirement("H2A-VMM-INST", "H2S-PROV-VMM")
def test_a_vmm_server_has_a_provider_and_needs_no_hypervisor(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "libvirt", None)
    settings = {"manages_only": True, "work_dir": str(tmp_path / "work")}
    config = ServiceConfig("provider", "vmm1", Endpoint("127.0.0.1", 1), tmp_path, tmp_path, (), None, settings)
    provider = build(config, Heard())
    assert provider.handlers() == {}, "commands go to the hosts"
    provider.start()
    provider.close()
