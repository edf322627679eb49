"""Staff guessed from SIM cards: where the line is known, where it is not, and what models read of it."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import numpy as np
import pytest

from recsys.domain import ClientId, ClientState, Offer, OfferId, Profile
from recsys.features.builder import FeatureBuilder
from recsys.features.population import Population, fit_population
from recsys.features.staff import MIN_COMPANIES, StaffLine, fit_staff_line
from recsys.history import History, MonthFigures
from recsys.models.batch import ClientBatch, OfferIndex

NOW = datetime(2025, 7, 10, tzinfo=UTC)
PBX = OfferId("pbx")
OFFERS = (Offer(PBX),)


def _client(n_employees: int | None, n_sims: int | None) -> ClientState:
    months = () if n_sims is None else (MonthFigures(date(2025, 6, 1), n_sims_employees=n_sims),)
    return ClientState(
        ClientId("c"), profile=Profile(n_employees=n_employees), history=History(months=months)
    )


def _companies(n: int, spread: float, *, base: float = 0.5, slope: float = 1.2) -> list[ClientState]:
    """Companies whose logarithms of staff scatter around a line."""
    rng = np.random.default_rng(5)
    sims = np.exp(rng.uniform(0.0, 5.0, n)).astype(int)
    staff = np.expm1(base + slope * np.log1p(sims) + spread * rng.normal(size=n))
    return [_client(max(1, round(many)), int(few)) for many, few in zip(staff, sims, strict=True)]


def test_the_line_is_found_again() -> None:
    line = fit_staff_line([*_companies(2000, 0.3), _client(None, 3), _client(5, None), ClientState("d")])
    assert line is not None
    # three standard errors of a slope: spread ÷ (√n · spread of the logarithms, about 1.4)
    assert line.slope == pytest.approx(1.2, abs=3 * 0.3 / (2000**0.5 * 1.4))
    assert line.base == pytest.approx(0.5, abs=0.08)


def test_nothing_is_guessed_from_few_or_from_what_says_little() -> None:
    assert fit_staff_line(_companies(MIN_COMPANIES - 1, 0.3)) is None
    assert fit_staff_line(_companies(MIN_COMPANIES, 0.3)) is not None
    assert fit_staff_line(_companies(2000, 6.0)) is None
    assert fit_staff_line([_client(7, 7)] * 2 * MIN_COMPANIES) is None
    assert fit_staff_line(_companies(2000, 0.3, base=9.0, slope=-1.2)) is None


def test_only_what_is_unknown_is_guessed() -> None:
    line = StaffLine(0.0, 1.0)
    known, unknown, dark = _client(3, 50), _client(None, 50), _client(None, None)
    assert line.profile_of(known) is known.profile
    assert line.profile_of(dark) is dark.profile
    guessed = line.profile_of(unknown)
    assert guessed is not None
    assert guessed.n_employees == 50
    assert line.profile_of(ClientState(ClientId("c"))) is None


def test_models_read_the_guess_where_a_population_tells_the_line() -> None:
    population = fit_population(_companies(500, 0.1), OFFERS, NOW)
    unknown, index = _client(None, 30), OfferIndex([PBX])
    with_line = ClientBatch.from_states([unknown], index, NOW, FeatureBuilder(OFFERS, population))
    expected = 0.5 + 1.2 * math.log(31)
    assert with_line.figures[0, 0] == pytest.approx(expected, abs=0.05)
    assert with_line.traits == (("employees=64-127",),)
    for features in (None, FeatureBuilder(OFFERS)):
        without = ClientBatch.from_states([unknown], index, NOW, features)
        assert without.traits == ((),)
        assert np.isnan(without.figures[0, 0])


def test_a_bundle_keeps_the_line() -> None:
    population = fit_population(_companies(500, 0.1), OFFERS, NOW)
    arrays = population.to_arrays()
    assert Population.restore([PBX], arrays).staff_line == population.staff_line
    assert population.staff_line is not None
    older = {name: array for name, array in arrays.items() if name != "staff_line"}
    assert Population.restore([PBX], older).staff_line is None
    with pytest.raises(ValueError, match="staff_line"):
        Population.restore([PBX], {**arrays, "staff_line": np.array([np.nan, 1.0])})
