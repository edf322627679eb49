"""``recsys-train``: from tables to bundles and reports.

Exit codes: 0 done, 1 the data or the request is bad (one line per fault on stderr), 2 usage.
"""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from recsys.domain import Change, Language
from recsys.errors import RecsysError
from training.pipelines.offpolicy.command import offpolicy

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
app.command()(offpolicy)

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
    OPEN_BANDIT = "open-bandit"


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
    from training.pipelines.worlds.simulate import simulate as run

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
    elif dataset is PublicData.OPEN_BANDIT:
        from training.prepare.open_bandit import prepare as run
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
def search(
    data: DataOption,
    as_of: Annotated[str, typer.Option(help="Day or instant: only what was recorded by then is used.")],
    minutes: Annotated[float, typer.Option(help="Budget of the trials; the one under way is finished.")],
    out: Annotated[Path, typer.Option("--out", help="The recipe's file, NAME.toml.")],
    models: Annotated[
        str, typer.Option(help="Comma-separated models to search over; default: all that have a space.")
    ] = "",
    horizon_days: Annotated[int, typer.Option(help="Days within which a connection counts.")] = 30,
    k: Annotated[int, typer.Option(help="Length of the lists judged.")] = 10,
    recipes: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many recipes: the same on every machine.")
    ] = None,
    seed: SeedOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Look for a recipe that beats the simple models, and write it; or the simple model that is as good."""
    from training.pipelines.selection.search import search as run

    result = run(
        data,
        as_of,
        minutes,
        out,
        models=_split(models),
        horizon_days=horizon_days,
        k=k,
        max_recipes=recipes,
        seed=seed,
    )
    _say(result.to_json() if as_json else str(result))


@app.command()
def evaluate(
    data: DataOption,
    models: Annotated[str, typer.Option(help="Comma-separated model names or recipe files.")],
    as_of: Annotated[str, typer.Option(help="Cut, or comma-separated cuts that are pooled.")],
    horizon_days: Annotated[int, typer.Option(min=1, help="Days after the cut that count as truth.")],
    out: OutOption,
    k: Annotated[int, typer.Option(min=1, help="Length of the list.")] = 10,
    cuts: Annotated[
        int | None, typer.Option(min=1, help="Number of cuts that end at --as-of, --every-days apart.")
    ] = None,
    every_days: Annotated[int | None, typer.Option(min=1, help="Days between the cuts of --cuts.")] = None,
    embargo_days: Annotated[
        int, typer.Option(min=0, help="Days before each cut of which models know nothing.")
    ] = 0,
    seed: SeedOption = 1,
    skip_bad_rows: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare models on time splits: table, metrics.json and report.html."""
    from training.pipelines.evaluation.cuts import spread_cuts
    from training.pipelines.evaluation.evaluate import evaluate as run
    from training.pipelines.evaluation.terminal import render_table

    result = run(
        data,
        _split(models),
        spread_cuts(_split(as_of), cuts, every_days),
        horizon_days,
        k,
        out,
        embargo_days=embargo_days,
        seed=seed,
        skip_bad_rows=skip_bad_rows,
    )
    if as_json:
        _say(result.to_json())
        return
    Console().print(render_table(result))
    _say(f"{result.verdict}\nreport: {out / 'report.html'}")


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of an evaluation.", metavar="RUN_A")],
    run_b: Annotated[Path, typer.Argument(help="Folder of another one.", metavar="RUN_B")],
    a: Annotated[
        str | None, typer.Option("--a", help="Model of RUN_A; default: see the documentation.")
    ] = None,
    b: Annotated[str | None, typer.Option("--b", help="Model of RUN_B.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say by how much RUN_B differs from RUN_A on the same clients, overall and by segment."""
    from training.pipelines.evaluation.compare import compare as run
    from training.pipelines.evaluation.terminal import render_comparison

    result = run(run_a, run_b, model_a=a, model_b=b)
    if as_json:
        _say(result.to_json())
        return
    Console().print(render_comparison(result))
    _say(result.verdict)


PolicyArgument = Annotated[Path, typer.Argument(help="Folder with the policy's documents.", metavar="DIR")]
MomentOption = Annotated[
    str | None, typer.Option("--as-of", help="Day or instant; default: when the last row became known.")
]


@app.command()
def score(
    data: DataOption,
    bundle: Annotated[Path, typer.Option(help="Bundle, or folder of bundles, whose newest counts.")],
    policy: Annotated[Path, typer.Option(help="Folder with the policy's documents.", metavar="DIR")],
    out: OutOption,
    as_of: MomentOption = None,
    placement: Annotated[
        str | None,
        typer.Option(help="Whose lists, comma-separated; default: the policy's first placement."),
    ] = None,
    k: Annotated[
        int | None, typer.Option(min=1, help="Length of the lists; default: the placement's.")
    ] = None,
    language: Annotated[Language, typer.Option(help="Language of titles and reasons.")] = Language.RU,
    leads: Annotated[
        bool, typer.Option("--leads", help="The best pairs of client and offer for account managers.")
    ] = False,
    capacity: Annotated[int | None, typer.Option(min=1, help="With --leads: how many there may be.")] = None,
    per_client: Annotated[
        int | None, typer.Option(min=1, help="With --leads: most open ones of a client; default: 1.")
    ] = None,
    per_manager: Annotated[
        int | None, typer.Option(min=1, help="With --leads: most for one account manager (tag manager=…).")
    ] = None,
    changes: Annotated[
        str | None,
        typer.Option(
            help="With --leads: what they may propose, comma-separated (new,upgrade,expand,renew,retain)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Decide for every client as the server would; with --leads, whom an account manager should call."""
    if leads != (capacity is not None):
        raise typer.BadParameter("--leads and --capacity go together")
    if not leads and (per_client or per_manager or changes):
        raise typer.BadParameter("--per-client, --per-manager and --changes belong to --leads")
    if capacity is not None:
        from training.pipelines.scoring.lead_choice import LeadLimits
        from training.pipelines.scoring.lead_tables import render_leads
        from training.pipelines.scoring.leads import find_leads

        if k is not None:
            raise typer.BadParameter("--k is the length of a list; leads are as many as --capacity")
        asked = (data, bundle, policy, out, LeadLimits(capacity, per_client or 1, per_manager))
        found = find_leads(
            *asked, changes=_changes(changes or ""), as_of=as_of, placement=placement, language=language
        )
        _say(found.to_json()) if as_json else Console().print(render_leads(found, out))
        return
    from training.pipelines.scoring.score import render_score
    from training.pipelines.scoring.score import score as run

    summary = run(
        data, bundle, policy, out, as_of=as_of, placements=_split(placement or ""), k=k, language=language
    )
    _say(summary.to_json()) if as_json else Console().print(render_score(summary, out))


@app.command()
def experiment(
    data: DataOption,
    experiment_id: Annotated[str, typer.Option("--experiment", help="Id of the experiment, or holdout.")],
    out: OutOption,
    as_of: MomentOption = None,
    language: Annotated[Language, typer.Option(help="Language of the report.")] = Language.EN,
    as_json: JsonOption = False,
) -> None:
    """Say what an experiment shows: verdict, table, metrics.json and report.html."""
    from training.pipelines.experiments.experiment import run_experiment as run
    from training.pipelines.experiments.terminal import render_results

    results = run(data, experiment_id, out, as_of=as_of, language=language)
    if as_json:
        _say(orjson.dumps(results.as_json()))
        return
    Console().print(render_results(results, language.value))
    _say(f"report: {out / 'report.html'}")


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
    from training.pipelines.policies.check import check as run

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
    from training.pipelines.policies.examples import run_examples as run

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
    from training.pipelines.policies.diff import diff as run
    from training.pipelines.policies.diff_tables import render_diff

    result = run(before, after, data, bundle=bundle, placement=placement, k=k, as_of=as_of, out=out)
    if as_json:
        _say(result.to_json())
    else:
        Console().print(render_diff(result))


def _changes(text: str) -> list[Change]:
    try:
        return [Change(part) for part in _split(text)]
    except ValueError as error:
        raise typer.BadParameter(f"--changes: {error}; choose among {', '.join(Change)}") from None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _say(what: str | bytes) -> None:
    typer.echo(what)


def main() -> None:
    """Run the command line; a known error is one clear message and exit code 1."""
    # as after Ctrl-C, what is half written is cleared away
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app(standalone_mode=True)
    except RecsysError as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
