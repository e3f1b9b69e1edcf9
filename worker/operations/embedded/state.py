"""What is remembered between two starts: the ports, so that URLs stay valid, in `servers.json`."""

from pydantic import BaseModel, TypeAdapter, ValidationError

from worker.operations.embedded.place import Place


class Entry(BaseModel):
    """What is known of one server; the pid is for people to read: ours are found by command line."""

    port: int
    pid: int | None = None
    version: str | None = None


State = dict[str, Entry]

FORMAT = TypeAdapter(State)


def read(place: Place) -> State:
    """Read the state; where it is missing or damaged, ports are chosen anew."""
    try:
        return FORMAT.validate_json((place.folder / "servers.json").read_bytes())
    except (OSError, ValidationError):
        return {}


def write(place: Place, state: State) -> None:
    """Write the state, all or nothing."""
    draft = place.folder / "servers.json.new"
    draft.write_bytes(FORMAT.dump_json(state, indent=2))
    draft.rename(place.folder / "servers.json")
