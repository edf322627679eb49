"""Models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from recsys.config import RunConfig
from recsys.errors import ConfigError
from recsys.models.als import Als, AlsParams
from recsys.models.base import Scorer
from recsys.models.blend import Blend, BlendParams
from recsys.models.boosted import Boosted, BoostedParams
from recsys.models.ease import Ease, EaseParams
from recsys.models.expert import Expert, ExpertParams
from recsys.models.hybrid_mf import HybridMf, HybridMfParams
from recsys.models.leaning import Leaning, LeaningParams
from recsys.models.neighbours import Neighbours, NeighboursParams
from recsys.models.popularity import Popularity, PopularityParams
from recsys.models.profile import Profile, ProfileParams
from recsys.models.similar import Similar, SimilarParams
from recsys.models.trend import Trend, TrendParams

MakeScorer = Callable[[Mapping[str, object]], Scorer]
_Params = TypeVar("_Params", bound=RunConfig)


def _model(name: str, params: type[_Params], scorer: Callable[[_Params], Scorer]) -> MakeScorer:
    return lambda values: scorer(params.parse(dict(values), f"parameters of the model {name!r}"))


MODELS: Mapping[str, MakeScorer] = MappingProxyType(
    {
        "popularity": _model("popularity", PopularityParams, Popularity),
        "expert": _model("expert", ExpertParams, Expert),
        "neighbours": _model("neighbours", NeighboursParams, Neighbours),
        "ease": _model("ease", EaseParams, Ease),
        "als": _model("als", AlsParams, Als),
        "trend": _model("trend", TrendParams, Trend),
        "profile": _model("profile", ProfileParams, Profile),
        "leaning": _model("leaning", LeaningParams, Leaning),
        "similar": _model("similar", SimilarParams, Similar),
        "hybrid_mf": _model("hybrid_mf", HybridMfParams, HybridMf),
        # these two are made of others, and so take what makes them
        "blend": _model("blend", BlendParams, lambda params: Blend(params, make_scorer)),
        "boosted": _model("boosted", BoostedParams, lambda params: Boosted(params, make_scorer)),
    }
)
_NO_PARAMS: Mapping[str, object] = MappingProxyType({})


def make_scorer(name: str, params: Mapping[str, object] = _NO_PARAMS) -> Scorer:
    """An unfitted model.

    Args:
        name: Name of the model, which is its file's name.
        params: Its parameters; what is left out takes its default.

    Raises:
        ConfigError: There is no such model, or a parameter is wrong.

    Example:
        >>> make_scorer("neighbours", {"n_neighbours": 5}).params
        NeighboursParams(similarity='tfidf', n_neighbours=5)
    """
    if name not in MODELS:
        raise ConfigError(f"there is no model {name!r}; known: {', '.join(MODELS)}")
    return MODELS[name](params)
