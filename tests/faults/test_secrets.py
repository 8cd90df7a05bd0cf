"""Credentials in a location are refused before anything is opened, stored or printed."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Called, call  # noqa: F401  (a fixture)
from tune_lb.results.storage import StorageError, Store

SECRETS = (
    "s3://AKIAKEY:hunter2@bucket/runs",
    "s3://AKIAKEY:hun/ter2@bucket/runs",
    "s3://AKIAKEY:hunt@er2@bucket/runs?region=eu-west-1",
    "s3://bucket/runs?access_key=AKIAKEY&secret_key=hunter2",
    "s3://bucket/runs?region=eu-west-1&session_token=hunter2",
    "gs://AKIAKEY:hunter2@bucket/runs",
    "abfs://container@account.dfs.core.windows.net/runs?account_key=hunter2",
)
PLAIN = ("s3://bucket/runs/a:b@c?region=eu-west-1&endpoint_override=localhost:9000&scheme=http", "mock:///bucket/a@b:c")


@pytest.mark.parametrize("location", SECRETS)
def test_a_location_with_credentials_is_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(StorageError) as caught:
        Store(location)
    message = str(caught.value)
    assert not any(part in message for part in ("AKIAKEY", "hunt", "er2", "ter2"))
    assert "AWS_SECRET_ACCESS_KEY" in message
    assert "\n" not in message


@pytest.mark.parametrize("location", PLAIN)
def test_what_only_looks_alike_is_opened(location: str) -> None:
    assert Store(location).location == location.partition("?")[0]


@pytest.mark.parametrize("command", ["status", "report", "best", "measure", "check", "search"])
def test_every_command_refuses_it(command: str, call: Called) -> None:  # noqa: F811
    name = "quickstart" if command == "search" else "tiny"
    code, out, err = call(command, name, "--storage", SECRETS[1])
    assert code == 2
    assert "ter2" not in out + err
    assert len(err.splitlines()) == 1
