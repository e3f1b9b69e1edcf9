"""`trivet check`: whether the three stores are reachable, migrated, writable and durable."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.operations.health import Finding, check_stores
from worker.operations.logs import configure_logs
from worker.settings import read_settings


def register(app: typer.Typer) -> None:
    """Add the command `check` to `app`."""
    app.command()(check)


def check(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False
) -> None:
    """Check that PostgreSQL, MongoDB and Redis are reachable, new enough, writable, migrated and durable.

    Exits 1 when something must be put right first. Settings that may lose confirmed writes are errors in
    production and warnings in development.

    Example: trivet check --json
    """
    settings = read_settings()
    configure_logs(settings, role="check")
    findings = check_stores(settings)
    failed = [finding for finding in findings if finding.failed]
    if as_json:
        print(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}))
    else:
        Console().print(_table(findings))
    if failed:
        print(f"trivet: {'; '.join(map(str, failed))}", file=sys.stderr)
        raise typer.Exit(1)


def _table(findings: Sequence[Finding]) -> Table:
    table = Table("store", "check", "", "found", "to do")
    for finding in findings:
        table.add_row(
            finding.store,
            finding.what,
            _mark(finding),
            escape(finding.message),
            "" if finding.ok else escape(finding.remedy),
        )
    return table


def _mark(finding: Finding) -> str:
    if finding.ok:
        return "[green]✓[/]"
    return "[red]✗[/]" if finding.failed else "[yellow]✗ warning[/]"
