"""Adoption trend against rates worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import sparse

from recsys.models.base import (
    ClientBatch,
    ClientFacts,
    Evidence,
    EvidenceKind,
    FirstConnections,
    OfferIndex,
    TrainingSet,
)
from recsys.models.trend import Trend, TrendParams

OFFERS = OfferIndex(["pbx", "sms"])
MICRO, SMALL = ("size=micro",), ("size=small",)


def _batch(traits: list[tuple[str, ...]], holdings: np.ndarray | None = None) -> ClientBatch:
    held = sparse.csr_array(np.zeros((len(traits), 2)) if holdings is None else holdings)
    return ClientBatch(held.indptr.astype(np.int64), held.indices.astype(np.int64), tuple(traits), 2)


def _training(
    traits: list[tuple[str, ...]],
    history: list[tuple[int, int, float]],
    holdings: np.ndarray | None = None,
) -> TrainingSet:
    clients = _batch(traits, holdings)
    return TrainingSet(
        datetime(2025, 1, 1, tzinfo=UTC),
        OFFERS,
        clients,
        clients.clients_by_offers(),
        history=FirstConnections.from_triples(history),
    )


# client 0 took pbx five days ago and client 1 sms fifty days ago; client 2 has had pbx for long
FOUR = _training([MICRO, MICRO, SMALL, SMALL], [(0, 0, 5.0), (1, 1, 50.0), (2, 0, 200.0)])


def _scores(params: TrendParams, traits: list[tuple[str, ...]], training: TrainingSet = FOUR) -> np.ndarray:
    return Trend(params).fit(training, np.random.default_rng(0)).score(_batch(traits))


def test_rates_by_hand() -> None:
    # 2 adoptions by 3 + 4 clients that could: 2/7 on average, so half an adoption is worth 1.75 clients
    whole = np.array([1.5 / (3 + 1.75), 1.5 / (4 + 1.75)])
    micro = (np.array([1, 1]) + 10 * whole) / (2 + 10)
    small = 10 * whole / (np.array([1, 2]) + 10)
    found = _scores(TrendParams(), [MICRO, SMALL, ()])
    np.testing.assert_allclose(found, [micro, small, whole], rtol=1e-12)


def test_only_the_window_counts() -> None:
    # within 30 days only pbx was adopted: 1 adoption by 3 + 3 clients, half of one is worth 3 clients
    found = _scores(TrendParams(days=30.0, segment_by=()), [MICRO])
    np.testing.assert_allclose(found, [[1.5 / (3 + 3), 0.5 / (3 + 3)]], rtol=1e-12)


def test_relative_is_the_rate_by_those_who_ever_had_it() -> None:
    plain, relative = (_scores(TrendParams(is_relative=flag), [MICRO, SMALL]) for flag in (False, True))
    np.testing.assert_allclose(relative, plain / (np.array([2.5, 1.5]) / 4), rtol=1e-12)


def test_a_segment_leans_on_the_one_around_it() -> None:
    # the only client of the inner segment adopted nothing, but pbx spreads in the outer one
    inner = ("agency=A", "bureau=A1")
    training = _training(
        [("agency=A", "bureau=A2")] * 5 + [inner] + [("agency=B", "bureau=B1")] * 6,
        [(client, 0, 3.0) for client in range(5)] + [(11, 1, 90.0)],
    )
    params = TrendParams(segment_by=("agency", "bureau"), pseudo_clients=5.0)
    found = _scores(params, [inner, ("agency=B", "bureau=B1"), ("agency=A", "bureau=new")], training)
    assert found[0, 0] > 2 * found[1, 0]
    assert found[2, 0] > found[0, 0], "a bureau never seen is its agency, whose other bureau adopts"


def test_a_key_that_is_missing_is_passed_over() -> None:
    params = TrendParams(segment_by=("agency", "size"))
    assert np.array_equal(_scores(params, [MICRO]), _scores(TrendParams(), [MICRO]))


def test_the_oldest_record_is_no_adoption() -> None:
    # everything was found at the first look, so nothing is known to spread
    training = _training([MICRO] * 4, [(client, 0, 20.0) for client in range(3)])
    found = _scores(TrendParams(segment_by=()), [MICRO], training)
    assert found[0, 0] > found[0, 1], "one client is left that could, and half an adoption is assumed"
    later = _training([MICRO] * 4, [(client, 1, 10.0) for client in range(3)] + [(3, 0, 20.0)])
    assert np.diff(_scores(TrendParams(segment_by=()), [MICRO], later))[0, 0] > 0.3


def test_the_trait_behind_a_trend_is_counted() -> None:
    holdings = np.array([[1.0, 0.0]] * 20 + [[0.0, 0.0]] * 80)
    training = _training(
        [MICRO] * 25 + [SMALL] * 75, [(client, 0, 4.0) for client in range(20)] + [(30, 1, 9.0)], holdings
    )
    trend = Trend().fit(training, np.random.default_rng(0))
    micro = ClientFacts(traits=MICRO)
    assert list(trend.explain(micro, 0)) == [Evidence(EvidenceKind.TRAIT, "size=micro", 20)]
    assert list(trend.explain(micro, 1)) == []
    for others in (SMALL, ()):
        assert not [
            *trend.explain(ClientFacts(traits=others), 0),
            *trend.explain(ClientFacts(traits=others), 1),
        ]


def test_nothing_is_said_where_a_segment_adopts_more_slowly() -> None:
    # all the micro companies' pbx are old, and pbx spreads among the others
    holdings = np.array([[1.0, 0.0]] * 20 + [[0.0, 0.0]] * 75 + [[1.0, 0.0]] * 5)
    history = [(client, 0, 300.0) for client in range(20)] + [(client, 0, 4.0) for client in range(95, 100)]
    training = _training([MICRO] * 25 + [SMALL] * 75, history, holdings)
    trend = Trend().fit(training, np.random.default_rng(0))
    assert list(trend.explain(ClientFacts(traits=MICRO), 0)) == []


def test_arrays_without_the_whole_are_refused() -> None:
    arrays = Trend().fit(FOUR, np.random.default_rng(0)).to_arrays()
    arrays["segments"] = np.array(["size=a", "size=b", "size=c"])
    with pytest.raises(ValueError, match="whole"):
        Trend().restore(OFFERS, arrays)
