"""Makes a new MongoDB the replica set that Trivet needs, and its users; run again, it only sets their passwords.

Not that of `root`, with which it logs in, nor the key file: those are changed by hand.

It must reach MongoDB by the loopback address: as long as there is no user, MongoDB lets in whoever comes that way.
So in docker-compose.yml it shares the network of MongoDB's container.
"""  # noqa: INP001 - a program, not a part of a package

import argparse
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import OperationFailure

DATABASE: Final = "trivet"
USERS: Final = {"trivet": "readWrite", "reader": "read"}
"""The users of the database, and what each may do in it, and nowhere else."""

WAIT_S: Final = 60
UNAUTHORIZED: Final = 13
AUTHENTICATION_FAILED: Final = 18
ALREADY_INITIALIZED: Final = 23
USER_EXISTS: Final = 51003

Client = MongoClient[dict[str, Any]]


def main() -> None:
    """Read the arguments, and do it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=27017)
    arguments.add_argument("--member", default="mongo:27017", help="host and port by which clients find the server")
    arguments.add_argument("--secrets", type=Path, default=Path("/run/secrets"), help="the folder of the passwords")
    given = arguments.parse_args()
    passwords = {user: (given.secrets / f"mongo_{user}").read_text().strip() for user in ("root", *USERS)}
    if not _root_is_known(given.port, passwords["root"]):
        with closing(_connect(given.port)) as nobody:
            _begin(nobody, given.member, passwords["root"])
    with closing(_connect(given.port, username="root", password=passwords["root"])) as root:
        _wait_for_primary(root)
        for user, role in USERS.items():
            _put_user(root, user, passwords[user], role)
    print("the replica set and its users are there")  # noqa: T201 - for the log of the container


def _connect(port: int, **credentials: Any) -> Client:
    wait_ms = WAIT_S * 1_000
    return MongoClient(
        "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=wait_ms, w="majority", **credentials
    )


def _root_is_known(port: int, password: str) -> bool:
    try:
        with closing(_connect(port, username="root", password=password)) as root:
            root.admin.command("ping")
    except OperationFailure as error:
        if error.code != AUTHENTICATION_FAILED:
            raise
        return False
    return True


def _begin(nobody: Client, member: str, password: str) -> None:
    try:
        _initiate(nobody, member)
        nobody.admin.command("createUser", "root", pwd=password, roles=["root"])
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        raise SystemExit(
            "MongoDB has users, and root's password is not that of the file mongo_root: this program cannot change"
            " it. Put the old one back into the file, or change it by hand (db.changeUserPassword)."
        ) from None


def _initiate(nobody: Client, member: str) -> None:
    try:
        nobody.admin.command("replSetInitiate", {"_id": DATABASE, "members": [{"_id": 0, "host": member}]})
    except OperationFailure as error:
        if error.code != ALREADY_INITIALIZED:  # a first run may have been cut short
            raise
    _wait_for_primary(nobody)


def _wait_for_primary(client: Client) -> None:
    until = time.monotonic() + WAIT_S
    while not client.admin.command("hello")["isWritablePrimary"]:
        if time.monotonic() > until:
            raise SystemExit("MongoDB did not become primary: does --member name this very server?")
        time.sleep(0.1)


def _put_user(root: Client, user: str, password: str, role: str) -> None:
    wanted: dict[str, Any] = {"pwd": password, "roles": [{"role": role, "db": DATABASE}]}
    try:
        root[DATABASE].command("createUser", user, **wanted)
    except OperationFailure as error:
        if error.code != USER_EXISTS:
            raise
        root[DATABASE].command("updateUser", user, **wanted)


if __name__ == "__main__":
    main()
