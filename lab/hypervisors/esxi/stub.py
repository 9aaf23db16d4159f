"""pyVmomi's transport with a timeout everywhere. Its own way to find the version has none, and a bare exception."""

from __future__ import annotations

import http.client
import re
from typing import Any

from pyVmomi import SoapAdapter, VmomiSupport

from lab.hypervisors.esxi.errors import translated
from lab.hypervisors.esxi.settings import Target
from lab.hypervisors.protocols import HypervisorError

VERSIONS = "/sdk/vimServiceVersions.xml"
MOST_VERSIONS = 1 << 16
ANSWER_SECONDS = 120
_VERSION = re.compile(r"<version>([0-9.]{1,20})</version>")


def open_stub(target: Target) -> Any:
    """Return pyVmomi's stub for a host, in the newest version that both know. Raises HypervisorError."""
    with translated(f"host {target.host}"):
        version = newest_common(_served_versions(target))
        if version is None:
            raise HypervisorError(f"host {target.host}: is no vSphere host, or one older than this driver knows")
        return SoapAdapter.SoapStubAdapter(
            host=target.host,
            port=target.port,
            path="/sdk",
            version=version,
            sslContext=target.trust.context(),
            httpConnectionTimeout=ANSWER_SECONDS,
        )


def newest_common(document: str) -> str | None:
    """Return pyVmomi's name of the newest version that a host's document offers, or None."""
    from pyVmomi.VmomiSupport import GetServiceVersions

    offered = set(_VERSION.findall(document))
    # pyVmomi's list begins with the newest.
    for version in GetServiceVersions("vim25"):
        if VmomiSupport.GetVersionNamespace(version).rpartition("/")[2] in offered:
            return str(version)
    return None


def _served_versions(target: Target) -> str:
    connection = http.client.HTTPSConnection(
        target.host, target.port, timeout=ANSWER_SECONDS, context=target.trust.context()
    )
    try:
        connection.request("GET", VERSIONS)
        answer = connection.getresponse()
        return answer.read(MOST_VERSIONS).decode("utf-8", "replace") if answer.status == http.client.OK else ""
    finally:
        connection.close()
