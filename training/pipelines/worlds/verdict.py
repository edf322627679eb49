"""Recipes held against the truth of a made-up world: simulate it, fit on what it wrote down, judge."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.bundle import load_bundle
from recsys.data.dataset import Dataset
from recsys.data.read import read_dataset
from recsys.domain import ClientState, Target
from recsys.models.base import ClientBatch, FloatArray
from recsys.models.popularity import Popularity, PopularityParams
from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.truth import Truth
from recsys.simulation.world import World
from training.pipelines.evaluation.cuts import take_training
from training.pipelines.fit import code_digest, fit
from training.pipelines.worlds.simulate import read_documents, simulate
from training.pipelines.worlds.truth import (
    WorldTruth,
    judge_lists,
    judge_newcomers,
    judge_probabilities,
    predict,
    take_truth,
    without_history,
)

LEAST_CLIENTS = 1000
MOST_LIVES = 8


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a world: its truth, and what recipes say of its clients.

    Attributes:
        truth: The truth.
        popularity: Yardsticks for clients known by profile alone, by name, clients_by_offers.
        said: By recipe.
    """

    truth: WorldTruth
    popularity: Mapping[str, FloatArray]
    said: Mapping[str, Said]


@dataclass(frozen=True, slots=True)
class Said:
    """What a recipe says of the clients of a life.

    Attributes:
        target: What its probabilities are of.
        estimates: Probabilities for the clients as they are known, clients_by_offers.
        newcomers: Probabilities for the same clients known by profile alone.
        fit_s: Seconds of its fit.
    """

    target: Target
    estimates: FloatArray
    newcomers: FloatArray
    fit_s: float


def judge_world(
    world: Path, catalogue: Path, recipes: Sequence[str], n_clients: int, run: Path
) -> dict[str, object]:
    """Hold recipes against the truth of a world when its last month begins.

    A world made for fewer than a thousand clients keeps their number and is lived eight times, each time
    with a seed and fits of its own; the clients are judged together.

    Args:
        world: The world's parameters, a TOML file.
        catalogue: The catalogue's folder.
        recipes: Names of recipes, or TOML files.
        n_clients: How many clients to simulate.
        run: Folder for what is made; data that the same world, catalogue and code made are used again.

    Returns:
        ``n_clients``, ``n_pairs``, ``seconds`` and, by recipe as it was asked for, its ``target`` and what
        `judge_lists`, `judge_probabilities`, `judge_newcomers` find.
    """
    started = time.monotonic()
    own = World.load(world)
    is_small = own.n_clients < LEAST_CLIENTS
    size = min(n_clients, own.n_clients) if is_small else n_clients
    lives = [
        live(world, catalogue, {"n_clients": size, "seed": own.seed + number}, recipes, run)
        for number in range(MOST_LIVES if is_small else 1)
    ]
    truth = WorldTruth.pooled([life.truth for life in lives])
    popularity = {
        name: np.concatenate([life.popularity[name] for life in lives]) for name in lives[0].popularity
    }
    found: dict[str, object] = {"n_clients": len(truth.states), "n_pairs": int(truth.is_open.sum())}
    for recipe in recipes:
        said = [life.said[recipe] for life in lives]
        estimates = np.concatenate([one.estimates for one in said])
        newcomers = np.concatenate([one.newcomers for one in said])
        # a life with too few exposures may teach another target than the next one
        chances = np.concatenate([life.truth.chances(life.said[recipe].target) for life in lives])
        found[recipe] = {
            "fit_s": sum(one.fit_s for one in said),
            "target": " and ".join(sorted({one.target.value for one in said})),
            **judge_lists(estimates, truth),
            **judge_probabilities(estimates, chances, truth),
            "newcomers": judge_newcomers(newcomers, popularity, truth),
        }
    found["seconds"] = time.monotonic() - started
    return found


def live(path: Path, catalogue: Path, changes: Mapping[str, int], recipes: Sequence[str], run: Path) -> Life:
    """Simulate a world, and fit recipes on what it wrote down before its last month."""
    world = World.load(path).model_copy(update=dict(changes))
    folder = run / f"{path.stem}-{world.n_clients}-{world.seed}-{_made_by(world, catalogue)}"
    data = folder / "data"
    if not data.exists():
        simulate(catalogue, path, data, n_clients=world.n_clients, seed=world.seed)
    dataset = read_dataset(data)
    truth = take_truth(Truth(world, read_catalogue(catalogue)), dataset, world.n_months - 1)
    unknown = without_history(truth.states)
    said = {}
    for recipe in recipes:
        began = time.monotonic()
        fitted = fit(str(data), recipe, truth.as_of, folder / "bundles")
        seconds = time.monotonic() - began
        bundle = load_bundle(fitted.path)
        said[recipe] = Said(
            target=bundle.recommender.target,
            estimates=predict(bundle, truth, truth.states),
            newcomers=predict(bundle, truth, unknown),
            fit_s=seconds,
        )
    return Life(truth, _popularity(dataset, truth, unknown), said)


def _made_by(world: World, catalogue: Path) -> str:
    """Digest of all that a life follows from: its parameters, the catalogue's documents, the code."""
    documents = read_documents(catalogue if catalogue.is_dir() else catalogue.parent)
    parts = [
        world.model_dump_json(),
        (catalogue / "catalogue.yaml" if catalogue.is_dir() else catalogue).read_text(encoding="utf-8"),
        *(text for item in sorted(documents.items()) for text in item),
        code_digest(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _popularity(dataset: Dataset, truth: WorldTruth, states: Sequence[ClientState]) -> dict[str, FloatArray]:
    """Popularity of the whole and by segment, in the columns of the truth."""
    training = take_training(dataset, truth.as_of).training
    batch = ClientBatch.from_states(states, training.offers)
    rng = np.random.default_rng(1)
    by_name = {"whole": PopularityParams(segment_by=()), "segment": PopularityParams()}
    return {name: Popularity(params).fit(training, rng).score(batch) for name, params in by_name.items()}
