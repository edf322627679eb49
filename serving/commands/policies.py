"""``recsys-serve policy``: publish, withdraw, list, show, export."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.errors import ConfigError
from serving.commands.terminal import (
    AUTHOR,
    AtOption,
    JsonOption,
    effective_at_of,
    local_minute,
    note,
    open_store,
    print_table,
    say,
    warn,
    zone_of_settings,
)
from serving.orders import PolicyVersion, standing_policies

if TYPE_CHECKING:
    from serving.services.promotion import Evidence, Judged
    from serving.storage.sql import SqlStore

app = typer.Typer(help="The policy: publish, withdraw, list, show, export.", no_args_is_help=True)

VersionArgument = Annotated[
    str | None,
    typer.Argument(help="A version, or its first digits; left out = the one in force.", metavar="[VERSION]"),
]


@app.command("publish")
def publish(  # noqa: PLR0913 – the parameters of the command
    folder: Annotated[Path, typer.Argument(help="Folder of the policy's documents.", metavar="DIR")],
    at: AtOption = None,
    about: Annotated[str, typer.Option("--note", help="What is new.")] = "",
    run: Annotated[
        Path | None,
        typer.Option(
            "--offpolicy", help="Run of `recsys-train offpolicy` on these documents.", metavar="RUN_DIR"
        ),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(help="What may be lost per decision, in the run's unit, before it is warned of.")
    ] = 0.0,
    override: Annotated[
        str, typer.Option(help="Publish although the run speaks against it: why.", metavar="REASON")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Publish a folder's documents as a version; one with faults is refused, the one in force stays."""
    from recsys.decision.policy.read import read_documents
    from serving.services.policies import Publication, publish_policy

    documents = read_documents(folder)
    evidence = _evidence(run, max_loss, override)
    effective_at = effective_at_of(at)
    with open_store() as store:
        judged, doubts = _judged(store, evidence, documents)
        note_kept = " · ".join(text for text in (about, judged) if text)
        publication = Publication(AUTHOR, note_kept, effective_at, str(folder))
        published, warnings = publish_policy(store, documents, publication, datetime.now(UTC))
    warnings = (*doubts, *warnings)
    warn(warnings)
    if as_json:
        say({**_entry(published), "warnings": warnings})
        return
    say(published.version)
    begins = local_minute(published.effective_at, zone_of_settings())
    note(f"policy {published.version} is in force from {begins} on")


@app.command("withdraw")
def withdraw(
    version: Annotated[str, typer.Argument(help="A version, or its first digits.", metavar="VERSION")],
    about: Annotated[str, typer.Option("--note", help="Why.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Call off a version that is announced for later; what would be in force without it stays so."""
    from serving.services.policies import withdraw_policy

    with open_store() as store:
        withdrawn = withdraw_policy(store, version, AUTHOR, datetime.now(UTC), about)
    if as_json:
        say({"withdrawn": [_entry(each) for each in withdrawn]})
        return
    for each in withdrawn:
        begins = local_minute(each.effective_at, zone_of_settings())
        note(f"policy {each.version} will not be in force from {begins} on")


@app.command("list")
def list_policies(as_json: JsonOption = False) -> None:
    """List everything that was published."""
    now = datetime.now(UTC)
    with open_store() as store:
        published, in_force = store.policies(), store.policy_in_force(now)
    if as_json:
        entries = [
            {**_entry(each), "is_in_force": each == in_force, "is_withdrawal": each.is_withdrawal}
            for each in published
        ]
        say({"policies": entries})
        return
    standing, zone = standing_policies(published), zone_of_settings()
    rows = [
        (
            each.version,
            local_minute(each.effective_at, zone),
            _standing(each, in_force, standing, now),
            each.author,
            each.note,
        )
        for each in published
    ]
    print_table(("version", "effective", "", "author", "note"), rows)


@app.command("show")
def show(version: VersionArgument = None, as_json: JsonOption = False) -> None:
    """Print the documents of a version."""
    from serving.services.policies import find_policy

    with open_store() as store:
        found = find_policy(store, version, datetime.now(UTC))
    if as_json:
        say({**_entry(found), "documents": dict(found.documents)})
        return
    begins = local_minute(found.effective_at, zone_of_settings())
    note(f"policy {found.version}, effective {begins}, by {found.author}: {found.note}")
    for name, text in found.documents.items():
        say(f"# ---- {name}\n{text}")


@app.command("export")
def export(
    out: Annotated[Path, typer.Option(help="Folder to write into, empty or new.", metavar="DIR")],
    version: VersionArgument = None,
) -> None:
    """Write the documents of a version as they were published."""
    from serving.services.policies import find_policy, write_documents

    with open_store() as store:
        found = find_policy(store, version, datetime.now(UTC))
    write_documents(found, out)
    note(f"policy {found.version}: {', '.join(found.documents)} written into {out}")


def _evidence(run: Path | None, max_loss: float, override: str) -> Evidence | None:
    """What the options say of an off-policy run."""
    if run is None:
        if override or max_loss:
            raise ConfigError("--max-loss and --override speak of a run; name it with --offpolicy RUN_DIR")
        return None
    from serving.services.promotion import Evidence, read_run

    return Evidence(read_run(run), str(run), max_loss, override)


def _judged(store: SqlStore, evidence: Evidence | None, documents: Mapping[str, str]) -> Judged:
    """What an off-policy run says of documents, for the note and as warnings."""
    from recsys.decision.policy.policy import version_of
    from serving.services.bundle_registry import served_bundle
    from serving.services.promotion import InForce, judge_evidence
    from serving.settings import read_settings

    in_force = InForce()
    if evidence is not None:
        policy = store.policy_in_force(datetime.now(UTC))
        in_force = InForce(policy, served_bundle(store, read_settings({}).bundles_dir))
    return judge_evidence(evidence, version_of(documents), AUTHOR, in_force)


def _standing(
    policy: PolicyVersion, in_force: PolicyVersion | None, standing: list[PolicyVersion], now: datetime
) -> str:
    if policy.is_withdrawal:
        return "withdrawal"
    if policy not in standing:
        return "withdrawn"
    return "in force" if policy == in_force else "announced" if policy.effective_at > now else ""


def _entry(policy: PolicyVersion) -> dict[str, object]:
    return {
        "version": policy.version,
        "effective_at": policy.effective_at,
        "recorded_at": policy.recorded_at,
        "author": policy.author,
        "note": policy.note,
        "documents": list(policy.documents),
    }
