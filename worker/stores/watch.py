"""A question that is asked many times a second: prepared once, on a connection of its own, in no transaction."""

from typing import Final

from psycopg import Connection, Error, OperationalError
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

from worker.settings import Settings
from worker.stores.postgres import connect_args

_NAME: Final = b"watch"


class Watch:
    """Asks one statement, whose only row has booleans and nothing else.

    It goes to libpq itself: that costs a third of the way through a cursor, and a twelfth of the way through the
    pool. It connects with the first question, and with the first one after an error.
    """

    def __init__(self, settings: Settings, statement: str, *, application_name: str = "trivet-watch") -> None:
        self._settings = settings
        self._statement = statement.encode()
        self._application_name = application_name
        self._connection: Connection[TupleRow] | None = None

    def ask(self) -> tuple[bool, ...]:
        """The answers, in their order. Raises `psycopg.Error`."""
        if self._connection is None:
            self._connection = self._connect()
        answer = self._connection.pgconn.exec_prepared(_NAME, ())
        if answer.status != ExecStatus.TUPLES_OK:
            raise self._give_up(self._connection, answer)
        return tuple(answer.get_value(0, column) == b"t" for column in range(answer.nfields))

    def close(self) -> None:
        """Close the connection; the next question makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _give_up(self, connection: Connection[TupleRow], answer: PGresult) -> Error:
        lost = connection.pgconn.status != ConnStatus.OK  # then the answer is of libpq's making, and has no code
        error = OperationalError(connection.pgconn.get_error_message()) if lost else error_from_result(answer)
        self.close()
        return error

    def _connect(self) -> Connection[TupleRow]:
        connection = Connection.connect(autocommit=True, **connect_args(self._settings, self._application_name))
        prepared = connection.pgconn.prepare(_NAME, self._statement)
        if prepared.status != ExecStatus.COMMAND_OK:
            connection.close()
            raise error_from_result(prepared)
        return connection
