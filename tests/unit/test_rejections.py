"""A rejection goes over the wire as data, and comes back as itself."""

from uuid import uuid4

import pytest

from tasks.model import Account, InsufficientFunds
from worker.errors import InvalidPayload, NotFound, RateLimited, Rejected


@pytest.mark.parametrize(
    "rejection",
    [
        InvalidPayload("must be more", field="amount"),
        InsufficientFunds("too little", field="amount"),
        RateLimited("too often", remaining=0, retry_after_s=1.5),
        NotFound(Account, uuid4()),
    ],
    ids=lambda rejection: rejection.code,
)
def test_a_rejection_comes_back_in_its_class_with_all_its_data(rejection: Rejected) -> None:
    again = Rejected.told(rejection.data)

    assert type(again) is type(rejection)
    assert again.data == rejection.data
    assert str(again) == str(rejection)


def test_a_code_that_is_not_known_here_comes_back_as_a_plain_rejection() -> None:
    data = {"code": "known_elsewhere", "message": "no", "field": "x"}

    again = Rejected.told(data)

    assert type(again) is Rejected
    assert (again.code, again.data) == (data["code"], data)
