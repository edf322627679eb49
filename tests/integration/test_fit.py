"""Fit: from a folder of tables to a bundle that scores, and clear refusals on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from recsys.bundle import load_bundle, newest_bundle
from recsys.domain import Basis, ClientId, ClientState, Holding, OfferId, Profile, Size, Target
from recsys.errors import ConfigError, DataError
from recsys.models.base import ClientBatch
from training.pipelines.fit import FitResult, fit
from training.pipelines.recipe import CONFIGS, load_recipe

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
AS_OF = "2024-07-01"
N_CLIENTS, N_OFFERS, N_DAYS = 300, 8, 200
EXPERT = "offers:\n  offer-0: {base: 1, size: {micro: 1}}\ncategories:\n  voice: {base: 0.5}\n"


def _write(path: Path, header: str, rows: Sequence[Sequence[object]]) -> None:
    lines = [header, *(",".join(str(value) for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _day(number: float) -> str:
    return (BEGIN + timedelta(days=float(number))).strftime("%Y-%m-%dT%H:%M:%SZ")


def _connections(rng: np.random.Generator) -> list[tuple[int, int, float]]:
    """Every client starts with one service; each later month it takes another one, mostly of its kind.

    Every twelfth client has none at the start, every twentieth never takes any.
    """
    found = []
    for client in range(N_CLIENTS):
        weights = np.where(np.arange(N_OFFERS) % 2 == client % 2, 5.0, 1.0)
        order = rng.choice(N_OFFERS, 4, replace=False, p=weights / weights.sum())
        days = [float(rng.uniform(0, 5)), *rng.uniform(20, N_DAYS, 3)]
        if client % 20:
            found += [
                (client, int(offer), day)
                for offer, day in zip(order, days, strict=True)
                if day > 6 or client % 12
            ]
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    start = _day(0)
    _write(
        folder / "clients.csv",
        "client_id,valid_from,recorded_at,size,industry",
        [
            (f"client-{n:03}", start, start, ("micro", "small")[n % 2], ("G", "J", "")[n % 3])
            for n in range(N_CLIENTS)
        ],
    )
    _write(
        folder / "offers.csv",
        "offer_id,kind,recorded_at,category",
        [(f"offer-{n}", "own", start, ("voice", "data")[n % 2]) for n in range(N_OFFERS)],
    )
    _write(
        folder / "holdings.csv",
        "holding_id,client_id,offer_id,connected_at,recorded_at",
        [
            (f"{client}-{offer}", f"client-{client:03}", f"offer-{offer}", _day(day), _day(day))
            for client, offer, day in _connections(np.random.default_rng(11))
        ],
    )
    (folder / "expert.yaml").write_text(EXPERT, encoding="utf-8")
    return folder


@pytest.mark.parametrize("recipe", sorted(path.stem for path in CONFIGS.glob("*.toml")))
def test_every_shipped_recipe_makes_a_bundle(data: Path, tmp_path: Path, recipe: str) -> None:
    result = fit(str(data), recipe, AS_OF, tmp_path, seed=3)
    bundle = load_bundle(result.path)
    assert bundle.population is not None
    assert bundle.population.as_of == bundle.manifest.as_of
    assert bundle.population.offer_ids == bundle.manifest.offer_ids
    assert 0 < bundle.population.holder_shares.max() <= 1
    assert bundle.version == result.path.name
    assert bundle.version.startswith(f"{recipe}-{AS_OF}-")
    assert newest_bundle(tmp_path) == result.path
    assert bundle.manifest.seed == 3
    assert bundle.manifest.horizon_days == load_recipe(recipe).horizon_days
    assert result.metrics["n_adoptions"] > 50
    assert result.metrics["n_calibration_windows"] == 3
    assert result.metrics["n_calibration_adoptions"] > 200
    # calibrated on one half, judged on the other: 100 adoptions or more, 3 standard errors
    assert result.metrics["observed_over_expected"] == pytest.approx(1, abs=3 / 10)
    said = orjson.loads(result.to_json())
    # of data without exposures, whatever the recipe
    assert said == {
        "bundle": str(result.path),
        "target": "adoption",
        "metrics": dict(bundle.manifest.metrics),
    }
    assert bundle.manifest.target is Target.ADOPTION
    assert str(result.path) in str(result)


def test_whole_figures_are_told_whole() -> None:
    metrics = {"n_candidates": 14_706.0, "log_loss": 0.0539216, "recall": 1.0, "slope": math.nan}
    told = [
        "b",
        "  probabilities of acceptance",
        "  n_candidates 14706",
        "  log_loss 0.05392",
        "  recall 1",
        "  slope nan",
    ]
    assert str(FitResult(Path("b"), Target.ACCEPTANCE, metrics)).splitlines() == told


@pytest.mark.parametrize(
    ("as_of", "n_windows"),
    [("2024-02-01", 1), ("2024-03-30", 1), ("2024-04-01", 2), ("2024-05-01", 3), ("2024-07-01", 3)],
)
def test_short_histories_have_fewer_calibration_windows(
    data: Path, tmp_path: Path, as_of: str, n_windows: int
) -> None:
    metrics = load_bundle(fit(str(data), "default", as_of, tmp_path).path).manifest.metrics
    assert metrics["n_calibration_windows"] == n_windows


def test_a_recipe_says_how_many_windows_calibrate(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('model = "ease"\ncalibration_windows = 1\n', encoding="utf-8")
    metrics = fit(str(data), str(recipe), AS_OF, tmp_path / "bundles").metrics
    assert metrics["n_calibration_windows"] == 1


def test_the_default_learns_the_two_kinds_of_clients(data: Path, tmp_path: Path) -> None:
    recommender = load_bundle(fit(str(data), "default", AS_OF, tmp_path).path).recommender
    now = datetime(2024, 7, 1, tzinfo=UTC)
    states = [
        ClientState(ClientId("even"), 1, None, (Holding("h", OfferId("offer-2"), now),)),
        ClientState(ClientId("odd"), 1, None, (Holding("h", OfferId("offer-3"), now),)),
        ClientState(ClientId("prospect"), 1, Profile(size=Size.MICRO)),
        ClientState(ClientId("nobody")),
    ]
    prediction = recommender.predict(ClientBatch.from_states(states, recommender.offers))
    assert prediction.bases == (Basis.HOLDINGS, Basis.HOLDINGS, Basis.PROFILE, Basis.POPULATION)
    # what a client holds itself is nothing to connect
    prediction.probabilities[[0, 1], [2, 3]] = 0.0
    even, odd = (prediction.probabilities[:2, start::2].max(axis=1) for start in (0, 1))
    assert even[0] > odd[0]
    assert even[1] < odd[1]
    # micro companies are those of even number
    assert prediction.probabilities[2, 0::2].sum() > prediction.probabilities[2, 1::2].sum()


def test_the_same_seed_gives_the_same_arrays(data: Path, tmp_path: Path) -> None:
    first, second = (
        load_bundle(fit(str(data), "als", AS_OF, tmp_path / name, seed=5).path) for name in ("a", "b")
    )
    assert first.manifest.files == second.manifest.files
    assert first.manifest.metrics == second.manifest.metrics


def test_a_bundle_keeps_how_features_and_scores_were_distributed(data: Path, tmp_path: Path) -> None:
    population = load_bundle(fit(str(data), "ease", AS_OF, tmp_path, seed=3).path).population
    assert population is not None
    reference = population.reference
    assert reference is not None
    assert reference.names[-2:] == ("score_best", "score_mean")
    np.testing.assert_allclose(reference.shares.sum(axis=1), 1.0)
    assert reference.shares[reference.names.index("n_employees")][0] == 1, "nobody told how many work there"
    # every other client is micro, the others are small; 5,000 are drawn of 300 with replacement
    sizes = reference.shares[reference.names.index("size_rank")]
    np.testing.assert_allclose(sizes[1:3], 0.5, atol=3 * 0.5 / np.sqrt(5_000))
    best = reference.edges[-2]
    assert ((best > 0) & ((best < 1) | np.isinf(best))).all()


def test_what_was_recorded_later_changes_nothing(data: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for file in data.iterdir():
        lines = file.read_text(encoding="utf-8").splitlines()
        is_known = [not line.endswith("Z") or line[-20:] <= "2024-07-01T00:00:00Z" for line in lines]
        kept = [line for line, known in zip(lines, is_known, strict=True) if known]
        (earlier / file.name).write_text("\n".join(kept) + "\n", encoding="utf-8")
    whole = load_bundle(fit(str(data), "ease", AS_OF, tmp_path / "a").path)
    cut = load_bundle(fit(str(earlier), "ease", AS_OF, tmp_path / "b").path)
    assert whole.manifest.data_digest != cut.manifest.data_digest
    assert whole.manifest.files == cut.manifest.files


def test_a_recipe_of_ones_own(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('model = "ease"\nhorizon_days = 60\n[params]\nl2 = 3.0\n', encoding="utf-8")
    result = fit(str(data), str(recipe), AS_OF, tmp_path / "bundles")
    manifest = load_bundle(result.path).manifest
    assert (manifest.name, manifest.horizon_days, manifest.main.params["l2"]) == ("mine", 60, 3.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param('model = "oracle"', "no model 'oracle'", id="unknown model"),
        pytest.param('model = "ease"\n[params]\nl3 = 1', "l3", id="unknown parameter"),
        pytest.param('model = "ease"\nhorizon = 1', "horizon", id="unknown key"),
        pytest.param('model = "ease"\nhorizon_days = 0', "horizon_days", id="no horizon"),
        pytest.param('model = "ease"\nhorizon_days = 99999999', "at most 3660", id="no such horizon"),
        pytest.param('model = "boosted"\n[past]\nn_windows = 999999', "at most 120", id="no such past"),
        pytest.param('model = "als"\n[params]\nn_factors = 99999', "at most 1024", id="no such memory"),
        pytest.param(
            'model = "boosted"\n[without_exposures]\nmodel = "blnd"', "'blnd'", id="wrong without exposures"
        ),
        pytest.param(
            'model = "boosted"\n[without_exposures]\nmodel = "boosted"',
            "learns from exposures",
            id="none without exposures",
        ),
        pytest.param(
            'model = "blend"\n[[params.components]]\nname = "blend"', "one of the components", id="nested"
        ),
        pytest.param("model = ease", "not a TOML file", id="no TOML"),
        pytest.param("", "model", id="nothing"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, said: str) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.toml") as caught:
        load_recipe(str(recipe))
    assert said in str(caught.value)


def test_an_unknown_recipe_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="default, ease"):
        load_recipe("oracle")
    badly_named = tmp_path / "My recipe.toml"
    badly_named.write_text('model = "ease"', encoding="utf-8")
    with pytest.raises(ConfigError, match="rename"):
        load_recipe(str(badly_named))


@pytest.mark.parametrize(
    ("as_of", "said"),
    [
        pytest.param("2023-06-01", "the data begin at 2024-01-01", id="before the data"),
        pytest.param("2024-01-20", "the earliest as_of that works is 2024-01-31", id="too little history"),
        pytest.param("2025-06-01", "no holding was recorded in the 30 days", id="after the data"),
    ],
)
def test_an_impossible_as_of_names_the_cure(data: Path, tmp_path: Path, as_of: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        fit(str(data), "default", as_of, tmp_path / "bundles")
    assert said in str(caught.value)
    assert not (tmp_path / "bundles").exists()


def test_as_of_must_be_a_day(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="yesterday"):
        fit(str(data), "default", "yesterday", tmp_path)


@pytest.mark.parametrize("table", ["clients", "holdings"])
def test_empty_tables_are_named(data: Path, tmp_path: Path, table: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    empty = {table, "holdings"}
    for file in data.iterdir():
        text = file.read_text(encoding="utf-8")
        kept = text.splitlines(keepends=True)[0] if file.stem in empty else text
        (folder / file.name).write_text(kept, encoding="utf-8")
    with pytest.raises(DataError, match=rf"table {table} .*(is empty|has no rows)"):
        fit(str(folder), "default", AS_OF, tmp_path / "bundles")


def test_expert_without_its_weights_says_what_to_do(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for file in data.glob("*.csv"):
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match=r"needs a file expert\.yaml"):
        fit(str(folder), "expert", AS_OF, tmp_path / "bundles")


def test_a_file_in_the_place_of_the_bundles_is_refused_first(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "bundles"
    place.write_text("mine")
    with pytest.raises(DataError, match="is a file; give a folder"):
        fit(str(data), "popularity", "2024-06-01", place)
    assert place.read_text() == "mine"
