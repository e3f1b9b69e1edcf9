from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.fixtures.service import Service, running_service
from worker.operations.embedded import Urls
from worker.settings import Settings

# Here and not among the fixtures: pytest looks for a package's own in its conftest.


@pytest.fixture(scope="package")
def service(
    settings: Settings, servers: Urls, plain_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One node and one client for all rows of the contract."""
    with running_service(settings, servers, plain_python, tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def user(service: Service) -> UUID:
    """Somebody who is there."""
    return service.bank.user()
