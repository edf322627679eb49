"""Models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from recsys.config import RunConfig
from recsys.errors import ConfigError
from recsys.models.als import Als, AlsParams
from recsys.models.base import Scorer
from recsys.models.ease import Ease, EaseParams
from recsys.models.expert import Expert, ExpertParams
from recsys.models.neighbours import Neighbours, NeighboursParams
from recsys.models.popularity import Popularity, PopularityParams

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
        >>> make_scorer("ease", {"l2": 500.0}).params
        EaseParams(l2=500.0)
    """
    if name not in MODELS:
        raise ConfigError(f"there is no model {name!r}; known: {', '.join(MODELS)}")
    return MODELS[name](params)
