"""A storage account that does not answer is called so: whoever sets a vault up has to know what is missing."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceRequestError

from lab.replication.vault.azure_storage import _answers
from lab.replication.vault.storage import StorageError, WentBack


def test_a_storage_that_is_gone_is_named() -> None:
    with (
        pytest.raises(StorageError, match="the storage does not answer for container x: ServiceRequestError"),
        _answers("container x"),
    ):
        raise ServiceRequestError("https://account/?sig=secret refused")


def test_a_refusal_of_the_storage_is_named_without_its_address() -> None:
    with pytest.raises(StorageError, match="the storage refuses container x: HTTP") as refused, _answers("container x"):
        raise HttpResponseError("https://account/?sig=secret")
    assert "sig" not in str(refused.value)


def test_what_the_storage_has_lost_is_told_apart() -> None:
    with pytest.raises(WentBack, match="container x does not exist"), _answers("container x"):
        raise ResourceNotFoundError("gone")
