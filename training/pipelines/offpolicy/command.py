"""The command ``recsys-train offpolicy``; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recsys.domain import Language


def offpolicy(  # noqa: PLR0913, PLR0917 – the options of the command
    log: Annotated[
        str,
        typer.Option("--log", help="Folder or database URL with the decision log.", metavar="DIR|URL"),
    ],
    bundle: Annotated[Path, typer.Option(help="Bundle, or folder of bundles, whose newest counts.")],
    policy: Annotated[Path, typer.Option(help="Folder with the new policy's documents.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
    placement: Annotated[
        str | None, typer.Option(help="Whose decisions, comma-separated; default: all that the policy has.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="An activation counts within so many days.")] = 30,
    months: Annotated[
        int, typer.Option(min=1, max=120, help="Months of margin that an activation brings.")
    ] = 12,
    slots: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Slots of each list that count, from the top; default: all."),
    ] = None,
    tolerated: Annotated[
        float, typer.Option(min=0, help="What may be lost per decision, in minor units of margin.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Root seed of every random draw.")] = 1,
    language: Annotated[Language, typer.Option(help="Language of the report and the table.")] = Language.EN,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Say what a new policy would have earned per decision, from a log; or that the log cannot tell."""
    from training.pipelines.offpolicy.evaluate import Options, evaluate_off_policy  # noqa: PLC0415
    from training.pipelines.offpolicy.terminal import render_result  # noqa: PLC0415

    options = Options(
        placements=[name.strip() for name in (placement or "").split(",") if name.strip()],
        days=days,
        months=months,
        n_slots=slots,
        tolerated=tolerated,
        seed=seed,
        language=language,
    )
    result = evaluate_off_policy(log, bundle, policy, out, options)
    if as_json:
        typer.echo(result.to_json())
        return
    Console().print(render_result(result, language))
    typer.echo(f"{out / 'report.html'}")
