"""Where figures come from: the machine, the servers and how durable they are, the versions of everything."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.scene import Scene

PACKAGES: Final = ("trivet", "celery", "kombu", "redis", "sqlalchemy", "psycopg", "pymongo", "pydantic")


def versions(scene: Scene) -> dict[str, str]:
    """Of Python, of what the worker stands on, and of the three servers."""
    given = scene.bank.run.given
    info: Any = given.redis.info("server")
    servers = {
        "PostgreSQL": scene.bank.value("SHOW server_version").split()[0],
        "MongoDB": given.mongo.server_info()["version"],
        "Redis": info["redis_version"],
    }
    ours = {"redis-py" if name == "redis" else name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **ours, **servers}


def machine() -> dict[str, Any]:
    """Processors, memory in GiB, and the system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpus": os.cpu_count(),
        "cpu": found.group(1) if found else platform.machine(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
    }


def durability(scene: Scene) -> dict[str, str]:
    """What the servers say that durability hangs on."""
    given = scene.bank.run.given
    postgres = ("fsync", "synchronous_commit", "full_page_writes")
    redis: Any = given.redis.config_get("append*")
    return {
        **{f"PostgreSQL {name}": scene.bank.value(f"SHOW {name}") for name in postgres},
        **{f"Redis {name}": redis[name] for name in ("appendonly", "appendfsync")},
        "MongoDB w": str(given.documents.write_concern.document.get("w")),
    }
