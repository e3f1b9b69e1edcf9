"""What every fault test begins with."""

import pytest
from kombu import pools


@pytest.fixture(autouse=True)
def _own_connections() -> None:
    """kombu keeps its connections by URL for the whole process: those that an earlier test cut are among them."""
    pools.reset()
