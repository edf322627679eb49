"""A bundle says what it was when written; whatever was done to it since is noticed."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.bundle import (
    FORMAT_VERSION,
    MANIFEST,
    Bundle,
    Manifest,
    Provenance,
    load_bundle,
    newest_bundle,
    save_bundle,
)
from recsys.domain import ClientId, ClientState, Holding, Offer, OfferId, Profile, Size
from recsys.errors import BundleError, BundleNotFoundError, CorruptBundleError, IncompatibleBundleError
from recsys.features.builder import FeatureBuilder
from recsys.features.population import Population, fit_population
from recsys.features.spec import SPEC_VERSION
from recsys.models.base import ClientBatch, OfferIndex, TrainingSet
from recsys.models.calibration import fit_calibration
from recsys.models.popularity import Popularity
from recsys.models.recommender import Recommender
from recsys.models.registry import make_scorer

AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
OFFERS = OfferIndex([f"offer-{column}" for column in range(5)])


def _provenance(created_at: datetime = AS_OF) -> Provenance:
    return Provenance(
        name="default",
        created_at=created_at,
        as_of=AS_OF,
        horizon_days=30,
        seed=1,
        config_digest="c" * 64,
        data_digest="d" * 64,
        code_digest="e" * 64,
        metrics={"ndcg_at_10": 0.25, "n_adopters": 3.0},
    )


def _recommender(model: str = "ease") -> Recommender:
    rng = np.random.default_rng(3)
    states = [
        ClientState(
            ClientId(str(number)),
            1,
            Profile(size=(Size.MICRO, Size.SMALL)[number % 2]),
            tuple(
                Holding(f"{number}-{column}", OfferId(OFFERS.offer_ids[column]), AS_OF)
                for column in np.flatnonzero(rng.random(5) < 0.5)
            ),
        )
        for number in range(40)
    ]
    clients = ClientBatch.from_states(states, OFFERS)
    text = "offers: {offer-0: {base: 1, size: {micro: 2}}}"
    training = TrainingSet(AS_OF, OFFERS, clients, clients.clients_by_offers(), (), text)
    main = make_scorer(model).fit(training, rng)
    fallback = Popularity().fit(training, rng)
    outcomes = (rng.random(200) < 0.2).astype(float)
    return Recommender(
        main,
        fallback,
        fit_calibration(main.score(clients).ravel(), outcomes, 5),
        fit_calibration(fallback.score(clients).ravel(), outcomes, 5),
    )


RECOMMENDER = _recommender()
CLIENT = ClientBatch.from_states(
    [ClientState(ClientId("x"), 1, None, (Holding("h", OfferId("offer-1"), AS_OF),))], OFFERS
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(RECOMMENDER, _provenance(), tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / bundle.name))


def _predicted(loaded: Bundle) -> np.ndarray:
    return loaded.recommender.predict(CLIENT).probabilities


@pytest.mark.parametrize("model", ["popularity", "expert", "neighbours", "ease", "als"])
def test_a_loaded_bundle_predicts_the_same(model: str, tmp_path: Path) -> None:
    recommender = _recommender(model)
    loaded = load_bundle(save_bundle(recommender, _provenance(), tmp_path))
    clients = ClientBatch.from_states(
        [
            ClientState(ClientId("a"), 1, Profile(size=Size.MICRO)),
            ClientState(ClientId("b")),
            ClientState(ClientId("c"), 1, None, (Holding("h", OfferId("offer-2"), AS_OF),)),
        ],
        OFFERS,
    )
    before, after = recommender.predict(clients), loaded.recommender.predict(clients)
    assert np.array_equal(before.scores, after.scores)
    assert np.array_equal(before.probabilities, after.probabilities)
    assert before.bases == after.bases
    assert loaded.manifest.main.name == model


def test_the_version_names_recipe_day_and_content(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert bundle.name == loaded.version
    assert loaded.version.startswith("default-2025-01-01-")
    assert loaded.manifest.metrics == {"ndcg_at_10": 0.25, "n_adopters": 3.0}
    assert loaded.manifest.offer_ids == OFFERS.offer_ids


def test_the_day_of_the_version_is_that_of_its_own_zone(tmp_path: Path) -> None:
    moscow = datetime.fromisoformat("2025-03-01T00:00:00+03:00")
    path = save_bundle(RECOMMENDER, _provenance().model_copy(update={"as_of": moscow}), tmp_path)
    assert path.name.startswith("default-2025-03-01-")
    assert load_bundle(path).version == path.name


def test_same_content_same_bytes(bundle: Path, tmp_path: Path) -> None:
    again = save_bundle(_recommender(), _provenance(), tmp_path)
    assert again.name == bundle.name
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in bundle.iterdir()
    }
    assert save_bundle(RECOMMENDER, _provenance(), tmp_path) == again


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_flipped_byte_is_refused(bundle: Path, data: st.DataObject) -> None:
    file = bundle / data.draw(st.sampled_from(sorted(path.name for path in bundle.iterdir())))
    content = file.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    mask = data.draw(st.integers(1, 255))
    file.write_bytes(content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :])
    try:
        with pytest.raises(BundleError):
            load_bundle(bundle)
    finally:
        file.write_bytes(content)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_truncated_file_is_refused(bundle: Path, data: st.DataObject) -> None:
    file = bundle / data.draw(st.sampled_from(sorted(path.name for path in bundle.iterdir())))
    content = file.read_bytes()
    file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        with pytest.raises(BundleError):
            load_bundle(bundle)
    finally:
        file.write_bytes(content)


def _add_file(path: Path) -> None:
    (path / "more.txt").write_text("")


def _add_pickle(path: Path) -> None:
    (path / "main.model.pkl").write_bytes(pickle.dumps([1]))


def _add_folder(path: Path) -> None:
    (path / "folder").mkdir()


def _remove_file(path: Path) -> None:
    (path / "main.weights.npy").unlink()


def _link_file(path: Path) -> None:
    file = path / "main.weights.npy"
    file.rename(path.parent / "elsewhere.npy")
    file.symlink_to(path.parent / "elsewhere.npy")


def _link_manifest(path: Path) -> None:
    (path / MANIFEST).rename(path.parent / MANIFEST)
    (path / MANIFEST).symlink_to(path.parent / MANIFEST)


def _reformat_manifest(path: Path) -> None:
    (path / MANIFEST).write_bytes(orjson.dumps(orjson.loads((path / MANIFEST).read_bytes())))


def _write_text(path: Path) -> None:
    (path / MANIFEST).write_text("name: default")


def _write_list(path: Path) -> None:
    (path / MANIFEST).write_text("[]")


@pytest.mark.parametrize(
    "harm",
    [
        _add_file,
        _add_pickle,
        _add_folder,
        _remove_file,
        _link_file,
        _link_manifest,
        _reformat_manifest,
        _write_text,
        _write_list,
    ],
)
def test_a_harmed_bundle_is_refused(copy: Path, harm: Callable[[Path], None]) -> None:
    harm(copy)
    with pytest.raises(CorruptBundleError):
        load_bundle(copy)


def _forge(path: Path, **changes: object) -> None:
    """Rewrite the manifest with valid digests, as somebody who knows the format would."""
    values = orjson.loads((path / MANIFEST).read_bytes())
    values.pop("digest")
    files = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.iterdir())
        if file.name != MANIFEST
    }
    manifest = Manifest.model_validate({**values, "files": files, **changes})
    whole = {**manifest.model_dump(mode="json"), "digest": manifest.digest()}
    (path / MANIFEST).write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def test_a_forged_but_honest_manifest_loads(copy: Path) -> None:
    _forge(copy, seed=2)
    assert load_bundle(copy).manifest.seed == 2


class _Bomb:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("bomb-went-off",)


def _object_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([_Bomb()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def _plain_array(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_object_array(), id="array of objects"),
        pytest.param(pickle.dumps(_Bomb()), id="pickle"),
        pytest.param(_plain_array(np.zeros((5, 5))) + b"more", id="bytes behind the array"),
        pytest.param(_plain_array(np.zeros((4, 5))), id="wrong shape"),
        pytest.param(_plain_array(np.full((5, 5), np.nan)), id="not finite"),
        pytest.param(_plain_array(np.zeros((5, 5), dtype="S3")), id="wrong type"),
        pytest.param(_plain_array(np.zeros(5, dtype=[("a", "f8")])), id="records"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_forged_array_is_refused(copy: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    (copy / "main.weights.npy").write_bytes(content)
    _forge(copy)
    with pytest.raises(CorruptBundleError):
        load_bundle(copy)
    assert not (copy.parent / "bomb-went-off").exists()


@pytest.mark.parametrize(
    "name", ["../outside.npy", "/etc/passwd", "main.weights.pkl", "main/weights.npy", "other.weights.npy"]
)
def test_a_forged_file_name_is_refused(copy: Path, name: str) -> None:
    _forge(copy, files={name: "0" * 64})
    with pytest.raises(CorruptBundleError):
        load_bundle(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"main": {"name": "oracle", "params": {}}},
        {"main": {"name": "ease", "params": {"l3": 1}}},
        {"main": {"name": "als", "params": {}}},
        {"offer_ids": ["offer-0"] * 5},
        {"offer_ids": ["offer-0"]},
    ],
)
def test_a_forged_manifest_that_does_not_fit_is_refused(copy: Path, changes: dict[str, object]) -> None:
    _forge(copy, **changes)
    with pytest.raises(CorruptBundleError):
        load_bundle(copy)


@pytest.mark.parametrize("version", [0, 1, FORMAT_VERSION - 1, FORMAT_VERSION + 1, "1", None])
def test_a_foreign_format_version_is_named(copy: Path, version: object) -> None:
    values = {**orjson.loads((copy / MANIFEST).read_bytes()), "format_version": version, "news": True}
    (copy / MANIFEST).write_bytes(orjson.dumps(values))
    with pytest.raises(IncompatibleBundleError, match="fit again"):
        load_bundle(copy)


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleNotFoundError):
        load_bundle(tmp_path)
    with pytest.raises(BundleNotFoundError):
        newest_bundle(tmp_path)
    with pytest.raises(BundleNotFoundError):
        newest_bundle(tmp_path / "nowhere")


def test_the_newest_bundle_was_created_last(tmp_path: Path) -> None:
    paths = [
        save_bundle(RECOMMENDER, _provenance(AS_OF + timedelta(hours=hours)), tmp_path) for hours in (1, 3, 2)
    ]
    (tmp_path / ".default-unfinished").mkdir()
    (tmp_path / "notes").mkdir()
    assert newest_bundle(tmp_path) == paths[1]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BundleError, match="No space left"):
        save_bundle(RECOMMENDER, _provenance(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_serving_needs_no_training_library(bundle: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from recsys.bundle import load_bundle
from recsys.domain import ClientId, ClientState, Holding, OfferId, Profile
from recsys.models.base import ClientBatch, ClientFacts
import datetime

recommender = load_bundle(Path({str(bundle)!r})).recommender
now = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
held = ClientState(ClientId("a"), 1, Profile(), (Holding("h", OfferId("offer-1"), now),))
for state in (held, ClientState(ClientId("b"))):
    clients = ClientBatch.from_states([state], recommender.offers)
    recommender.predict(clients)
    [facts] = ClientFacts.of_all(clients)
    said = [list(recommender.explain(facts, column)) for column in range(5)]
print(sorted({{"implicit", "lightfm", "polars", "threadpoolctl", "sklearn"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _population() -> Population:
    holding = Holding("h", OfferId("offer-1"), AS_OF)
    states = [ClientState(ClientId("a"), 1, Profile(size=Size.MICRO), (holding,)), ClientState(ClientId("b"))]
    offers = [Offer(OfferId(offer_id), need_group="need") for offer_id in OFFERS.offer_ids]
    return fit_population(states, offers, AS_OF)


def test_a_population_travels_with_the_bundle(tmp_path: Path) -> None:
    population = _population()
    path = save_bundle(RECOMMENDER, _provenance(), tmp_path, population)
    loaded = load_bundle(path).population
    assert loaded is not None
    assert (loaded.as_of, loaded.segments, loaded.need_groups) == (AS_OF, population.segments, ("need",))
    assert np.array_equal(loaded.segment_shares, population.segment_shares)
    assert load_bundle(save_bundle(RECOMMENDER, _provenance(), tmp_path / "without")).population is None


def test_the_manifest_names_the_features_of_its_population(tmp_path: Path) -> None:
    manifest = load_bundle(save_bundle(RECOMMENDER, _provenance(), tmp_path, _population())).manifest
    assert manifest.features is not None
    assert manifest.features.version == SPEC_VERSION
    offers = [Offer(OfferId("any"), need_group="need")]
    assert manifest.features.spec_digest == FeatureBuilder(offers).spec.digest


def test_a_manifest_without_a_population_says_nothing_of_features(bundle: Path) -> None:
    assert "features" not in orjson.loads((bundle / MANIFEST).read_bytes())
    assert load_bundle(bundle).manifest.features is None


@pytest.mark.parametrize(
    ("features", "named"),
    [
        pytest.param({"version": SPEC_VERSION, "spec_digest": "0" * 64}, "digest 00000000", id="digest"),
        pytest.param({"version": SPEC_VERSION + 1, "spec_digest": "0" * 64}, "of version 2", id="version"),
        pytest.param(None, "features it does not name", id="before features were named"),
    ],
)
def test_a_bundle_for_other_features_is_refused(tmp_path: Path, features: object, named: str) -> None:
    path = save_bundle(RECOMMENDER, _provenance(), tmp_path, _population())
    _forge(path, features=features)
    with pytest.raises(IncompatibleBundleError, match=rf"{named}.*fit again"):
        load_bundle(path)


def test_features_without_a_population_are_corrupt(copy: Path) -> None:
    _forge(copy, features={"version": SPEC_VERSION, "spec_digest": "0" * 64})
    with pytest.raises(CorruptBundleError, match="no population"):
        load_bundle(copy)


def test_a_population_of_other_offers_is_refused(tmp_path: Path) -> None:
    foreign = replace(_population(), offer_ids=("other",))
    with pytest.raises(ValueError, match="different offers"):
        save_bundle(RECOMMENDER, _provenance(), tmp_path, foreign)


def test_a_population_without_an_array_is_corrupt(tmp_path: Path) -> None:
    path = save_bundle(RECOMMENDER, _provenance(), tmp_path, _population())
    bad = replace(_population(), holder_shares=np.full(len(OFFERS), 2.0))
    with pytest.raises(CorruptBundleError, match="no shares"):
        load_bundle(save_bundle(RECOMMENDER, _provenance(), tmp_path, bad))
    (path / "population.segments.npy").unlink()
    with pytest.raises(CorruptBundleError, match="missing"):
        load_bundle(path)
