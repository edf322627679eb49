"""``recsys-train``: from tables to bundles and reports.

Exit codes: 0 done, 1 the data or the request is bad (one line per fault on stderr), 2 usage.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recsys.errors import RecsysError

app = typer.Typer(
    name="recsys-train",
    help="Simulate, prepare, validate, fit, evaluate: everything that happens offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

policy_app = typer.Typer(
    help="Check, test and compare the rules of who is offered what.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(policy_app, name="policy")

DataOption = Annotated[
    str, typer.Option("--data", help="Folder of Parquet or CSV tables, or a database URL.", metavar="DIR|URL")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder to write into.")]
SeedOption = Annotated[int, typer.Option(help="Root seed of every random draw.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
SkipOption = Annotated[
    bool,
    typer.Option("--skip-bad-rows", help="Leave bad rows out and write them beside the data (skipped/)."),
]


class PublicData(StrEnum):
    """Public data sets that can be prepared."""

    ONLINE_RETAIL = "online-retail"
    GOV_SITE_SERVICES = "gov-site-services"


@app.command()
def simulate(
    catalogue: Annotated[Path, typer.Option(help="Folder with catalogue.yaml.")],
    world: Annotated[Path, typer.Option(help="TOML file of the world's parameters.")],
    out: OutOption,
    clients: Annotated[int | None, typer.Option(help="Number of clients; default: the world's.")] = None,
    months: Annotated[int | None, typer.Option(help="Number of months; default: the world's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Root seed; default: the world's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the tables of a made-up operator whose truth is known."""
    from training.pipelines.simulate import simulate as run

    summary = run(catalogue, world, out, n_clients=clients, n_months=months, seed=seed)
    _say(summary.to_json() if as_json else summary.card())


@app.command()
def prepare(
    dataset: Annotated[PublicData, typer.Argument(help="Which public data set.")],
    source: Annotated[Path, typer.Option("--from", help="Folder or file of the raw data.")],
    out: OutOption,
) -> None:
    """Turn a public data set into the canonical tables."""
    if dataset is PublicData.ONLINE_RETAIL:
        from training.prepare.online_retail import prepare as run
    else:
        from training.prepare.gov_site_services import prepare as run
    _say(str(run(source, out)))


@app.command()
def validate(
    data: Annotated[str, typer.Argument(help="Folder of tables, or a database URL.", metavar="DIR|URL")],
    as_json: JsonOption = False,
) -> None:
    """Name every broken row: table, line, column, value, what was expected."""
    from training.pipelines.validate import validate as run

    report = run(data)
    _say(report.to_json() if as_json else str(report))
    if report.n_faults:
        raise typer.Exit(1)


@app.command()
def fit(
    data: DataOption,
    as_of: Annotated[str, typer.Option(help="Day or instant: only what was recorded by then is used.")],
    out: OutOption,
    config: Annotated[str, typer.Option(help="Name of a shipped recipe, or a TOML file.")] = "default",
    seed: SeedOption = 1,
    skip_bad_rows: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe and write a bundle; prints its path and metrics."""
    from training.pipelines.fit import fit as run

    result = run(data, config, as_of, out, seed=seed, skip_bad_rows=skip_bad_rows)
    _say(result.to_json() if as_json else str(result))


@app.command()
def evaluate(
    data: DataOption,
    models: Annotated[str, typer.Option(help="Comma-separated model names or recipe files.")],
    as_of: Annotated[str, typer.Option(help="Cut, or comma-separated cuts that are pooled.")],
    horizon_days: Annotated[int, typer.Option(min=1, help="Days after the cut that count as truth.")],
    out: OutOption,
    k: Annotated[int, typer.Option(min=1, help="Length of the list.")] = 10,
    seed: SeedOption = 1,
    skip_bad_rows: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare models on time splits: table, metrics.json and report.html."""
    from training.pipelines.evaluate import evaluate as run
    from training.pipelines.evaluate import render_table

    result = run(
        data,
        _split(models),
        _split(as_of),
        horizon_days,
        k,
        out,
        seed=seed,
        skip_bad_rows=skip_bad_rows,
    )
    if as_json:
        _say(result.to_json())
        return
    Console().print(render_table(result))
    _say(f"report: {out / 'report.html'}")


PolicyArgument = Annotated[Path, typer.Argument(help="Folder with the policy's documents.", metavar="DIR")]
MomentOption = Annotated[
    str | None, typer.Option("--as-of", help="Day or instant; default: when the last row became known.")
]


@policy_app.command("check")
def check_policy(
    policy: PolicyArgument,
    data: Annotated[
        str | None, typer.Option(help="Look at the clients of this dataset too.", metavar="DIR|URL")
    ] = None,
    as_of: MomentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name what is wrong with the rules: file, line, cure; exit code 1 when something is."""
    from training.pipelines.policy_check import check as run

    report = run(policy, data, as_of)
    _say(report.to_json() if as_json else str(report))
    if report.faults:
        raise typer.Exit(1)


@policy_app.command("test")
def run_policy_examples(
    policy: PolicyArgument,
    data: Annotated[
        str | None, typer.Option(help="Take the offers from this dataset.", metavar="DIR|URL")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Decide the examples beside the rules; exit code 1 when one does not hold."""
    from training.pipelines.policy_test import run_examples as run

    report = run(policy, data)
    _say(report.to_json() if as_json else str(report))
    if report.n_failed:
        raise typer.Exit(1)


@policy_app.command("diff")
def diff_policies(
    before: Annotated[Path, typer.Argument(help="Folder of the policy in force.", metavar="A")],
    after: Annotated[Path, typer.Argument(help="Folder of the changed policy.", metavar="B")],
    data: DataOption,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle that estimates probabilities; default: how many hold an offer."),
    ] = None,
    placement: Annotated[str | None, typer.Option(help="Whose list; default: the first of B.")] = None,
    k: Annotated[
        int | None, typer.Option(min=1, help="Length of the list; default: the placement's.")
    ] = None,
    as_of: MomentOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write the changed clients into.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whose lists a change of the rules moves, what it is worth, and which offers gain and lose."""
    from training.pipelines.policy_diff import diff as run
    from training.pipelines.policy_diff_tables import render_diff

    result = run(before, after, data, bundle=bundle, placement=placement, k=k, as_of=as_of, out=out)
    if as_json:
        _say(result.to_json())
    else:
        Console().print(render_diff(result))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _say(what: str | bytes) -> None:
    typer.echo(what)


def main() -> None:
    """Run the command line; a known error is one clear message and exit code 1."""
    try:
        app(standalone_mode=True)
    except RecsysError as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
