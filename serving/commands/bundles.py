"""``recsys-serve bundle``: publish, promote, roll back, pin, unpin, retire, list, show."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.errors import ConfigError
from recsys.texts import metric_text
from serving.commands.terminal import AUTHOR, JsonOption, minute, note, open_store, say, warn

if TYPE_CHECKING:
    from serving.orders import BundleOrder
    from serving.services.bundle_registry import Registry
    from serving.services.bundle_show import BundleShown
    from serving.services.bundles import PromotionCase, Said
    from serving.services.disagreement import Segment
    from serving.services.experiments import Voice
    from serving.storage.sql import SqlStore

app = typer.Typer(
    help="Bundles: publish, promote, roll back, pin, unpin, retire, list, show.", no_args_is_help=True
)

_INDENT = "    "
VersionArgument = Annotated[
    str, typer.Argument(help="The bundle, or the first letters of its version.", metavar="VERSION")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for those who read it later.")]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--bundles",
        help="Folder of the bundles, the one that servers take; left out = RECSYS_BUNDLES_DIR.",
        metavar="DIR",
    ),
]


@app.command("publish")
def publish(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle, in the folder of bundles.")],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a bundle a candidate, once every file of it was verified and it has scored clients."""
    from serving.services.bundles import publish_bundle

    place = bundle if len(bundle.parts) > 1 else _folder(None) / bundle
    _give(
        lambda store, voice: publish_bundle(store, place.parent, place.name, voice), reason, as_json=as_json
    )


@app.command("promote")
def promote(  # noqa: PLR0913 – the parameters of the command
    version: VersionArgument,
    is_shadow: Annotated[
        bool, typer.Option("--shadow", help="Only score it beside the live one; nobody sees its lists.")
    ] = False,
    run: Annotated[
        Path | None,
        typer.Option("--offpolicy", help="Run of `recsys-train offpolicy` on it.", metavar="RUN_DIR"),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(help="What may be lost per decision, in the run's unit, before it is warned of.")
    ] = 0.0,
    override: Annotated[
        str, typer.Option(help="Promote although its figures are worse: why.", metavar="REASON")
    ] = "",
    reason: ReasonOption = "",
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a published bundle live, or try it in shadow; every worker follows within two seconds."""
    from serving.services.bundles import promote_bundle, shadow_bundle

    case, place = _case_of(run, max_loss, override, is_shadow=is_shadow), _folder(folder)

    def order(store: SqlStore, voice: Voice) -> Said:
        if is_shadow:
            return shadow_bundle(store, place, version, voice)
        return promote_bundle(store, place, version, voice, case)

    _give(order, reason, as_json=as_json)


@app.command("rollback")
def rollback(reason: ReasonOption = "", folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Make the bundle live again that was so before; once more goes further back."""
    from serving.services.bundles import roll_back

    place = _folder(folder)
    _give(lambda store, voice: roll_back(store, place, voice), reason, as_json=as_json)


@app.command("pin")
def pin(reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Hold the live bundle: until it is unpinned nobody promotes another one, or rolls back."""
    from serving.services.bundles import pin_bundle

    _give(pin_bundle, reason, as_json=as_json)


@app.command("unpin")
def unpin(reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Let the live bundle be replaced again."""
    from serving.services.bundles import unpin_bundle

    _give(unpin_bundle, reason, as_json=as_json)


@app.command("retire")
def retire(version: VersionArgument, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Give up a candidate, or a bundle in shadow."""
    from serving.services.bundles import retire_bundle

    _give(lambda store, voice: retire_bundle(store, version, voice), reason, as_json=as_json)


@app.command("list")
def list_bundles(as_json: JsonOption = False) -> None:
    """List what was published, how it stands, and since when, by whom and why."""
    from serving.services.bundle_registry import read_registry
    from serving.services.bundle_source import UNREGISTERED

    with open_store() as store:
        registry = read_registry(store)
    live, before, pinned = registry.live, registry.before, registry.pin
    given = _status_orders(registry)
    if as_json:
        say(
            {
                "live": None if live is None else live.version,
                "shadow": registry.shadow,
                "before": None if before is None else before.version,
                "pinned_by": None if pinned is None else pinned.author,
                "bundles": [
                    {
                        "version": entry.version,
                        "folder": entry.folder,
                        "status": entry.status.value,
                        "given": asdict(given[entry.version]),
                        "last": asdict(entry.last),
                    }
                    for entry in registry.entries.values()
                ],
            }
        )
        return
    for entry in registry.entries.values():
        order = given[entry.version]
        replacing = "" if order.version == entry.version else f"gave way to {order.version}"
        head = f"{entry.version}: {entry.status.value} since {minute(order.recorded_at)}, {order.author}"
        _say_order(head, (replacing, order.reason, order.judgement))
        if pinned is not None and entry is live:
            _say_order(f"  pinned since {minute(pinned.recorded_at)}, {pinned.author}", (pinned.reason,))
    if live is None:
        note(UNREGISTERED)


@app.command("show")
def show(version: VersionArgument, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Show a bundle: its figures, its disagreement in shadow, and everything that was said of it."""
    from serving.services.bundle_show import show_bundle

    place = _folder(folder)
    with open_store() as store:
        shown = show_bundle(store, place, version)
    if as_json:
        say(_shown_entry(shown))
        return
    for line in _lines_of(shown):
        say(line)
    say("orders:")
    for order in shown.entry.orders:
        head = f"  {order.number} {order.action.value} {minute(order.recorded_at)}, {order.author}"
        _say_order(head, (order.reason, order.judgement))


def _say_order(head: str, why: Iterable[str]) -> None:
    """Say what was ordered, and below why, no wider than the terminal."""
    say(head)
    told = " · ".join(text for text in why if text)
    width = shutil.get_terminal_size().columns
    for line in textwrap.wrap(told, width - len(_INDENT), break_on_hyphens=False):
        say(f"{_INDENT}{line}")


def _status_orders(registry: Registry) -> dict[str, BundleOrder]:
    """The order that gave each bundle its present status, by version; it may be about another bundle."""
    from serving.services.bundle_registry import registry_of

    said = sorted(
        (one for entry in registry.entries.values() for one in entry.orders), key=lambda one: one.number
    )
    given: dict[str, BundleOrder] = {}
    before: dict[str, str] = {}
    for n_said, order in enumerate(said, 1):
        now = {entry.version: entry.status.value for entry in registry_of(said[:n_said]).entries.values()}
        given |= {version: order for version, status in now.items() if before.get(version) != status}
        before = now
    return given


def _give(order: Callable[[SqlStore, Voice], Said], reason: str, *, as_json: bool) -> None:
    from serving.services.experiments import Voice

    with open_store() as store:
        said, warnings = order(store, Voice(AUTHOR, datetime.now(UTC), reason))
    warn(warnings)
    if as_json:
        say({**asdict(said), "warnings": warnings})
        return
    say(said.version)
    note(_told(said))


def _told(order: BundleOrder) -> str:
    said = {
        "publish": "is a candidate: promote it, or try it with promote --shadow",
        "shadow": "is scored beside the live one",
        "promote": "is live; servers follow within two seconds",
        "roll_back": "is live again; servers follow within two seconds",
        "pin": "is pinned",
        "unpin": "may be replaced again",
        "retire": "is retired",
    }
    judgement = f" ({order.judgement})" if order.judgement else ""
    return f"bundle {order.version} {said[order.action.value]}{judgement}"


def _folder(given: Path | None) -> Path:
    from serving.settings import read_settings

    folder = given or read_settings({}).bundles_dir
    if folder is None:
        raise ConfigError(
            "no folder of bundles is known: name it with --bundles DIR or RECSYS_BUNDLES_DIR, or name the"
            " bundle with its path"
        )
    return folder


def _case_of(run: Path | None, max_loss: float, override: str, *, is_shadow: bool) -> PromotionCase:
    """What the options say for a promotion."""
    from serving.services.bundles import PromotionCase
    from serving.services.promotion import Evidence, read_run

    if is_shadow and (run is not None or override):
        raise ConfigError("--offpolicy and --override speak of what goes live; leave them out with --shadow")
    if run is None:
        if max_loss:
            raise ConfigError("--max-loss speaks of a run; name it with --offpolicy RUN_DIR")
        return PromotionCase(override=override)
    return PromotionCase(Evidence(read_run(run), str(run), max_loss, override), override)


def _lines_of(shown: BundleShown) -> list[str]:
    entry, manifest, overall = shown.entry, shown.manifest, shown.shadow.overall
    lines = [f"{entry.version}: {entry.status.value}" + (" and pinned" if shown.is_pinned else "")]
    if manifest is not None:
        lines.append(f"fitted as of {minute(manifest.as_of.astimezone(UTC))} UTC, {manifest.target.value}")
        lines += [f"  {name} {metric_text(value)}" for name, value in manifest.metrics.items()]
    if shown.fault is not None:
        lines.append(f"it could not be served now: {shown.fault}")
    if overall.n_decisions:
        lines.append(f"in shadow, against {', '.join(shown.shadow.against)}:")
        lines += [_segment_line(each) for each in (overall, *shown.shadow.worst)]
    return lines


def _segment_line(segment: Segment) -> str:
    told = (
        ("overlap", segment.mean_overlap, ".0%"),
        ("rank correlation", segment.rank_correlation, ".2f"),
        ("probability", segment.mean_difference, "+.4f"),
    )
    figures = ", ".join(f"{name} {value:{form}}" for name, value, form in told if value is not None)
    return f"  {segment.name or 'all'}: {segment.n_decisions} decisions, {figures}"


def _shown_entry(shown: BundleShown) -> dict[str, object]:
    entry, manifest = shown.entry, shown.manifest
    return {
        "version": entry.version,
        "folder": entry.folder,
        "status": entry.status.value,
        "is_pinned": shown.is_pinned,
        "fault": shown.fault,
        "target": None if manifest is None else manifest.target.value,
        "as_of": None if manifest is None else manifest.as_of,
        "metrics": {} if manifest is None else dict(manifest.metrics),
        "shadow": {
            "overall": shown.shadow.overall._asdict(),
            "against": shown.shadow.against,
            "worst": [each._asdict() for each in shown.shadow.worst],
        },
        "orders": [asdict(order) for order in entry.orders],
    }
