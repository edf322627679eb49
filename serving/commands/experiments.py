"""``recsys-serve experiment``: plan, create, edit, start, ramp, stop, decide, results, holdout."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from recsys.domain import Language
from recsys.errors import ConfigError
from serving.commands.terminal import (
    AUTHOR,
    JsonOption,
    minute,
    note,
    open_existing_store,
    open_store,
    print_table,
    say,
    warn,
)
from serving.settings import read_settings

if TYPE_CHECKING:
    from recsys.experiments.experiment import Experiment
    from serving.services.experiments import Found, Ordered, Unreadable, Voice
    from serving.storage.sql import SqlStore

app = typer.Typer(
    help="Experiments: create, edit, start, ramp, stop, decide, list, show, results, plan, holdout.",
    no_args_is_help=True,
)

FileArgument = Annotated[
    Path, typer.Argument(help="The experiment's document, YAML or JSON.", metavar="FILE")
]
IdArgument = Annotated[str, typer.Argument(help="The experiment.", metavar="ID")]
ReasonOption = Annotated[str, typer.Option(help="Why, for those who read it later.")]
BundlesOption = Annotated[
    Path | None, typer.Option(help="Folder of bundles; default: RECSYS_BUNDLES_DIR.", metavar="DIR")
]
LanguageOption = Annotated[Language, typer.Option(help="Language of the text.")]


@app.command("plan")
def plan(
    file: FileArgument,
    share_triggered: Annotated[
        float, typer.Option(help="Share of the units that come whose lists differ between the arms.")
    ] = 1.0,
    language: LanguageOption = Language.EN,
    as_json: JsonOption = False,
) -> None:
    """Say what an experiment would find among the clients there are; stores nothing."""
    from serving.services.experiment_results import plan as run

    experiment = _read(file)
    with open_existing_store() as store:
        found = run(store, experiment, datetime.now(UTC), share_triggered)
    if as_json:
        say(found.as_json())
        return
    note(f"history until {minute(found.as_of)} UTC, {found.n_clients} clients, {found.n_units} units")
    say(found.verdict.told(language))


@app.command("create")
def create(file: FileArgument, bundles: BundlesOption = None, as_json: JsonOption = False) -> None:
    """Store a draft; what would keep it from starting is said as warnings."""
    from serving.services.experiments import create_experiment

    experiment = _read(file)
    _order(
        lambda store, voice: create_experiment(store, experiment, voice, _folder(bundles)), as_json=as_json
    )


@app.command("edit")
def edit(file: FileArgument, bundles: BundlesOption = None, as_json: JsonOption = False) -> None:
    """Replace a draft by a document with the same experiment_id."""
    from serving.services.experiments import edit_experiment

    experiment = _read(file)
    _order(lambda store, voice: edit_experiment(store, experiment, voice, _folder(bundles)), as_json=as_json)


@app.command("start")
def start(
    experiment_id: IdArgument,
    reason: ReasonOption = "",
    bundles: BundlesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a draft; every worker of every server follows within a second."""
    from serving.services.experiments import start_experiment

    _order(
        lambda store, voice: start_experiment(store, experiment_id, voice, _folder(bundles)),
        reason,
        as_json=as_json,
    )


@app.command("ramp")
def ramp(
    experiment_id: IdArgument,
    coverage: Annotated[float, typer.Option(help="Share of each arm's units, above the present one to 1.")],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a larger share of the units in; nobody who is in changes the arm."""
    from serving.services.experiments import ramp_experiment

    _order(
        lambda store, voice: ramp_experiment(store, experiment_id, coverage, voice), reason, as_json=as_json
    )


@app.command("stop")
def stop(experiment_id: IdArgument, reason: ReasonOption, as_json: JsonOption = False) -> None:
    """End an experiment: everybody sees what is in force, and outcomes are still waited for."""
    from serving.services.experiments import stop_experiment

    _order(lambda store, voice: stop_experiment(store, experiment_id, voice), reason, as_json=as_json)


@app.command("decide")
def decide(
    experiment_id: IdArgument,
    reason: ReasonOption,
    winner: Annotated[
        str | None, typer.Option(help="Arm that is chosen; left out = none is.", metavar="ARM")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write down what came of a stopped experiment; nothing is published by that."""
    from serving.services.experiment_results import results_of
    from serving.services.experiments import decide_experiment

    def order(store: SqlStore, voice: Voice) -> Ordered:
        def n_open() -> int:
            return sum(arm.counts.n_open for arm in results_of(store, experiment_id, voice.at).arms)

        return decide_experiment(store, experiment_id, winner, voice, n_open)

    _order(order, reason, as_json=as_json)


@app.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """List every experiment and how it stands."""
    from serving.services.experiments import all_experiments

    with open_store() as store:
        found = all_experiments(store)
    if as_json:
        say({"experiments": [_entry(each) for each in found]})
        return
    rows = [_row(each) for each in found]
    print_table(("experiment", "title", "status", "started", "coverage", "by", "reason"), rows)


def _row(found: Found | Unreadable) -> tuple[str, ...]:
    from serving.services.experiments import Unreadable

    last = found.last
    if isinstance(found, Unreadable):
        return (found.experiment_id, found.cause, last.status, "", "", last.author, last.reason)
    standing = found.standing
    started = "" if standing.started_at is None else minute(standing.started_at)
    return (
        standing.experiment_id,
        standing.experiment.title,
        standing.status.value,
        started,
        f"{standing.coverage:.0%}",
        last.author,
        last.reason,
    )


@app.command("show")
def show(experiment_id: IdArgument, as_json: JsonOption = False) -> None:
    """Print an experiment in full, and everything that was said of it."""
    from serving.services.experiments import Unreadable, look_up

    with open_store() as store:
        found = look_up(store, experiment_id)
    if as_json:
        say(_entry(found, is_full=True))
        return
    title = found.cause if isinstance(found, Unreadable) else found.standing.experiment.title
    note(f"{experiment_id}: {title} – {found.last.status}")
    for order in found.orders:
        why = f": {order.reason}" if order.reason else ""
        note(f"  {order.number}. {minute(order.recorded_at)} UTC {order.status}, by {order.author}{why}")
    if not isinstance(found, Unreadable):
        say(found.standing.experiment.model_dump_json(indent=2, exclude_defaults=True))


@app.command("results")
def results(
    experiment_id: IdArgument, language: LanguageOption = Language.EN, as_json: JsonOption = False
) -> None:
    """What came of an experiment, or of the `holdout`, so far; `recsys-train experiment` draws a report."""
    from serving.commands.experiment_results import print_results
    from serving.services.experiment_results import results_of

    with open_existing_store() as store:
        found = results_of(store, experiment_id, datetime.now(UTC))
    if as_json:
        say(found.as_json())
        return
    print_results(found, language)


@app.command("holdout")
def holdout(
    share: Annotated[
        float | None, typer.Option(help="Share of the units, 0–0.5; left out = say how it stands.")
    ] = None,
    salt: Annotated[str | None, typer.Option(help="Seed of the draw; left out = the one before.")] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Hold a share of the units out of everything personal, so that what the engine brings can be told."""
    from recsys.experiments.experiment import Holdout
    from serving.services.experiments import Voice, holdout_in_force, order_holdout

    with open_store() as store:
        found = holdout_in_force(store)
        if share is not None:
            values = {
                **found.holdout.model_dump(),
                "share": share,
                **({} if salt is None else {"salt": salt}),
            }
            wanted = Holdout.parse(values, "holdout")
            found = order_holdout(store, wanted, Voice(AUTHOR, datetime.now(UTC), reason))
    warn(found.warnings)
    if as_json:
        author = None if found.order is None else found.order.author
        say({**found.holdout.model_dump(mode="json"), "author": author, "warnings": found.warnings})
        return
    say(f"{found.holdout.share:.1%} of the units are held out, drawn by {found.holdout.salt!r}")


def _read(file: Path) -> Experiment:
    from recsys.experiments.experiment import read_experiment

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    return read_experiment(text, str(file))


def _folder(bundles: Path | None) -> Path | None:
    return read_settings({} if bundles is None else {"bundles_dir": bundles}).bundles_dir


def _order(order: Callable[[SqlStore, Voice], Ordered], reason: str = "", *, as_json: bool) -> None:
    from recsys.experiments.experiment import Status
    from serving.services.experiments import Unreadable, Voice

    with open_store() as store:
        found, warnings = order(store, Voice(AUTHOR, datetime.now(UTC), reason))
    warn(warnings)
    if as_json:
        say({**_entry(found), "warnings": warnings})
        return
    if isinstance(found, Unreadable):
        note(f"experiment {found.experiment_id} is {found.last.status}; it {found.cause}")
        return
    standing = found.standing
    how = f", for {standing.coverage:.0%} of its units" if standing.status is Status.RUNNING else ""
    note(f"experiment {standing.experiment_id} is {standing.status.value}{how}")


def _entry(found: Found | Unreadable, *, is_full: bool = False) -> dict[str, object]:
    from serving.services.experiments import Unreadable

    orders = [
        {
            "number": order.number,
            "status": order.status,
            "author": order.author,
            "reason": order.reason,
            "recorded_at": order.recorded_at,
        }
        for order in found.orders
    ]
    if isinstance(found, Unreadable):
        head = {"experiment_id": found.experiment_id, "status": found.last.status, "cause": found.cause}
        return {**head, "author": found.last.author, **({"orders": orders} if is_full else {})}
    standing = found.standing
    plain = orjson.loads(standing.model_dump_json(exclude={"experiment", "admissible_salts"}))
    entry: dict[str, object] = {
        "experiment_id": standing.experiment_id,
        "title": standing.experiment.title,
        **plain,
        "author": found.last.author,
    }
    if not is_full:
        return entry
    document = orjson.loads(standing.experiment.model_dump_json())
    n_admissible = len(standing.admissible_salts)
    return {**entry, "n_admissible_salts": n_admissible, "experiment": document, "orders": orders}
