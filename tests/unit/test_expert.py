"""Expert weights: sums by hand, and faults named by line."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from recsys.errors import ConfigError
from recsys.models.base import ClientBatch, ClientFacts, Evidence, EvidenceKind, OfferIndex, TrainingSet
from recsys.models.expert import Expert

OFFERS = OfferIndex(["pbx", "sms", "crm"])
TEXT = """\
offers:
  pbx:
    base: 1.0
    stage: {growth: 0.5}
    size: {micro: -0.25}
categories:
  telephony:
    base: 0.1
    industry: {G: 0.3}
"""


def _clients(*traits: tuple[str, ...]) -> ClientBatch:
    return ClientBatch(np.zeros(len(traits) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64), traits, 3)


def _fit(text: str | None) -> Expert:
    nobody = _clients()
    training = TrainingSet(
        as_of=datetime(2025, 1, 1, tzinfo=UTC),
        offers=OFFERS,
        clients=nobody,
        demand=nobody.clients_by_offers(),
        categories=("telephony", "telephony", None),
        expert_yaml=text,
    )
    return Expert().fit(training, np.random.default_rng(0))


def test_weights_of_offer_category_and_traits_add_up() -> None:
    scores = _fit(TEXT).score(_clients((), ("size=micro", "industry=G", "stage=growth"), ("region=x",)))
    np.testing.assert_allclose(scores[0], [1.1, 0.1, 0.0])
    np.testing.assert_allclose(scores[1], [1.1 + 0.5 - 0.25 + 0.3, 0.1 + 0.3, 0.0])
    np.testing.assert_allclose(scores[2], scores[0])


def test_evidence_is_the_trait_with_the_largest_weight() -> None:
    expert, facts = _fit(TEXT), ClientFacts(traits=("size=micro", "industry=G", "stage=growth"))
    assert list(expert.explain(facts, 0)) == [Evidence(EvidenceKind.TRAIT, "stage=growth")]
    assert list(expert.explain(facts, 1)) == [Evidence(EvidenceKind.TRAIT, "industry=G")]
    assert list(expert.explain(ClientFacts(traits=("size=micro",)), 0)) == []


def test_an_empty_document_weighs_nothing() -> None:
    assert not _fit("").score(_clients(("size=micro",))).any()


def test_a_missing_document_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"expert\.yaml"):
        _fit(None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("offers:\n  pbx: {}\n  fax: {base: 1}\n", "line 3: 'fax'", id="unknown offer"),
        pytest.param("categories:\n  video: {base: 1}\n", "line 2: 'video'", id="unknown category"),
        pytest.param("services:\n  pbx: {}\n", "line 1: 'services'", id="unknown section"),
        pytest.param("offers:\n  pbx:\n    weight: 1\n", "line 3: 'weight'", id="unknown key"),
        pytest.param("offers:\n  pbx:\n    region: {x: 1}\n", "line 3: 'region'", id="unknown trait"),
        pytest.param("offers:\n  pbx:\n    size:\n      tiny: 1\n", "line 4: 'tiny'", id="unknown value"),
        pytest.param("offers:\n  pbx:\n    size:\n      unknown: 1\n", "line 4: 'unknown'", id="no segment"),
        pytest.param("offers:\n  pbx:\n    base: much\n", "line 3: 'base' must be a finite", id="text"),
        pytest.param("offers:\n  pbx:\n    base: true\n", "line 3: 'base' must be a finite", id="flag"),
        pytest.param("offers:\n  pbx:\n    base: .nan\n", "line 3: 'base' must be a finite", id="nan"),
        pytest.param("offers:\n  pbx: 3\n", "line 2: 'pbx' must be a mapping", id="no mapping"),
        pytest.param("offers:\n  pbx: {}\n  pbx: {}\n", "line 3", id="twice"),
        pytest.param("offers: [\n", "line 2", id="no YAML"),
        pytest.param("offers: !!python/object:os.system {}\n", "", id="a tag is only a tag"),
        pytest.param("- pbx\n", "must be a mapping", id="a list"),
    ],
)
def test_faults_name_the_line(text: str, said: str) -> None:
    if not said:
        assert not _fit(text).score(_clients(())).any()
        return
    with pytest.raises(ConfigError, match=r"expert\.yaml") as caught:
        _fit(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
