"""How fast is the engagement policy, for one client and for a million?

A made-up operator of 500 offers with every relation a catalogue knows, and 300 rules over 120 distinct
conditions; every third condition has two or three comparisons. Two or three rules share each condition, but
not always what they do about the unknown. A rule is about a category, a supplier, one or two need groups or
ten offers, and refuses the lesser part of the clients. A client has 12 months of figures, 0–8 connections and
0–29 entries of events in 90 days; half of all clients have something to renew, upgrade, expand or retain.

`single_us` is the whole engagement policy for one client, facts read from its state included; `product_us` is
one product of a mask of 300 rules with a 300×500 float32 matrix in the same run; `single_ratio` is their
ratio. The batch runs the same code over a million clients in chunks (a pool of varied states, over and over)
on one core; `batch_cpu_us` is the processor's time per client, which other work on the machine disturbs less.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.syntax import Condition
from recsys.decision.engagement import Engagement
from recsys.decision.policy.contact import ContactSpec
from recsys.decision.policy.engagement import ChangesSpec, EngagementSpec, RuleSpec
from recsys.decision.rulebook import NO_RULE, RuleBook
from recsys.domain import (
    ClientId,
    ClientState,
    EventType,
    Holding,
    LegalForm,
    Offer,
    OfferId,
    OfferKind,
    Price,
    PricePeriod,
    Profile,
    Size,
    Stage,
)
from recsys.history import Activity, History, MonthFigures, hour_of

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
MOMENT = Moment(NOW, placement="home", channel="portal")
N_OFFERS, N_RULES, N_CONDITIONS = 500, 300, 120
N_ROUNDS, N_SINGLE = 30, 200
N_MONTHS = 12
REGIONS = [f"R{number:02}" for number in range(16)]
CATEGORIES = [f"category-{number}" for number in range(12)]
NEED_GROUPS = [f"need-{number}" for number in range(60)]
SUPPLIERS = [f"supplier-{number}" for number in range(40)]
INDUSTRIES = list("ABCDEFGHIJKLMNOPQRS")
TAGS = ["has_website", "has_bank_account", "uses_crm", "exports"]


def make_catalogue(rng: random.Random) -> CompiledCatalogue:
    """Offers with prices, regions, legal forms, prerequisites, slots, exclusions and next editions."""
    names = [OfferId(f"offer-{number:03}") for number in range(N_OFFERS)]
    offers: list[Offer] = []
    for number, name in enumerate(names):
        group = rng.randrange(len(NEED_GROUPS))
        is_next = number + 1 < N_OFFERS and rng.random() < 0.1
        offers.append(
            Offer(
                name,
                kind=rng.choice([OfferKind.OWN, OfferKind.PARTNER]),
                supplier_id=rng.choice(SUPPLIERS),
                category=CATEGORIES[group % len(CATEGORIES)],
                need_group=NEED_GROUPS[group],
                prices=(Price(rng.randrange(100, 9_000) * 100, PricePeriod.MONTH),),
                regions=tuple(rng.sample(REGIONS, 6)) if rng.random() < 0.15 else (),
                legal_forms=tuple(rng.sample(list(LegalForm), 3)) if rng.random() < 0.1 else (),
                requires=tuple(tuple(rng.sample(names, 3)) for _ in range(rng.choice([0] * 8 + [1, 2]))),
                excludes=tuple(rng.sample(names, 1)) if rng.random() < 0.05 else (),
                exclusive_slot=f"slot-{rng.randrange(20)}" if rng.random() < 0.2 else None,
                upgrades_to=names[number + 1] if is_next else None,
            )
        )
    return CompiledCatalogue(offers)


def make_comparison(rng: random.Random) -> dict[str, Any]:
    """One comparison on something that marketers ask about."""
    scope = {"need_groups": rng.sample(NEED_GROUPS, 2)}
    event = {"type": rng.choice(["impression", "click", "dismissal"]), "offers": scope}
    makers: list[Callable[[], dict[str, Any]]] = [
        lambda: {"field": "size", "in": rng.sample(["micro", "small", "medium", "large"], 2)},
        lambda: {"field": "stage", "not_in": rng.sample([stage.value for stage in Stage], 2)},
        lambda: {"field": "industry", "in": rng.sample(INDUSTRIES, rng.randint(2, 9))},
        lambda: {"field": "region", "in": rng.sample(REGIONS, rng.randint(3, 9))},
        lambda: {"field": "legal_form", "is_not": rng.choice([form.value for form in LegalForm][1:])},
        lambda: {"field": "n_employees", "at_least": rng.randint(1, 60)},
        lambda: {"field": "n_employees", "between": sorted(rng.sample(range(200), 2))},
        lambda: {"field": "revenue_minor", "at_most": rng.randint(1, 300) * 10**9},
        lambda: {"field": "tenure_days", "at_least": rng.randint(30, 900)},
        lambda: {"field": "is_vip", "is": rng.choice([True, False])},
        lambda: {"field": "loyalty_points", "more_than": rng.randint(0, 900)},
        lambda: {"field": f"tag.{rng.choice(TAGS)}", "is": rng.choice(["yes", "no"])},
        lambda: {"field": "spend_minor", "at_least": rng.randint(1, 90) * 10_000},
        lambda: {"field": "mean_spend_minor_3m", "less_than": rng.randint(10, 90) * 10_000},
        lambda: {"field": "n_sims", "at_least": rng.randint(1, 60)},
        lambda: {"field": "overdue_days", "at_most": rng.randint(0, 40)},
        lambda: {"field": "m2m_share", "more_than": rng.randint(1, 60) / 100},
        lambda: {"holds": scope},
        lambda: {"n_held": {"categories": rng.sample(CATEGORIES, 1)}, "at_most": rng.randint(0, 3)},
        lambda: {"days_since_connected": scope, "at_least": rng.randint(10, 200)},
        lambda: {"n_events": {**event, "within_days": rng.choice([7, 30])}, "at_most": rng.randint(0, 4)},
        lambda: {"days_since_event": event, "at_least": rng.randint(3, 60)},
        lambda: {"context": "channel", "is": rng.choice(["portal", "email", "call"])},
        lambda: {"context": "month", "in": rng.sample(range(1, 13), 5)},
    ]
    weights = [1.0] * len(makers)
    weights[-7:] = [0.7] * 3 + [0.4] * 2 + [0.7] * 2  # holdings, events, the moment
    return rng.choices(makers, weights)[0]()


def make_conditions(rng: random.Random) -> list[Condition]:
    """Distinct conditions; every third is made of two or three."""
    found: dict[str, Condition] = {}
    while len(found) < N_CONDITIONS:
        written = make_comparison(rng)
        if len(found) % 3 == 0:
            parts = [written, *[make_comparison(rng) for _ in range(rng.randint(1, 2))]]
            written = {rng.choice(["all", "any"]): [*parts[:-1], {"not": parts[-1]}]}
        condition = Condition.model_validate(written)
        found[condition.model_dump_json()] = condition
    return list(found.values())


def make_spec(rng: random.Random, catalogue: CompiledCatalogue, clients: list[ClientState]) -> EngagementSpec:
    """Rules over a part of the catalogue each, each refusing the lesser part of the clients."""
    conditions = make_conditions(rng)
    truth = ConditionSet(conditions, {}, catalogue).evaluate(clients, MOMENT)
    is_common = truth.is_true.mean(axis=1) > truth.is_false.mean(axis=1)
    rules: list[RuleSpec] = []
    for number in range(N_RULES):
        scope = rng.choice(
            [
                {"categories": rng.sample(CATEGORIES, 1)},
                {"suppliers": rng.sample(SUPPLIERS, 1)},
                {"need_groups": rng.sample(NEED_GROUPS, 2)},
                {"categories": rng.sample(CATEGORIES, 1), "kinds": ["partner"]},
                {"offers": rng.sample(catalogue.offer_ids, 10)},
                {} if rng.random() < 0.02 else {"need_groups": rng.sample(NEED_GROUPS, 1)},
            ]
        )
        written: dict[str, Any] = {
            "id": f"rule-{number}",
            "stage": rng.choice(["availability", "eligibility", "applicability", "suitability"]),
            "offers": scope,
            "unknown": rng.choice(["allow", "allow", "refuse"]),
            "changes": ["new"] if rng.random() < 0.1 else (),
        }
        used = number % N_CONDITIONS
        written["only_if" if is_common[used] else "never_if"] = conditions[used]
        rules.append(RuleSpec(**written))
    at_risk = {"when": {"field": "stage", "is": "at_risk"}, "offers": {"kinds": ["own"]}}
    growing = {"when": {"field": "n_sims", "at_least": 20}, "offers": {"categories": CATEGORIES[:3]}}
    changes = ChangesSpec.model_validate({"renew": {}, "retain": at_risk, "expand": growing})
    return EngagementSpec(rules=tuple(rules), changes=changes)


def make_state(number: int, rng: random.Random, names: tuple[str, ...]) -> ClientState:
    """A client with a year of months, a few holdings and some events; now and then a fact is unknown."""
    hours = sorted(hour_of(NOW) - rng.randrange(90 * 24) for _ in range(rng.randrange(30)))
    types = [EventType.IMPRESSION] * 12 + [EventType.CLICK, EventType.DISMISSAL]
    activity = Activity(
        tuple(hours),
        tuple(rng.choice(names) for _ in hours),
        tuple(rng.choice(types).value for _ in hours),
        (1,) * len(hours),
    )
    held = [
        Holding(
            f"h-{number}-{at}",
            OfferId(rng.choice(names)),
            NOW - timedelta(hours=rng.randrange(20_000)),
            term_ends_on=NOW.date() + timedelta(days=rng.randrange(-10, 700)) if rng.random() < 0.3 else None,
        )
        for at in range(min(rng.randrange(9), rng.randrange(12)))
    ]
    profile = Profile(
        legal_form=rng.choice(list(LegalForm)),
        size=rng.choice(list(Size)),
        industry=rng.choice([*INDUSTRIES, None]),
        region=rng.choice([*REGIONS, None]),
        stage=rng.choice(list(Stage)),
        n_employees=rng.choice([None, *[rng.randrange(200)] * 4]),
        revenue_minor=rng.choice([None, rng.randrange(3 * 10**11)]),
        client_since_on=NOW.date() - timedelta(days=rng.randrange(2_000)),
        is_vip=rng.random() < 0.1,
        loyalty_points=rng.randrange(1_000),
        tags=tuple(f"{tag}={rng.choice(['yes', 'no'])}" for tag in TAGS if rng.random() < 0.4),
    )
    return ClientState(
        ClientId(f"c-{number}"),
        1,
        profile=profile,
        holdings=tuple(held),
        history=History(tuple(make_months(rng)), activity),
    )


def make_months(rng: random.Random) -> Iterator[MonthFigures]:
    """Figures of the latest months."""
    n_sims = rng.randrange(60)
    for number in range(1, N_MONTHS + 1):
        yield MonthFigures(
            date(2025, 9, 1) + timedelta(days=30 * number),
            n_sims_employees=n_sims,
            n_sims_field=rng.randrange(20),
            n_sims_devices=rng.randrange(20),
            spend_minor=rng.choice([None, *[rng.randrange(10**6)] * 9]),
            overage_share=rng.random(),
            roaming_share=rng.random(),
            m2m_share=rng.random(),
            overdue_days=rng.choice([0, 0, 0, 12, 40]),
        )


def measure_single(engagement: Engagement, pool: list[ClientState]) -> dict[str, float]:
    """Each client's best of some rounds, on average; in turns, so that both meet the same caches."""
    generator = np.random.default_rng(1)
    matrix = generator.random((N_RULES, N_OFFERS), dtype=np.float32)
    mask = (generator.random(N_RULES) < 0.5).astype(np.float32)
    states = [[state] for state in pool[:N_SINGLE]]
    products = [float("inf")] * N_SINGLE
    singles = [float("inf")] * N_SINGLE
    for _ in range(N_ROUNDS):
        for number, one in enumerate(states):
            started = time.perf_counter()
            engagement.engage(one, MOMENT)
            between = time.perf_counter()
            mask @ matrix
            products[number] = min(products[number], time.perf_counter() - between)
            singles[number] = min(singles[number], between - started)
    best_product, best_single = sum(products) / N_SINGLE, sum(singles) / N_SINGLE
    return {
        "single_us": round(best_single * 1e6, 1),
        "product_us": round(best_product * 1e6, 1),
        "single_ratio": round(best_single / best_product, 2),
    }


def measure_batch(
    engagement: Engagement, pool: list[ClientState], options: argparse.Namespace
) -> dict[str, float]:
    """All clients in chunks."""
    n_candidates = n_clients = 0
    started, started_cpu = time.perf_counter(), time.process_time()
    while n_clients < options.clients:
        for start in range(0, len(pool), options.chunk):
            chunk = pool[start : start + min(options.chunk, options.clients - n_clients)]
            if chunk:
                n_candidates += int(np.count_nonzero(engagement.engage(chunk, MOMENT).numbers == NO_RULE))
                n_clients += len(chunk)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    return {
        "batch_clients_per_s": round(n_clients / seconds),
        "batch_seconds": round(seconds, 2),
        "batch_cpu_seconds": round(cpu_seconds, 2),
        "batch_cpu_us": round(cpu_seconds / n_clients * 1e6, 1),
        "n_clients": n_clients,
        "candidates_per_client": round(n_candidates / n_clients, 1),
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--pool", type=int, default=20_000, help="different states")
    parser.add_argument("--chunk", type=int, default=1_000, help="clients at once")
    options = parser.parse_args()
    rng = random.Random(1)  # noqa: S311 -- made-up data
    catalogue = make_catalogue(rng)
    pool = [make_state(number, rng, catalogue.offer_ids) for number in range(options.pool)]
    spec = make_spec(rng, catalogue, pool[:1_000])
    engagement = Engagement(catalogue, spec, RuleBook(spec, ContactSpec()))
    pool_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with threadpool_limits(1):
        result: dict[str, float] = {
            "n_offers": len(catalogue),
            "n_rules": len(spec.rules),
            "n_conditions": len({rule.condition.model_dump_json() for rule in spec.rules}),
            **measure_single(engagement, pool),
            **measure_batch(engagement, pool, options),
        }
    result["pool_mb"] = round(pool_mb, 1)
    result["rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
