import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A busy machine is no failed test; pytest-timeout ends what really hangs.
settings.register_profile("lab", deadline=None)
settings.load_profile("lab")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--endpoint``: run the hypervisor contract on a real ESXi host or vCenter too."""
    parser.addoption(
        "--endpoint",
        metavar="URL",
        help="https://HOST[:PORT] of a real ESXi host or vCenter for tests/hypervisors; ESX_USER, ESX_PASSWORD and "
        "ESX_CERTIFICATE (PEM file of the host's certificate, which is pinned) come from the environment",
    )
    parser.addoption(
        "--hyperv-endpoint",
        metavar="URL",
        help="https://HOST[:5986] of a real Hyper-V host for tests/hypervisors; HYPERV_USER, HYPERV_PASSWORD, "
        "HYPERV_CERTIFICATE (PEM, pinned), HYPERV_EXCHANGE (where its C:\\recovery-lab\\exchange is mounted here) and "
        "HYPERV_LOGIN (ntlm, kerberos, basic) come from the environment",
    )
    parser.addoption(
        "--bmc-endpoint",
        metavar="URL",
        help="https://HOST[:PORT] of a real BMC (Redfish) for tests/machines, whose machine is switched off and on; "
        "BMC_USER, BMC_PASSWORD, BMC_CERTIFICATE (PEM, pinned), BMC_SYSTEM (when it has several) and BMC_MEDIUM (URL "
        "of an image that the BMC can fetch) come from the environment",
    )


@pytest.fixture(autouse=True)
def umask_stays() -> Iterator[None]:
    """Programs that are called in this process may set it; the next test would make folders that nobody can enter."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
