"""Decisions for every client of a dataset: what they are made of, and the clients in chunks.

The funnel is `recsys.decision.decide`, the one that serving calls, at one moment for everybody.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from recsys.bundle import Bundle
from recsys.data.dataset import Dataset
from recsys.data.replay import collector_paused, replay
from recsys.data.snapshot import offers_at, valid_clients
from recsys.decision.availability import Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.decide import Decision, decide_all
from recsys.decision.engine import Engine
from recsys.decision.situation import Ask, Situation
from recsys.decision.volume import Counts, Tally, VolumeCaps
from recsys.domain import ClientState, Language
from recsys.errors import ConfigError, LeakageError
from training.pipelines.policies.sources import moment_asked, open_policy, refuse_nobody, refuse_unsound
from training.pipelines.scoring.estimates import Estimates, Scored, open_bundle
from training.prepare.sources import open_dataset

_NO_CURRENCY = "XXX"
# an event may name any decision, so decisions stay whole
_OF_CLIENTS = ("clients", "client_months", "holdings", "events")
CLIENTS_PER_CHUNK = 2_000
_FRESH_FOR = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Sources:
    """What decisions for every client of a dataset are made of.

    Attributes:
        dataset: The tables.
        as_of: The moment of every decision; nothing recorded later is read.
        client_ids: Everybody who is a client then, ascending.
        engine: The policy, compiled with the offers known then.
        bundle: The models.
        estimates: The models, aligned with the offers.
        volume_counts: What the policy's volume caps count, of the present periods.
        restrictions: The volume caps that are used up then.
    """

    dataset: Dataset
    as_of: datetime
    client_ids: tuple[str, ...]
    engine: Engine
    bundle: Bundle
    estimates: Estimates
    volume_counts: Counts
    restrictions: Restrictions

    @property
    def local_as_of(self) -> datetime:
        """The moment in the dataset's time zone."""
        return self.as_of.astimezone(self.engine.zone)

    @property
    def currency(self) -> str | None:
        """ISO code of every amount; None where the data have none."""
        currency = self.dataset.meta.currency
        return None if currency == _NO_CURRENCY else currency

    def states(self, client_ids: Sequence[str]) -> tuple[ClientState, ...]:
        """What is known of these clients at the moment, in their order."""
        moments = pl.DataFrame({"client_id": client_ids}, schema={"client_id": pl.String}).with_columns(
            pl.lit(self.as_of).alias("at")
        )
        with collector_paused():
            return tuple(replay(narrowed(self.dataset, moments.select("client_id")), moments))


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision for one client.

    Attributes:
        situation: The client and its moment.
        decision: What the funnel chose.
        scored: The clients of its chunk, scored.
        place: Its place in the chunk.
    """

    situation: Situation
    decision: Decision
    scored: Scored
    place: int


def open_sources(data: str, bundle: Path, policy: Path, as_of: str | None = None) -> Sources:
    """Read everything.

    Args:
        data: A folder, or a database URL.
        bundle: A bundle, or a folder of bundles, whose newest counts.
        policy: Folder of the policy.
        as_of: Day or instant; None = when the last row became known, or the bundle's as_of if that is later.

    Raises:
        ConfigError: The policy is wrong, as_of is neither, or nobody is a client then.
        DataError: The data cannot be read or are broken.
        LeakageError: The bundle knows what was recorded after as_of.
        BundleError: The bundle cannot be read.
    """
    files, models = open_policy(policy), open_bundle(bundle)
    dataset = open_dataset(data)
    last_known_at, fitted_at = moment_asked(dataset, None), models.manifest.as_of
    moment = max(last_known_at, fitted_at) if as_of is None else moment_asked(dataset, as_of)
    client_ids = tuple(valid_clients(dataset, moment)["client_id"].to_list())
    catalogue = CompiledCatalogue(offers_at(dataset, moment))
    refuse_nobody(data, moment, len(client_ids), len(catalogue))
    zone = ZoneInfo(dataset.meta.time_zone)
    _refuse_foresight(moment, fitted_at, zone)
    # rules of today may name offers that came after the moment
    refuse_unsound(files, CompiledCatalogue(offers_at(dataset, last_known_at)))
    _warn_of_old(moment, last_known_at, fitted_at, zone)
    engine = Engine(catalogue, files.policy, zone)
    caps = VolumeCaps(engine.policy.engagement.volume_caps, catalogue, engine.zone)
    counts = {tally: _count(dataset, tally, moment) for tally in caps.tallies(moment)}
    return Sources(
        dataset=dataset,
        as_of=moment,
        client_ids=client_ids,
        engine=engine,
        bundle=models,
        estimates=Estimates(models, catalogue),
        volume_counts=counts,
        restrictions=Restrictions(used_up_caps=frozenset(caps.used_up(counts, moment))),
    )


def _refuse_foresight(moment: datetime, fitted_at: datetime, zone: ZoneInfo) -> None:
    if moment < fitted_at:
        raise LeakageError(
            f"--as-of {_said(moment, zone)}: the bundle knows what was recorded until"
            f" {_said(fitted_at, zone)}; fit an earlier one, or choose a later --as-of"
        )


def _warn_of_old(moment: datetime, last_known_at: datetime, fitted_at: datetime, zone: ZoneInfo) -> None:
    """Say on stderr that nothing recent is known; the decisions are taken all the same."""
    if moment - min(last_known_at, fitted_at) > _FRESH_FOR:
        print(  # noqa: T201
            f"warning: --as-of {_said(moment, zone)}: the data end {_said(last_known_at, zone)},"
            f" the bundle knows until {_said(fitted_at, zone)}",
            file=sys.stderr,
        )


def _said(moment: datetime, zone: ZoneInfo) -> str:
    """A moment for people: a day where it is that day's midnight.

    Example:
        >>> _said(datetime.fromisoformat("2026-09-30T21:00Z"), ZoneInfo("Europe/Moscow"))
        '2026-10-01'
    """
    local = moment.astimezone(zone)
    is_midnight = (local.hour, local.minute, local.second) == (0, 0, 0)
    return f"{local:%Y-%m-%d}" if is_midnight else f"{local:%Y-%m-%d %H:%M}"


def asks_of(engine: Engine, policy: Path, placements: Sequence[str], k: int | None) -> tuple[Ask, ...]:
    """The lists that every client is asked for, as one request asks for them.

    Args:
        engine: The policy.
        policy: Its folder, for errors.
        placements: Whose lists; none = the policy's first placement.
        k: Length of each list; None = the placement's.

    Raises:
        ConfigError: There is no such placement, it stands twice, or it shows shorter lists only.
    """
    known = engine.placements
    asks = []
    for name in placements or (next(iter(known)),):
        if name not in known:
            raise ConfigError(f"{policy}: has no placement {name!r}; choose one of {', '.join(known)}")
        if k is not None and k > known[name].max_k:
            raise ConfigError(
                f"--k: {k} is more than the max_k = {known[name].max_k} of placement {name!r} in {policy};"
                f" choose at most {known[name].max_k}"
            )
        asks.append(Ask(name, k or known[name].k))
    if len(set(placements)) < len(placements):
        raise ConfigError(f"--placement: {', '.join(placements)} names one twice; name each once")
    return tuple(asks)


def decided_chunks(
    sources: Sources, asks: Sequence[Ask], language: Language, n_at_once: int = CLIENTS_PER_CHUNK
) -> Iterator[list[Decided]]:
    """Decide for every client, chunk by chunk; what is in memory grows with the chunk alone.

    Args:
        sources: What is decided with.
        asks: The lists.
        language: Language of whoever sees them.
        n_at_once: Clients in a chunk, ≥1.
    """
    for start in range(0, len(sources.client_ids), n_at_once):
        states = sources.states(sources.client_ids[start : start + n_at_once])
        yield decided_for(sources, states, asks, language)


def decided_for(
    sources: Sources, states: Sequence[ClientState], asks: Sequence[Ask], language: Language
) -> list[Decided]:
    """Decide for some clients at the moment of the sources; arguments as in `decided_chunks`."""
    scored = sources.estimates.of(states, sources.as_of)
    situations = [
        Situation(state, sources.as_of, tuple(asks), language=language, restrictions=sources.restrictions)
        for state in states
    ]
    decisions = decide_all(situations, scored.estimates, sources.engine)
    return [
        Decided(situation, decision, scored, place)
        for place, (situation, decision) in enumerate(zip(situations, decisions, strict=True))
    ]


def narrowed(dataset: Dataset, clients: pl.DataFrame) -> Dataset:
    """The rows of some clients; a replay reads every row it is given."""
    tables = {
        name: frame.join(clients, on="client_id", how="semi", maintain_order="left")
        if name in _OF_CLIENTS
        else frame
        for name, frame in dataset.tables.items()
    }
    return replace(dataset, tables=tables)


def _count(dataset: Dataset, tally: Tally, moment: datetime) -> dict[str, int]:
    """How many events of a type each offer had since a moment, as known at another."""
    events = dataset.tables.get("events")
    if events is None:
        return {}
    counts = (
        events.filter(
            pl.col("event_type") == tally.event_type.value,
            pl.col("occurred_at") >= tally.since,
            pl.col("recorded_at") <= moment,
            pl.col("offer_id").is_not_null(),
        )
        .unique("event_id")
        .group_by("offer_id")
        .len()
    )
    return dict(counts.iter_rows())
