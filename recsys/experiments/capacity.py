"""What arms and experiments take from each other: capacities that all of them draw on.

An experiment compares its arms as if what one client is given took nothing from another. Where a partner
takes 50 leads a day, or one manager has so many hours, this is wrong: what one arm takes the other cannot.
The difference between them is then larger than what the change would bring to everybody; where the capacity
is used up there can be a difference although the change would bring nothing at all.

Source:
    P. R. Rosenbaum, Interference between units in randomized experiments (2007), JASA 102(477), 191–200.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from recsys.decision.policy.engagement import VolumeCap
from recsys.domain import Language, Offer
from recsys.experiments.assignment import Assigner
from recsys.experiments.experiment import Experiment
from recsys.experiments.life import Standing, draft

MANAGER_TAG = "manager"
"""A client's tag ``manager=…`` names who serves it."""

_RU_EVENTS = {"application": "заявок", "activation": "подключений"}
_RU_PERIODS = {"day": "день", "week": "неделю", "month": "месяц"}


class CapacityKind(StrEnum):
    """What is scarce."""

    VOLUME = "volume"  # a volume cap of the policy
    PEOPLE = "people"  # the hours of somebody who serves some of the units


@dataclass(frozen=True, slots=True)
class Capacity:
    """Something of which there is only so much.

    Attributes:
        name: Id of the cap, or who it is.
        kind: What is scarce.
        ru: What it is, in Russian.
        en: The same in English.
        offers: The offers that draw on it; None = any.
        units: The units that draw on it; None = all.
        full_share: Share of the past periods in which it was used up, 0–1; None = not known.
    """

    name: str
    kind: CapacityKind
    ru: str
    en: str
    offers: frozenset[str] | None = None
    units: tuple[str, ...] | None = None
    full_share: float | None = None


@dataclass(frozen=True, slots=True)
class SharedCapacity:
    """A capacity on which arms, or experiments, draw together.

    Attributes:
        capacity: The capacity.
        experiment_id: The experiment that is about to start.
        arms: Its arms that draw on it together; fewer than two = they do not.
        others: Ids of the running experiments that draw on it too.
    """

    capacity: Capacity
    experiment_id: str
    arms: tuple[str, ...]
    others: tuple[str, ...]

    def told(self, language: Language) -> str:
        """What is shared, why the estimate would be wrong, and the cure."""
        say = _say_in_russian if language is Language.RU else _say_in_english
        return say(self)


def capacities_of_caps(
    caps: Iterable[VolumeCap], offers: Sequence[Offer], full_shares: Mapping[str, float] | None = None
) -> tuple[Capacity, ...]:
    """The volume caps of policies as capacities.

    Args:
        caps: Of the policy in force and of every arm's; a cap that stands in several counts once, by its id,
            for all policies count the same events.
        offers: The catalogue.
        full_shares: Id of a cap → share of the past periods in which it was used up.

    Returns:
        By id; caps of offers that the catalogue does not have are left out.
    """
    found: dict[str, Capacity] = {}
    for cap in caps:
        meant = frozenset(str(offer.offer_id) for offer in offers if cap.offers.has(offer))
        known = found.get(cap.id)
        if not meant or (known is not None and known.offers == meant):
            continue
        ru = f"не больше {cap.at_most} {_RU_EVENTS[cap.of]} в {_RU_PERIODS[cap.per]}"
        en = f"at most {cap.at_most} {cap.of}s a {cap.per}"
        found[cap.id] = Capacity(
            name=cap.id,
            kind=CapacityKind.VOLUME,
            ru=cap.title.ru if cap.title else ru,
            en=cap.title.en if cap.title else en,
            offers=meant if known is None or known.offers is None else meant | known.offers,
            full_share=(full_shares or {}).get(cap.id),
        )
    return tuple(found[name] for name in sorted(found))


def capacities_of_people(served_by: Iterable[tuple[str, str]]) -> tuple[Capacity, ...]:
    """The hours of people who serve several units.

    Args:
        served_by: Unit and who serves it, such as the value of the tag `MANAGER_TAG` of each of its clients.

    Example:
        >>> [each.name for each in capacities_of_people([("c1", "anna"), ("c2", "anna"), ("c3", "boris")])]
        ['anna']
    """
    units: dict[str, set[str]] = {}
    for unit_id, person in served_by:
        units.setdefault(person, set()).add(unit_id)
    return tuple(
        Capacity(
            person,
            CapacityKind.PEOPLE,
            ru=f"время: {person}",
            en=f"the hours of {person}",
            units=tuple(sorted(served)),
        )
        for person, served in sorted(units.items())
        if len(served) > 1
    )


def manager_of(tags: Iterable[str]) -> str | None:
    """Who serves a client, by its tags; None = nobody is named.

    Example:
        >>> manager_of(["agency=NASA", "manager=anna"])
        'anna'
    """
    prefix = f"{MANAGER_TAG}="
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), None)


def shared_capacities(
    experiment: Experiment, running: Iterable[Standing], capacities: Iterable[Capacity]
) -> tuple[SharedCapacity, ...]:
    """The capacities on which the arms of an experiment, or it and others, draw together.

    Args:
        experiment: The one that is about to start.
        running: The others that run, of its own layer too: who is in another experiment still draws on it.
        capacities: What there is only so much of; one that was never used up in the past is passed over.

    Returns:
        In the order of the capacities.
    """
    others = [other for other in running if other.experiment_id != experiment.experiment_id]
    found = []
    for capacity in capacities:
        if capacity.full_share == 0:
            continue
        arms = _drawing_arms(draft(experiment), capacity)
        drawing = [other.experiment_id for other in others if _drawing_arms(other, capacity)]
        if len(arms) > 1 or (arms and drawing):
            found.append(SharedCapacity(capacity, experiment.experiment_id, arms, tuple(drawing)))
    return tuple(found)


def offers_changed(experiment: Experiment) -> frozenset[str] | None:
    """The offers that an experiment shows otherwise in one of its arms; None = any may be.

    Only texts change single offers; policies and models may change any list.
    """
    decides = {(arm.policy_version, arm.bundle_version) for arm in experiment.arms}
    if len(decides) > 1:
        return None
    return frozenset(str(offer_id) for arm in experiment.arms for offer_id in arm.texts)


def _drawing_arms(standing: Standing, capacity: Capacity) -> tuple[str, ...]:
    """Names of the arms that draw on a capacity."""
    experiment = standing.experiment
    changed = offers_changed(experiment)
    if changed is not None and not changed & (changed if capacity.offers is None else capacity.offers):
        return ()
    if capacity.units is None:
        return tuple(arm.name for arm in experiment.arms)
    drawn = set(Assigner(standing).arms_of(capacity.units).tolist())
    return tuple(arm.name for number, arm in enumerate(experiment.arms) if number in drawn)


def _say_in_english(shared: SharedCapacity) -> str:
    capacity = shared.capacity
    is_volume = capacity.kind is CapacityKind.VOLUME
    what = f"“{capacity.en}” ({capacity.name})" if is_volume else capacity.en
    used = (
        "" if capacity.full_share is None else f" (used up in {capacity.full_share:.0%} of the past periods)"
    )
    said = []
    if len(shared.arms) > 1:
        said.append(
            f"The arms {', '.join(shared.arms)} of {shared.experiment_id!r} share {what}{used}: what one arm"
            " takes the others cannot, and the difference would look larger than what everybody would gain."
        )
    if shared.others:
        said.append(
            f"Running experiments ({', '.join(shared.others)}) draw on {what} too{used}: a change in one"
            " would look like an effect in the other."
        )
    cure = "raise the cap while it runs, or keep these offers out of the primary metric"
    if not is_volume:
        cure = "let one person's units be one unit, or let several people serve each arm"
    return f"{' '.join(said)} To be able to trust it: {cure}."


def _say_in_russian(shared: SharedCapacity) -> str:
    capacity = shared.capacity
    is_volume = capacity.kind is CapacityKind.VOLUME
    what = f"«{capacity.ru}» ({capacity.name})" if is_volume else capacity.ru
    used = "" if capacity.full_share is None else f" (исчерпано в {capacity.full_share:.0%} прошлых периодов)"
    said = []
    if len(shared.arms) > 1:
        said.append(
            f"Варианты {', '.join(shared.arms)} эксперимента «{shared.experiment_id}» делят одно и то же:"
            f" {what}{used}. Что взял один вариант, не достанется другим, и разница покажется больше, чем"
            " получили бы все."
        )
    if shared.others:
        said.append(
            f"Из того же источника берут идущие эксперименты ({', '.join(shared.others)}): {what}{used}."
            " Изменение в одном выглядело бы как эффект другого."
        )
    cure = "на время эксперимента поднимите предел или исключите эти предложения из главной метрики"
    if not is_volume:
        cure = "назначайте вариант сразу всем клиентам одного человека или дайте каждому варианту нескольких"
    return f"{' '.join(said)} Чтобы результату можно было верить, {cure}."
