"""Users: changed, removed and read; what others see of them follows."""

from typing import Any
from uuid import UUID, uuid4

from tests.fixtures.jobs import Bank, message
from worker.execution.attempt import Ending


def do(bank: Bank, task: str, **payload: Any) -> Ending:
    (ending,) = bank.run(message(f"users.{task}", payload))
    return ending


def code(ending: Ending) -> str:
    return str(ending.data["code"]) if ending.outcome == "rejected" else str(ending.outcome)


def seen(bank: Bank, user: UUID) -> Any:
    """The user as a reader gets it, through the cache."""
    ending = do(bank, "get", id=user)
    return ending.data["user"] if ending.outcome == "succeeded" else ending.data["code"]


def document(bank: Bank, user: UUID) -> dict[str, Any]:
    found = bank.run.given.documents.users.find_one({"_id": str(user)})
    assert found is not None
    return found


def test_what_is_given_changes_and_the_rest_stays(bank: Bank) -> None:
    user = bank.user()
    before = seen(bank, user)

    do(bank, "update", id=user, name="Grace")
    do(bank, "update", id=user, active=False)

    assert seen(bank, user) == before | {"name": "Grace", "active": False}
    assert (document(bank, user)["name"], document(bank, user)["active"]) == ("Grace", False)
    bank.check()


def test_a_reader_sees_a_change_as_soon_as_it_is_delivered(bank: Bank) -> None:
    user = bank.user()

    for name in ("Ada", "Grace", "Barbara"):
        do(bank, "update", id=user, name=name)
        assert [seen(bank, user)["name"] for _ in range(2)] == [name, name]


def test_an_address_that_another_has_is_refused_and_neighbours_stay(bank: Bank) -> None:
    one, other = bank.user(), bank.user()
    taken = seen(bank, one)["email"]

    endings = bank.run(
        message("users.update", {"id": other, "email": taken.upper()}),
        message("users.update", {"id": one, "name": "Grace"}),
    )

    assert [code(ending) for ending in endings] == ["email_taken", "succeeded"]
    assert seen(bank, other)["email"] != taken
    bank.check()


def test_a_deleted_user_is_gone_everywhere(bank: Bank) -> None:
    user = bank.user()
    seen(bank, user)

    ending = do(bank, "delete", id=user)

    assert ending.data == {"id": str(user), "anonymised": False}
    assert seen(bank, user) == "user_not_found"
    assert document(bank, user)["deleted"] is True
    assert bank.value("SELECT count(*) FROM users WHERE id = :id", id=user) == 0
    assert [code(do(bank, task, id=user)) for task in ("update", "delete")] == ["user_not_found"] * 2


def test_a_user_with_an_open_account_stays_and_with_closed_ones_is_anonymised(bank: Bank) -> None:
    user = bank.user()
    email = seen(bank, user)["email"]
    account = bank.open(owner=user)

    assert code(do(bank, "delete", id=user)) == "user_has_accounts"
    bank.run(message("accounts.close", {"id": account}))
    ending = do(bank, "delete", id=user)

    (row,) = bank.rows("SELECT * FROM users WHERE id = :id", id=user)
    assert ending.data["anonymised"] is True
    assert email not in str(row)
    assert "Ada" not in str(row)
    assert email not in str(document(bank, user))
    assert seen(bank, user) == "user_not_found"
    (reopened,) = bank.run(message("accounts.open", {"owner_id": user, "currency": "EUR"}))
    assert code(reopened) == "user_not_found"
    assert code(do(bank, "create", name="Ada", email=email)) == "succeeded"


def test_a_list_is_filtered_ordered_and_counted(bank: Bank) -> None:
    names = ["Dora", "Ada", "Carl", "Bea"]
    users = [do(bank, "create", name=name, email=f"{name}@example.org").data["user"]["id"] for name in names]
    do(bank, "update", id=users[0], active=False)
    do(bank, "delete", id=users[2])

    newest, by_name = do(bank, "list"), do(bank, "list", order="name")
    active, second = do(bank, "list", active=True, limit=1), do(bank, "list", order="name", limit=1, skip=1)

    assert [user["name"] for user in newest.data["users"]] == ["Bea", "Ada", "Dora"]
    assert [user["name"] for user in by_name.data["users"]] == ["Ada", "Bea", "Dora"]
    assert ([user["name"] for user in active.data["users"]], active.data["total"]) == (["Bea"], 2)
    assert ([user["name"] for user in second.data["users"]], second.data["total"]) == (["Bea"], 3)


def test_a_page_of_the_longest_names_is_shorter_and_the_next_one_goes_on(bank: Bank) -> None:
    newcomers = [{"name": "\u0001" * 200, "email": f"{uuid4()}@example.org"} for _ in range(100)]
    bank.run(*(message("users.create", newcomer) for newcomer in newcomers))
    seen: list[str] = []

    while page := do(bank, "list", limit=100, skip=len(seen)).data["users"]:
        seen += [user["id"] for user in page]

    assert len(seen) == len(set(seen)) == 100


def test_no_address_and_nothing_that_was_read_is_in_an_event(bank: Bank) -> None:
    user = bank.user()
    email = seen(bank, user)["email"]

    do(bank, "update", id=user, name="Grace")
    do(bank, "list")

    assert email not in str(bank.events())
    assert {event["type"]: event["data"] for event in bank.events()}["users.get.succeeded"] is None
    assert code(do(bank, "get", id=uuid4())) == "user_not_found"
