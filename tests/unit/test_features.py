"""Feature rows of clients small enough to count by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from recsys.data.state import apply_events, put_holdings, put_months
from recsys.data.state_json import state_from_json, state_to_json
from recsys.domain import (
    ClientId,
    ClientState,
    DismissalReason,
    Event,
    EventId,
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
from recsys.features.builder import Asked, FeatureBuilder
from recsys.features.population import MIN_SIMILAR, Population, fit_population
from recsys.history import MonthFigures

NOW = datetime(2025, 7, 10, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = PricePeriod.MONTH
PBX, PRO, CRM, BANK = (OfferId(each) for each in ("pbx", "pbx-pro", "crm", "bank"))
OFFERS = (
    Offer(BANK, OfferKind.PARTNER, need_group="bank", prices=(Price(0, MONTH),), excludes=(CRM,)),
    Offer(
        CRM,
        need_group="crm",
        prices=(Price(300, MONTH), Price(200, MONTH, region="77")),
        requires=((PBX, PRO),),
    ),
    Offer(PBX, need_group="pbx", exclusive_slot="pbx", upgrades_to=PRO, margin_minor=50),
    Offer(PRO, need_group="pbx", exclusive_slot="pbx", valid_from=NOW - 2 * DAY),
)
PROFILE = Profile(
    legal_form=LegalForm.LLC,
    size=Size.SMALL,
    industry="C",
    region="77",
    n_employees=40,
    client_since_on=date(2025, 7, 1),
)


def event(number: int, event_type: EventType, offer_id: OfferId | None, days_ago: float) -> Event:
    return Event(
        EventId(f"e{number}"),
        event_type,
        ClientId("c"),
        NOW - timedelta(days=days_ago),
        offer_id,
        reason=DismissalReason.NOT_NOW if event_type is EventType.DISMISSAL else None,
    )


EVENTS = [
    event(1, EventType.IMPRESSION, CRM, 3),
    event(2, EventType.IMPRESSION, CRM, 20),
    event(3, EventType.IMPRESSION, BANK, 60),
    event(4, EventType.CLICK, CRM, 20),
    event(5, EventType.IMPRESSION, CRM, 91),
    event(6, EventType.DISMISSAL, BANK, 60),
    event(7, EventType.COMPLAINT, None, 29),
    event(8, EventType.IMPRESSION, OfferId("gone"), 1),
]


@pytest.fixture
def state() -> ClientState:
    state = ClientState(ClientId("c"), 3, PROFILE, past_offer_ids=(BANK,))
    holding = Holding("h", PBX, NOW - 4 * DAY, 2, term_ends_on=date(2025, 7, 20))
    state = put_holdings(state, [holding, Holding("x", OfferId("gone"), NOW - 10 * DAY)], NOW)
    months = [
        MonthFigures(date(2025, 3, 1), n_sims_field=10, spend_minor=1_000),
        MonthFigures(
            date(2025, 6, 1),
            n_sims_field=8,
            n_sims_devices=4,
            spend_minor=500,
            voice_minutes=60,
            m2m_share=0.25,
        ),
    ]
    return apply_events(put_months(state, months), EVENTS, NOW)


def client_values(state: ClientState, now: datetime = NOW) -> dict[str, float]:
    builder = FeatureBuilder(OFFERS)
    names = [feature.name for feature in builder.spec.client]
    assert len(set(names)) == len(names)
    return dict(zip(names, builder.client_row(state, now).tolist(), strict=True))


def pair_values(
    state: ClientState, offer_id: OfferId, population: Population | None = None
) -> dict[str, float]:
    builder = FeatureBuilder(OFFERS, population)
    names = [feature.name for feature in builder.spec.pair]
    assert len(set(names)) == len(names)
    row = builder.rows(state, NOW).pairs[builder.offer_ids.index(offer_id)]
    return dict(zip(names, row.tolist(), strict=True))


def test_a_client_row_says_what_is_known(state: ClientState) -> None:
    values = client_values(state)
    expected = {
        "size_rank": 2,
        "industry": 2,
        "n_employees": 40,
        "tenure_days": 9,
        "stage_onboarding": 1,
        "stage_steady": 0,
        "n_months_known": 2,
        "days_since_month": 39,
        "n_sims": 12,
        "spend_minor": 500,
        "mean_spend_minor_3m": 750,
        "voice_minutes_per_sim": 5,
        "m2m_share": 0.25,
        "spend_change": -0.5,
        "n_holdings": 2,
        "n_past_offers": 1,
        "days_since_connection": 4,
        "n_impressions_7d": 2,
        "n_impressions_30d": 3,
        "n_impressions_90d": 4,
        "n_clicks_30d": 1,
        "n_dismissals_90d": 1,
        "has_open_complaint": 1,
        "days_since_complaint": 29,
        "n_holdings_in_pbx": 1,
        "n_holdings_in_bank": 0,
        "n_holdings_in_other": 1,
    }
    assert {name: values[name] for name in expected} == expected
    assert values["sims_change"] == pytest.approx(0.2)


def test_the_unknown_is_nan_and_never_zero() -> None:
    values = client_values(ClientState(ClientId("nobody")))
    unknown = {name for name, value in values.items() if math.isnan(value)}
    assert {"size_rank", "industry", "n_employees", "tenure_days", "spend_minor", "spend_change"} <= unknown
    assert {"days_since_connection", "days_since_activity", "days_since_complaint"} <= unknown
    assert (values["n_holdings"], values["n_clicks_7d"], values["stage_prospect"]) == (0, 0, 1)


def test_a_complaint_is_open_for_30_days(state: ClientState) -> None:
    later = client_values(state, NOW + DAY)
    assert (later["has_open_complaint"], later["days_since_complaint"]) == (0, 30)


def test_the_stage_that_the_operator_names_goes_first(state: ClientState) -> None:
    told = replace(state, profile=replace(PROFILE, stage=Stage.GROWTH))
    assert client_values(told)["stage_growth"] == 1
    assert client_values(told)["stage_onboarding"] == 0


def test_a_pair_row_says_how_they_stand(state: ClientState) -> None:
    crm, pro, pbx, bank = (pair_values(state, each) for each in (CRM, PRO, PBX, BANK))
    assert (crm["has_need_gap"], crm["are_prerequisites_met"], crm["is_excluded"]) == (1, 1, 0)
    assert (crm["price_minor"], crm["price_to_spend"]) == (200, 0.4)
    assert (crm["n_impressions_30d"], crm["n_impressions_90d"], crm["n_clicks_90d"]) == (2, 2, 1)
    assert crm["days_since_impression"] == 3
    assert (pro["is_upgrade"], pro["is_slot_taken"], pro["n_held_in_group"], pro["has_need_gap"]) == (
        1,
        1,
        1,
        0,
    )
    assert (pro["days_live"], pro["is_next_edition"]) == (2, 1)
    assert (pbx["is_held"], pbx["days_to_term_end"], pbx["margin_minor"]) == (1, 10, 50)
    assert (bank["was_held"], bank["days_since_dismissal"], bank["is_partner"]) == (1, 60, 1)
    assert math.isnan(pbx["price_minor"])
    assert math.isnan(pro["days_since_impression"])


def test_without_its_prerequisite_an_offer_is_out_of_reach() -> None:
    crm = pair_values(ClientState(ClientId("new")), CRM)
    assert (crm["n_prerequisites_missing"], crm["are_prerequisites_met"]) == (1, 0)


def test_exclusions_hold_in_both_directions() -> None:
    holder = put_holdings(ClientState(ClientId("c")), [Holding("h", CRM, NOW - DAY)], NOW)
    assert pair_values(holder, BANK)["is_excluded"] == 1
    holder = put_holdings(ClientState(ClientId("c")), [Holding("h", BANK, NOW - DAY)], NOW)
    assert pair_values(holder, CRM)["is_excluded"] == 1


def test_similar_companies_are_at_least_ten() -> None:
    def clients(n: int, n_holders: int, **profile: object) -> list[ClientState]:
        known = replace(PROFILE, **profile)  # type: ignore[arg-type]
        held = (Holding("h", PBX, NOW - 40 * DAY),)
        return [
            ClientState(
                ClientId(f"{profile}-{number}"), profile=known, holdings=held if number < n_holders else ()
            )
            for number in range(n)
        ]

    trade = clients(MIN_SIMILAR, 5, industry="G")
    few = clients(MIN_SIMILAR - 1, 9, industry="C")
    large = clients(1, 1, size=Size.LARGE)
    population = fit_population([*trade, *few, *large], OFFERS, NOW - DAY)
    assert population.segments == ("small|", "small|G", "|")
    shares = {
        name: pair_values(ClientState(ClientId("c"), profile=profile), PBX, population)["neighbour_share"]
        for name, profile in {
            "enough": replace(PROFILE, industry="G"),
            "too few": PROFILE,
            "one": replace(PROFILE, size=Size.LARGE),
        }.items()
    }
    assert shares == {"enough": 5 / 10, "too few": 14 / 19, "one": 15 / 20}
    row = pair_values(ClientState(ClientId("c")), PBX, population)
    assert (row["holder_share"], row["adoption_share_30d"], row["adoption_share_90d"]) == (
        15 / 20,
        0,
        15 / 20,
    )
    assert row["population_age_days"] == 1


def test_an_offer_newer_than_the_population_is_unknown_to_it(state: ClientState) -> None:
    population = fit_population([state], OFFERS[:3], NOW)
    new = pair_values(state, PRO, population)
    assert math.isnan(new["holder_share"])
    assert math.isnan(new["neighbour_share"])
    assert pair_values(state, PBX, population)["holder_share"] == 1


def test_a_stored_state_gives_the_same_bits(state: ClientState) -> None:
    population = fit_population([state], OFFERS, NOW)
    builder = FeatureBuilder(OFFERS, population)
    stored = state_from_json(state.client_id, state.version, state_to_json(state))
    online, offline = builder.rows(stored, NOW), builder.rows(state, NOW)
    assert online.client.tobytes() == offline.client.tobytes()
    assert online.pairs.tobytes() == offline.pairs.tobytes()
    assert online.client.tobytes() == builder.client_row(state, NOW).tobytes()
    again = builder.rows(state, NOW)
    assert again.pairs.tobytes() == offline.pairs.tobytes(), "nothing is left behind by an earlier row"


def test_rows_of_a_moment_do_not_depend_on_what_was_asked_before(state: ClientState) -> None:
    builder = FeatureBuilder(OFFERS)
    stranger = ClientState(ClientId("stranger"))
    for asked, now in ((state, NOW), (stranger, NOW), (state, NOW + DAY), (state, NOW)):
        found, fresh = builder.rows(asked, now), FeatureBuilder(OFFERS).rows(asked, now)
        assert np.array_equal(found.client, fresh.client, equal_nan=True)
        assert np.array_equal(found.pairs, fresh.pairs, equal_nan=True)


def test_clients_together_have_the_numbers_of_each_alone(state: ClientState) -> None:
    builder = FeatureBuilder(OFFERS, fit_population([state] * MIN_SIMILAR, OFFERS, NOW - 3 * DAY))
    states = (state, ClientState(ClientId("new"), 1), replace(state, holdings=()), state)
    moments = (NOW, NOW, NOW - 2 * DAY, NOW + 40 * DAY)
    together = builder.blocks(states, moments)
    n_own = len(builder.of_offers)
    for number, (each, now) in enumerate(zip(states, moments, strict=True)):
        alone = builder.rows(each, now)
        assert together.client[number].tobytes() == alone.client.tobytes()
        assert together.pairs[number].T.tobytes() == alone.pairs[:, n_own:].tobytes()
    nobody = builder.blocks((), ())
    assert (nobody.client.shape, nobody.pairs.shape) == (
        (0, *together.client.shape[1:]),
        (0, *together.pairs.shape[1:]),
    )


def test_a_narrowed_builder_writes_the_same_columns(state: ClientState) -> None:
    crowd = [replace(state, client_id=ClientId(f"c{number}")) for number in range(MIN_SIMILAR)]
    whole = FeatureBuilder(OFFERS, fit_population(crowd, OFFERS, NOW - 3 * DAY))
    client, pair = ([each.name for each in family] for family in (whole.spec.client, whole.spec.pair))
    states = (state, replace(state, holdings=()), ClientState(ClientId("new"), 1))
    subsets = [Asked(frozenset(), frozenset({name})) for name in pair]
    subsets += [Asked(frozenset({name}), frozenset()) for name in client]
    rng = np.random.default_rng(3)
    for _ in range(40):
        subsets.append(
            Asked(
                *(frozenset(rng.choice(names, rng.integers(len(names)), False)) for names in (client, pair))
            )
        )
    for asked in subsets:
        narrow = whole.narrowed(asked)
        own, pairs = ([each.name for each in family] for family in (narrow.spec.client, narrow.spec.pair))
        assert asked.client <= set(own)
        assert asked.pair <= set(pairs)
        for each in states:
            found, expected = narrow.rows(each, NOW), whole.rows(each, NOW)
            assert found.client.tobytes() == expected.client[[client.index(name) for name in own]].tobytes()
            kept = expected.pairs[:, [pair.index(name) for name in pairs]]
            assert found.pairs.tobytes() == kept.tobytes(), asked


def test_features_that_nobody_asks_for_are_left_out() -> None:
    narrow = FeatureBuilder(OFFERS).narrowed(Asked(frozenset({"size_rank"}), frozenset({"is_held"})))
    assert [each.name for each in narrow.spec.pair] == ["is_held"]
    assert not {"n_sims", "n_impressions_7d", "n_holdings"} & {each.name for each in narrow.spec.client}


def test_values_lie_in_their_ranges(state: ClientState) -> None:
    builder = FeatureBuilder(OFFERS, fit_population([state], OFFERS, NOW - DAY))
    rows = builder.rows(state, NOW)
    for features, values in ((builder.spec.client, rows.client[None, :]), (builder.spec.pair, rows.pairs)):
        low = np.array([feature.low for feature in features])
        high = np.array([math.inf if feature.high is None else feature.high for feature in features])
        assert ((values >= low) | np.isnan(values)).all()
        assert ((values <= high) | np.isnan(values)).all()


def test_the_digest_tells_specs_apart(state: ClientState) -> None:
    same, other = FeatureBuilder(reversed_offers := OFFERS[::-1]), FeatureBuilder(OFFERS[:2])
    assert same.spec.digest == FeatureBuilder(OFFERS).spec.digest
    assert other.spec.digest != same.spec.digest
    frozen = FeatureBuilder(OFFERS[:2], fit_population([state], sorted_by_id(reversed_offers), NOW))
    assert frozen.spec.digest == same.spec.digest, "the need groups of the fit stay"


def sorted_by_id(offers: tuple[Offer, ...]) -> list[Offer]:
    return sorted(offers, key=lambda offer: offer.offer_id)
