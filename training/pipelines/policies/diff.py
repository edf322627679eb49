"""What would a change of the rules do? The same clients, decided by two policies, without any draw by chance.

``--out`` writes ``changed_clients.parquet`` and ``.csv`` (one row per client whose list changes),
``offers.csv`` (exposure before and after) and ``diff.json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from recsys.decision.arbitration import Arbitration, Estimate, fallback_estimate
from recsys.decision.decide import decide
from recsys.decision.engine import Engine
from recsys.decision.policy.policy import Policy
from recsys.decision.situation import Ask, Situation, quantities_of
from recsys.domain import Change, ClientState, OfferId, Profile
from recsys.errors import ConfigError
from recsys.features.lifecycle import StageThresholds, stage_of
from recsys.placement import Exploration
from training.pipelines.policies.sources import Clients, open_clients, open_policy, refuse_unsound
from training.pipelines.scoring.estimates import Estimates, open_bundle
from training.pipelines.scoring.lead_rows import without_formulas
from training.runs import check_folder, progress

SEGMENTS = ("stage", "size", "industry", "region")
_CLIENTS_PER_CHUNK = 1_000
_UNKNOWN = "unknown"
_HOLDER_SHARE = "holder_share"

Shown = tuple[OfferId, Change]


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """How many clients of a segment see another list, and what their lists are worth.

    Attributes:
        segment: By what the clients are parted: stage, size, industry or region.
        value: The part.
        n_clients: Clients in it.
        n_changed: Those whose list changes.
        value_before_minor: As in `PolicyDiff`, of these clients.
        value_after_minor: The same.
    """

    segment: str
    value: str
    n_clients: int
    n_changed: int
    value_before_minor: int
    value_after_minor: int


@dataclass(frozen=True, slots=True)
class OfferChange:
    """In how many lists an offer stands.

    Attributes:
        offer_id: The offer.
        n_before: Under the first policy.
        n_after: Under the second.
    """

    offer_id: str
    n_before: int
    n_after: int


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """What the second policy changes against the first.

    Attributes:
        before: Version of the first policy.
        after: Version of the second.
        as_of: The moment at which the clients were looked at.
        placement: Whose list was compared.
        k: Length of the list.
        n_clients: Clients compared.
        n_changed: Clients whose list changes.
        weight: By what margins are weighed: adoption or acceptance, the model's probability; without a bundle
            holder_share, the share of clients that hold the offer, which orders and is no probability.
        value_before_minor: Σ over lists of weight × expected margin a month, under the first policy; the
            weight of a renewal, an expansion or a retention is the prior that the second policy states.
        value_after_minor: The same under the second.
        segments: By segment.
        offers: Offers whose exposure changes, the greatest gain first.
        changed: One row per client whose list changes.
        currency: ISO code of the values; None where the data name none.
        time_zone: The data's, in which `as_of` is told to people.
        before_place: Folder of the first policy.
        after_place: Folder of the second.
    """

    before: str
    after: str
    as_of: str
    placement: str
    k: int
    n_clients: int
    n_changed: int
    weight: str
    value_before_minor: int
    value_after_minor: int
    segments: tuple[SegmentChange, ...]
    offers: tuple[OfferChange, ...]
    changed: pl.DataFrame
    currency: str | None = None
    time_zone: str = "UTC"
    before_place: str = ""
    after_place: str = ""

    def to_json(self) -> str:
        """Everything but the single clients, as one JSON object."""
        figures = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "changed"}
        figures["share_changed"] = self.n_changed / self.n_clients
        figures["segments"] = [asdict(segment) for segment in self.segments]
        figures["offers"] = [asdict(offer) for offer in self.offers]
        return orjson.dumps(figures).decode()

    def write(self, out: Path) -> None:
        """Write the folder of results."""
        out.mkdir(parents=True, exist_ok=True)
        self.changed.write_parquet(out / "changed_clients.parquet")
        lists = pl.col("before", "after").list.join(" ")
        without_formulas(self.changed.with_columns(lists)).write_csv(out / "changed_clients.csv")
        names = OfferChange.__dataclass_fields__
        offers = pl.DataFrame([asdict(offer) for offer in self.offers], schema=list(names))
        without_formulas(offers).write_csv(out / "offers.csv")
        (out / "diff.json").write_text(self.to_json() + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Lists:
    """One client's lists.

    Attributes:
        before: What stands in its list under the first policy.
        after: Under the second.
        value_before_minor: Σ weight × margin of the first list; see `PolicyDiff`.
        value_after_minor: Of the second.
    """

    before: tuple[Shown, ...]
    after: tuple[Shown, ...]
    value_before_minor: float
    value_after_minor: float


def diff(  # noqa: PLR0913 – the parameters of the command
    before: Path,
    after: Path,
    data: str,
    *,
    bundle: Path | None = None,
    placement: str | None = None,
    k: int | None = None,
    as_of: str | None = None,
    out: Path | None = None,
) -> PolicyDiff:
    """Compare two policies on the clients of a dataset.

    Args:
        before: Folder of the first policy.
        after: Folder of the second.
        data: The dataset.
        bundle: The models that estimate probabilities, or a folder of bundles, whose newest counts; None =
            the share of clients that hold an offer.
        placement: Whose list; None = the second policy's first placement.
        k: Length of the list; None = the placement's.
        as_of: The moment; None = when the last row became known.
        out: Folder to write into.

    Raises:
        ConfigError: A policy is wrong, or one of them has no such placement.
        DataError: The data cannot be read.
        BundleError: The bundle cannot be read.
    """
    if out is not None:
        check_folder(out)
    read = [open_policy(folder) for folder in (before, after)]
    clients = open_clients(data, as_of)
    for files in read:
        refuse_unsound(files, clients.catalogue)
    policies = [_without_chance(files.policy) for files in read]
    engines = [Engine(clients.catalogue, policy, clients.zone) for policy in policies]
    ask = _ask(engines, (before, after), placement, k)
    estimates = _Opinion(clients, bundle)
    lists = _compare(engines, clients, estimates, ask)
    result = replace(
        _summarise(engines, clients, ask, lists),
        weight=estimates.weight,
        currency=clients.currency,
        time_zone=clients.zone.key,
        before_place=str(before),
        after_place=str(after),
    )
    if out is not None:
        result.write(out)
    return result


def _without_chance(policy: Policy) -> Policy:
    """The policy without exploration and rotation, whose draws would differ for no reason."""
    still = tuple(replace(each, exploration=Exploration(), rotation=0.0) for each in policy.placements)
    return replace(policy, placements=still)


def _ask(engines: Sequence[Engine], folders: Sequence[Path], placement: str | None, k: int | None) -> Ask:
    name = placement or next(iter(engines[-1].placements))
    for engine, folder in zip(engines, folders, strict=True):
        if name not in engine.placements:
            known = ", ".join(engine.placements)
            raise ConfigError(f"{folder}: has no placement {name!r}; choose one of {known}")
        longest = engine.placements[name].max_k
        if k is not None and k > longest:
            raise ConfigError(
                f"--k: {k} is more than the max_k = {longest} of placement {name!r} in {folder};"
                f" choose at most {longest}"
            )
    return Ask(name, k or engines[-1].placements[name].k)


class _Opinion:
    """What the models of a bundle say; without one, how many hold an offer."""

    def __init__(self, clients: Clients, bundle: Path | None) -> None:
        self._now = clients.snapshot.as_of
        self._models = None if bundle is None else Estimates(open_bundle(bundle), clients.catalogue)
        ids = [offer.offer_id for offer in clients.snapshot.offers]
        counts: Counter[str] = Counter(ids[column] for _, column in clients.snapshot.demand)
        shares = np.array([counts[offer_id] for offer_id in clients.catalogue.offer_ids], dtype=float)
        self._population = replace(
            fallback_estimate(clients.catalogue, counts),
            probabilities=shares / len(clients.snapshot.states),
        )

    @property
    def weight(self) -> str:
        """What the numbers are."""
        return _HOLDER_SHARE if self._models is None else self._models.recommender.target.value

    def of(self, states: Sequence[ClientState]) -> Sequence[Estimate]:
        """One estimate per client."""
        if self._models is None:
            return [self._population] * len(states)
        return self._models.of(states, self._now).estimates


def _compare(engines: Sequence[Engine], clients: Clients, estimates: _Opinion, ask: Ask) -> list[_Lists]:
    found: list[_Lists] = []
    states = clients.snapshot.states
    with progress("diff", len(states)) as advance:
        for start in range(0, len(states), _CLIENTS_PER_CHUNK):
            chunk = states[start : start + _CLIENTS_PER_CHUNK]
            for state, estimate in zip(chunk, estimates.of(chunk), strict=True):
                situation = Situation(state=state, now=clients.snapshot.as_of, asks=(ask,))
                (before, was), (after, becomes) = (
                    list_of(engine, situation, estimate, engines[-1].arbitration) for engine in engines
                )
                found.append(_Lists(before, after, was, becomes))
            advance(len(chunk))
    return found


def list_of(
    engine: Engine, situation: Situation, estimate: Estimate, yardstick: Arbitration
) -> tuple[tuple[Shown, ...], float]:
    """What stands in a client's list, and what that is worth a month.

    Args:
        engine: The policy that decides.
        situation: The client and the list.
        estimate: What a model says.
        yardstick: By whose margins and stated priors the list is valued, whoever decided it.

    Returns:
        The list, and Σ weight × margin in minor units; an unknown margin counts as none.
    """
    (slate,) = decide(situation, estimate, engine).slates
    ids, changes = engine.catalogue.offer_ids, slate.verdicts.changes
    margins = yardstick.margins_minor(changes, quantities_of(situation.state, engine.catalogue))
    values = np.nan_to_num(yardstick.probabilities(estimate.probabilities, changes) * margins)
    shown = [slot.position for slot in slate.slots]
    return tuple((OfferId(ids[slot.position]), slot.change) for slot in slate.slots), float(
        values[shown].sum()
    )


def _summarise(engines: Sequence[Engine], clients: Clients, ask: Ask, lists: Sequence[_Lists]) -> PolicyDiff:
    traits = [_traits(state, clients) for state in clients.snapshot.states]
    changed = [index for index, each in enumerate(lists) if each.before != each.after]
    return PolicyDiff(
        before=engines[0].policy.version,
        after=engines[1].policy.version,
        as_of=clients.snapshot.as_of.isoformat(),
        placement=ask.placement_id,
        k=ask.k,
        n_clients=len(lists),
        n_changed=len(changed),
        weight=_HOLDER_SHARE,
        value_before_minor=round(sum(each.value_before_minor for each in lists)),
        value_after_minor=round(sum(each.value_after_minor for each in lists)),
        segments=tuple(_segments(traits, lists)),
        offers=_offers(lists),
        changed=_frame(clients, traits, lists, changed),
    )


def _traits(state: ClientState, clients: Clients) -> Mapping[str, str]:
    profile = state.profile or Profile()
    today = clients.snapshot.as_of.astimezone(clients.zone).date()
    return {
        "stage": stage_of(state, today, StageThresholds()).value,
        "size": profile.size.value,
        "industry": profile.industry or _UNKNOWN,
        "region": profile.region or _UNKNOWN,
    }


def _segments(traits: Sequence[Mapping[str, str]], lists: Sequence[_Lists]) -> Iterator[SegmentChange]:
    for segment in SEGMENTS:
        parts: dict[str, list[_Lists]] = {}
        for each, trait in zip(lists, traits, strict=True):
            parts.setdefault(trait[segment], []).append(each)
        for value in sorted(parts):
            part = parts[value]
            yield SegmentChange(
                segment,
                value,
                n_clients=len(part),
                n_changed=sum(each.before != each.after for each in part),
                value_before_minor=round(sum(each.value_before_minor for each in part)),
                value_after_minor=round(sum(each.value_after_minor for each in part)),
            )


def _offers(lists: Sequence[_Lists]) -> tuple[OfferChange, ...]:
    before = Counter(offer_id for each in lists for offer_id, _ in each.before)
    after = Counter(offer_id for each in lists for offer_id, _ in each.after)
    found = [
        OfferChange(name, before[name], after[name])
        for name in before.keys() | after.keys()
        if before[name] != after[name]
    ]
    return tuple(sorted(found, key=lambda each: (each.n_before - each.n_after, each.offer_id)))


def _frame(
    clients: Clients, traits: Sequence[Mapping[str, str]], lists: Sequence[_Lists], changed: Sequence[int]
) -> pl.DataFrame:
    schema: dict[str, pl.DataType] = {
        "client_id": pl.String(),
        **{segment: pl.String() for segment in SEGMENTS},
        "before": pl.List(pl.String()),
        "after": pl.List(pl.String()),
        "value_before_minor": pl.Float64(),
        "value_after_minor": pl.Float64(),
    }
    rows = [
        (
            clients.snapshot.states[index].client_id,
            *traits[index].values(),
            [_name(shown) for shown in lists[index].before],
            [_name(shown) for shown in lists[index].after],
            lists[index].value_before_minor,
            lists[index].value_after_minor,
        )
        for index in changed
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _name(shown: Shown) -> str:
    """An offer as it is listed: with its change, unless it is new."""
    offer_id, change = shown
    return offer_id if change is Change.NEW else f"{offer_id}:{change}"
