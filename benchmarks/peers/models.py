"""The peers: open libraries behind one function each, and the parameters that a search may choose.

Every function takes a split and parameters and returns scores, judged_by_offers. A client of whom a model
knows nothing gets the popularity of the whole.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import implicit.als
import implicit.bpr
import implicit.lmf
import implicit.nearest_neighbours as neighbours
import numpy as np
import pandas as pd
from lightfm import LightFM
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, ImplicitALSWrapperModel, PureSVDModel
from scipy import sparse
from splits import Split

Params = Mapping[str, Any]
N_THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
SEED = 1
WEIGHTS = ("one", "count", "log")
ROWS = ("held", "seen")


@dataclass(frozen=True)
class Peer:
    """One peer.

    Attributes:
        library: Whose it is.
        score: From a split and parameters to scores, judged_by_offers.
        space: Choices of each parameter; the first ones are what the library ships, or nearest to it.
    """

    library: str
    score: Callable[[Split, Params], np.ndarray]
    space: Mapping[str, tuple[Any, ...]]


def popular(split: Split, params: Params) -> np.ndarray:
    """How many clients have each offer."""
    counts = np.asarray(split.matrix(params["rows"], params["weight"]).sum(axis=0)).ravel()
    return np.tile(counts, (len(split.judged), 1))


def with_fallback(split: Split, scores: np.ndarray, matrix: sparse.csr_matrix) -> np.ndarray:
    """Popularity for judged clients without a row to learn from."""
    is_empty = np.diff(matrix.indptr)[split.judged] == 0
    counts = np.asarray((matrix > 0).sum(axis=0)).ravel()
    return np.where(is_empty[:, None], counts[None, :], scores)


def ease(split: Split, params: Params) -> np.ndarray:
    """RecTools' EASE."""
    matrix = split.matrix(params["rows"], params["weight"])
    model = EASEModel(regularization=params["regularization"], num_threads=N_THREADS)
    dataset = rectools_dataset(split, params)
    model.fit(dataset)
    columns = dataset.item_id_map.external_ids.astype(int)
    scores = np.zeros((len(split.judged), split.n_offers))
    scores[:, columns] = matrix[split.judged][:, columns] @ model.weight
    return with_fallback(split, scores, matrix)


def pure_svd(split: Split, params: Params) -> np.ndarray:
    """RecTools' PureSVD."""
    model = PureSVDModel(factors=params["factors"], random_state=SEED)
    dataset = rectools_dataset(split, params)
    model.fit(dataset)
    return _from_factors(split, params, dataset, (model.user_factors, model.item_factors))


def als_with_features(split: Split, params: Params) -> np.ndarray:
    """RecTools' iALS whose factors know the profile."""
    model = ImplicitALSWrapperModel(
        implicit.als.AlternatingLeastSquares(
            factors=params["factors"],
            regularization=params["regularization"],
            alpha=params["alpha"],
            iterations=params["iterations"],
            random_state=SEED,
            num_threads=N_THREADS,
        ),
        fit_features_together=params["together"],
    )
    dataset = rectools_dataset(split, params, with_profile=True)
    with contextlib.redirect_stderr(io.StringIO()):  # a bar that cannot be switched off
        model.fit(dataset)
    return _from_factors(split, params, dataset, model.get_vectors())


def rectools_dataset(split: Split, params: Params, *, with_profile: bool = False) -> Dataset:
    """The split as RecTools reads it."""
    pairs = split.interactions(params["rows"], params["weight"])
    frame = pd.DataFrame(
        {
            Columns.User: pairs["client"].to_numpy(),
            Columns.Item: pairs["offer"].to_numpy(),
            Columns.Weight: pairs["weight"].to_numpy(),
            Columns.Datetime: datetime(2024, 1, 1),  # noqa: DTZ001 -- no model here reads it
        }
    )
    if not with_profile or split.traits.is_empty():
        return Dataset.construct(frame)
    traits = pd.DataFrame(
        {
            "id": split.traits["client"].to_numpy(),
            "feature": "trait",
            "value": split.traits["trait"].to_list(),
        }
    )
    known = traits[traits["id"].isin(frame[Columns.User].unique())]
    return Dataset.construct(frame, user_features_df=known, cat_user_features=["trait"])


def _from_factors(
    split: Split, params: Params, dataset: Dataset, factors: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    users, items = factors
    of_user = np.zeros((split.n_clients, users.shape[1]))
    of_user[dataset.user_id_map.external_ids.astype(int)] = users
    of_item = np.zeros((split.n_offers, items.shape[1]))
    of_item[dataset.item_id_map.external_ids.astype(int)] = items
    matrix = split.matrix(params["rows"], params["weight"])
    return with_fallback(split, of_user[split.judged] @ of_item.T, matrix)


def _implicit_factors(model: Any, split: Split, params: Params) -> np.ndarray:
    matrix = split.matrix(params["rows"], params["weight"])
    model.fit(matrix, show_progress=False)
    scores = np.asarray(model.user_factors)[split.judged] @ np.asarray(model.item_factors).T
    return with_fallback(split, scores, matrix)


def als(split: Split, params: Params) -> np.ndarray:
    """Implicit's ALS."""
    model = implicit.als.AlternatingLeastSquares(
        factors=params["factors"],
        regularization=params["regularization"],
        alpha=params["alpha"],
        iterations=params["iterations"],
        random_state=SEED,
        num_threads=N_THREADS,
    )
    return _implicit_factors(model, split, params)


def bpr(split: Split, params: Params) -> np.ndarray:
    """Implicit's BPR."""
    model = implicit.bpr.BayesianPersonalizedRanking(
        factors=params["factors"],
        learning_rate=params["learning_rate"],
        regularization=params["regularization"],
        iterations=params["iterations"],
        random_state=SEED,
        num_threads=1,  # with more the answer depends on their race
    )
    return _implicit_factors(model, split, params)


def lmf(split: Split, params: Params) -> np.ndarray:
    """Implicit's logistic matrix factorisation."""
    model = implicit.lmf.LogisticMatrixFactorization(
        factors=params["factors"],
        learning_rate=params["learning_rate"],
        regularization=params["regularization"],
        iterations=params["iterations"],
        neg_prop=params["neg_prop"],
        random_state=SEED,
        num_threads=1,
    )
    return _implicit_factors(model, split, params)


def item_knn(split: Split, params: Params) -> np.ndarray:
    """Implicit's item neighbours: cosine, tf-idf or BM25."""
    n_neighbours = params["n_neighbours"]
    if params["kind"] == "bm25":
        model = neighbours.BM25Recommender(
            K=n_neighbours, K1=params["k1"], B=params["b"], num_threads=N_THREADS
        )
    elif params["kind"] == "tfidf":
        model = neighbours.TFIDFRecommender(K=n_neighbours, num_threads=N_THREADS)
    else:
        model = neighbours.CosineRecommender(K=n_neighbours, num_threads=N_THREADS)
    matrix = split.matrix(params["rows"], params["weight"])
    model.fit(matrix, show_progress=False)
    scores = np.asarray((matrix[split.judged] @ model.similarity).todense())
    return with_fallback(split, scores, matrix)


def lightfm(split: Split, params: Params) -> np.ndarray:
    """LightFM, with or without the profile as features."""
    matrix = split.matrix(params["rows"], "one").tocoo()
    features = sparse.identity(split.n_clients, dtype=np.float32, format="csr")
    if params["with_profile"] and not split.traits.is_empty():
        codes = split.traits["trait"].rank("dense").to_numpy().astype(int) - 1
        at = split.traits["client"].to_numpy(), codes
        shape = (split.n_clients, codes.max() + 1)
        profile = sparse.csr_matrix((np.ones(len(codes), dtype=np.float32), at), shape=shape)
        features = sparse.hstack([features, profile], format="csr")
    model = LightFM(
        no_components=params["factors"],
        loss=params["loss"],
        learning_rate=params["learning_rate"],
        user_alpha=params["user_alpha"],
        item_alpha=params["item_alpha"],
        random_state=SEED,
    )
    model.fit(matrix, user_features=features, epochs=params["epochs"], num_threads=1)
    biases, embeddings = model.get_user_representations(features[split.judged])
    item_biases, item_embeddings = model.get_item_representations()
    scores = embeddings @ item_embeddings.T + biases[:, None] + item_biases[None, :]
    if params["with_profile"]:
        return scores
    return with_fallback(split, scores, matrix.tocsr())


_DATA: Mapping[str, tuple[Any, ...]] = MappingProxyType({"rows": ROWS, "weight": WEIGHTS})
_FACTORS = {"factors": (100, 16, 32, 64, 128, 200), "iterations": (15, 8, 30)}
_ALS = {
    **_FACTORS,
    "regularization": (0.01, 0.001, 0.1, 1.0, 5.0, 20.0),
    "alpha": (1.0, 2.0, 5.0, 10.0, 20.0, 40.0),
}

PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        "popular": Peer("rectools", popular, _DATA),
        "ease": Peer(
            "rectools",
            ease,
            {"regularization": (500.0, 20.0, 50.0, 100.0, 200.0, 1000.0, 2000.0, 4000.0, 16000.0), **_DATA},
        ),
        "ease_decayed": Peer(
            "rectools",
            ease,
            {
                "regularization": (500.0, 20.0, 50.0, 100.0, 200.0, 1000.0, 2000.0, 4000.0),
                "rows": ROWS,
                "weight": ("days:60", "days:30", "days:120", "days:240"),
            },
        ),
        "pure_svd": Peer("rectools", pure_svd, {"factors": (10, 4, 6, 16, 24, 32, 64, 100), **_DATA}),
        "als_features": Peer("rectools", als_with_features, {**_ALS, "together": (False, True), **_DATA}),
        "als": Peer("implicit", als, {**_ALS, **_DATA}),
        "bpr": Peer(
            "implicit",
            bpr,
            {
                "factors": (100, 16, 32, 64, 128),
                "learning_rate": (0.01, 0.003, 0.03, 0.1),
                "regularization": (0.01, 0.001, 0.03, 0.1),
                "iterations": (100, 30, 60, 200),
                **_DATA,
            },
        ),
        "lmf": Peer(
            "implicit",
            lmf,
            {
                "factors": (30, 8, 16, 64),
                "learning_rate": (1.0, 0.3, 0.1),
                "regularization": (0.6, 0.1, 2.0, 6.0),
                "iterations": (30, 15, 60),
                "neg_prop": (30, 10),
                **_DATA,
            },
        ),
        "item_knn": Peer(
            "implicit",
            item_knn,
            {
                "kind": ("tfidf", "bm25", "cosine"),
                "n_neighbours": (20, 5, 10, 40, 80, 160, 320),
                "k1": (1.2, 0.1, 0.5, 2.0, 10.0, 50.0),
                "b": (0.75, 0.1, 0.3, 0.5, 1.0),
                **_DATA,
            },
        ),
        "lightfm": Peer(
            "lightfm",
            lightfm,
            {
                "loss": ("warp", "logistic", "bpr"),
                "factors": (10, 4, 16, 32, 64),
                "learning_rate": (0.05, 0.01, 0.02, 0.1),
                "user_alpha": (0.0, 1e-6, 1e-5, 1e-4),
                "item_alpha": (0.0, 1e-6, 1e-5, 1e-4),
                "epochs": (10, 3, 30, 60),
                "with_profile": (True, False),
                "rows": ROWS,
            },
        ),
    }
)
