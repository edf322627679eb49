"""A world's parameters: who the clients are, how they live and what they want."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from recsys.config import RunConfig, read_toml
from recsys.domain import LegalForm, Stage
from recsys.errors import ConfigError
from recsys.simulation.catalogue import Catalogue
from recsys.simulation.demand import Demand
from recsys.simulation.face import Face
from recsys.simulation.sections import (
    Aftersales,
    Appetite,
    Calls,
    Fact,
    Factor,
    Feed,
    Form,
    Industry,
    Life,
    Logging,
    Misconduct,
    Population,
    Portal,
    Repricing,
)


class World(RunConfig):
    """Everything about a simulated world but its catalogue.

    Attributes:
        name: Short name.
        title: One line for people.
        currency: ISO code of the catalogue's amounts.
        time_zone: Days and months are those of this zone.
        starts_on: First day of the first simulated month.
        n_months: Number of simulated months.
        n_clients: Number of clients.
        seed: Root seed of every draw.
        device_category: Category whose services connect devices.
        loyalty_offer: Offer whose holders collect loyalty points; without it nobody does.
        forms: Legal forms.
        industries: OKVED sections.
        regions: Relative frequency of regions; codes of the catalogue.
        population: Shares of clients.
        life: A client's course.
        portal: How the portal is used.
        appetite: How wants become connections.
        moments: Factor of a want by lifecycle stage; a stage left out counts as 1.
        demand: Who wants what, by offer id.
        aftersales: Lists that offer to change what a client has.
        calls: Managers who phone.
        facts: Facts from outside, by name.
        prices: Changes of prices.
        misconduct: Partners that misbehave.
        feed: How well the operator's systems report.
        logging: The logging policies one after another; the first begins in month 0.
        face: What the world's card must show.
    """

    name: str
    title: str
    currency: str = Field(min_length=3, max_length=3)
    time_zone: str
    starts_on: date
    n_months: int = Field(default=18, ge=1, le=120)
    n_clients: int = Field(default=5000, ge=1)
    seed: int = Field(default=1, ge=0)
    device_category: str
    loyalty_offer: str = "loyalty"
    forms: dict[LegalForm, Form]
    industries: dict[Annotated[str, Field(pattern="^[A-S]$")], Industry]
    regions: dict[str, Factor]
    population: Population
    life: Life
    portal: Portal
    appetite: Appetite
    moments: dict[str, dict[Stage, Factor]]
    demand: dict[str, Demand]
    aftersales: Aftersales = Aftersales()
    calls: Calls = Calls()
    facts: dict[str, Fact] = Field(default_factory=dict)
    prices: tuple[Repricing, ...] = ()
    misconduct: tuple[Misconduct, ...] = ()
    feed: Feed = Feed()
    logging: tuple[Logging, ...] = Field(default=(Logging(),), min_length=1)
    face: Face = Face()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a world's file.

        A file with ``base = "typical.toml"`` says only what is different: a value replaces the base's, and
        inside a section each key does. Bases of bases are refused, so that two files tell everything.

        Args:
            path: A TOML file; the path of its base starts at its folder.

        Raises:
            ConfigError: A file is missing, is no TOML, or names or types in it are wrong; the text says
                which file and where.
        """
        values = read_toml(path)
        if "base" not in values:
            return cls.parse(values, str(path))
        base = values.pop("base")
        if not isinstance(base, str):
            raise ConfigError(f"{path}: base: must be the name of a world's file (got {base!r})")
        base_path = path.parent / base
        base_values = read_toml(base_path)
        if "base" in base_values:
            raise ConfigError(f"{path}: base: {base_path} has a base itself; name a world that is complete")
        cls.parse(base_values, f"{base_path}, the base of {path}")
        return cls.parse(_override(base_values, values), str(path))


def _override(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for name, value in changes.items():
        section = merged.get(name)
        merged[name] = (
            {**section, **value} if isinstance(section, dict) and isinstance(value, dict) else value
        )
    return merged


def check_world(world: World, catalogue: Catalogue, place: str) -> None:
    """Hold a world against a catalogue; `place` names the world's file in errors.

    Raises:
        ConfigError: They do not fit; the text says where and what to do.
    """
    for names, message in (
        *_reference_checks(world, catalogue),
        *_number_checks(world),
        *_share_checks(world),
    ):
        if names:
            raise ConfigError(f"{place}: {message} {', '.join(sorted(names))}")


_Check = tuple[set[str], str]


def _reference_checks(world: World, catalogue: Catalogue) -> Iterator[_Check]:
    """What refers to something that is not there."""
    offer_ids = {offer.id for offer in catalogue.offers}
    wanted = {other for demand in world.demand.values() for other in demand.after} | set(world.demand)
    of_facts = {offer for fact in world.facts.values() for offer in fact.offers}
    priced = {change.offer for change in world.prices}
    for section, names in (("demand", wanted), ("facts", of_facts), ("prices", priced)):
        yield (
            names - offer_ids,
            f"{section} names offers that are not in the catalogue; correct or remove them:",
        )
    yield offer_ids - set(world.demand), "demand lacks offers of the catalogue; add them:"
    regions = set(world.regions) | {change.region for change in world.prices if change.region}
    yield regions - set(catalogue.regions), "regions are not in the catalogue; declare them there:"
    moments = {demand.moment for demand in world.demand.values()}
    yield moments - set(world.moments), "demand names moments that are not under moments; add them:"
    suppliers = {offer.supplier for offer in catalogue.offers}
    yield (
        {bad.supplier for bad in world.misconduct} - suppliers,
        "misconduct names suppliers that no offer of the catalogue has; correct or remove them:",
    )
    yield (
        {world.device_category} - {offer.category for offer in catalogue.offers},
        "device_category is the category of no offer; correct",
    )
    # A catalogue without a loyalty programme is legal as long as the world does not name one.
    named = {world.loyalty_offer} if "loyalty_offer" in world.model_fields_set else set()
    yield named - offer_ids, "loyalty_offer is not in the catalogue; correct or remove"


def _number_checks(world: World) -> Iterator[_Check]:
    """What cannot be lived."""
    portal, appetite = world.portal, world.appetite
    calls = world.calls.limit if world.calls.rate else 0.0
    worst_month = appetite.organic_limit + calls + portal.k * appetite.response_limit
    yield (
        {name for name, demand in world.demand.items() if demand.staff[0] > demand.staff[1]},
        "demand.staff must be written as [least, most]; turn it round for",
    )
    yield (
        {name for name, demand in world.demand.items() if (demand.until_month or 1_000) <= demand.from_month},
        "demand.until_month must be later than from_month; correct",
    )
    lengths = {"portal.seen": len(portal.seen), "portal.trust": len(portal.trust) or portal.k}
    yield (
        {name for name, length in lengths.items() if length != portal.k},
        f"one probability for each of the {portal.k} slots is needed; correct",
    )
    yield (
        {f"{worst_month:g}"} if worst_month > 1 else set(),
        "appetite.organic_limit + calls.limit + k · appetite.response_limit must be at most 1; lower it from",
    )
    yield (
        {"starts_on"} if world.starts_on.day != 1 else set(),
        "a world starts on the first day of a month; correct",
    )
    months = [policy.from_month for policy in world.logging]
    yield (
        {"logging"} if months[0] != 0 or sorted(set(months)) != months else set(),
        "the first policy begins in month 0 and each later one after it; correct",
    )


def _share_checks(world: World) -> Iterator[_Check]:
    """Shares of which there is nothing to draw from, or too much."""
    drawn = {
        "forms": [form.share for form in world.forms.values()],
        "industries": [industry.share for industry in world.industries.values()],
        "regions": list(world.regions.values()),
    }
    yield (
        {name for name, shares in drawn.items() if sum(shares) == 0},
        "one share at least must be above 0; correct",
    )
    found = {code for code, industry in world.industries.items() if industry.share > 0}
    yield (
        {
            name
            for name, form in world.forms.items()
            if form.share > 0 and not found & set(form.industries or found)
        },
        "forms.industries must name an industry with a share above 0; correct",
    )
    together = world.population.new + world.population.prospects
    yield (
        {f"{together:g}"} if together > 1 else set(),
        "population.new + population.prospects must be at most 1; lower it from",
    )
    policies = [policy.policy for policy in world.logging]
    yield (
        {policy for policy in policies if policies.count(policy) > 1},
        "every logging policy needs a name of its own; rename",
    )
