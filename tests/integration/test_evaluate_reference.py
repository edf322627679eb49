"""The models on public data, from raw files to figures, against the points measured on the same protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.pipelines.evaluation.evaluate import EvaluationResult, evaluate
from training.prepare import gov_site_services, online_retail

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def retail(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    folder = tmp_path_factory.mktemp("online-retail")
    online_retail.prepare(reference_dir / "data" / "online_retail", folder / "data")
    models = ["popularity", "ease", "als"]
    return evaluate(str(folder / "data"), models, ["2011-06-10"], 92, 10, folder / "out", n_resamples=200)


@pytest.fixture(scope="module")
def site_services(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    folder = tmp_path_factory.mktemp("gov-site-services")
    gov_site_services.prepare(reference_dir / "data" / "gov_site_services", folder / "data")
    return evaluate(
        str(folder / "data"), ["popularity", "ease"], ["2024-07-01"], 92, 10, folder / "out", n_resamples=200
    )


def ndcg(result: EvaluationResult, model: str) -> float:
    return result.estimates[model]["ndcg"].value


def test_online_retail(retail: EvaluationResult) -> None:
    assert ndcg(retail, "popularity") == pytest.approx(0.098, abs=0.002)
    assert ndcg(retail, "ease") >= 0.146
    assert ndcg(retail, "als") >= 0.11


def test_site_services(site_services: EvaluationResult) -> None:
    assert ndcg(site_services, "popularity") == pytest.approx(0.29, abs=0.006)
    assert ndcg(site_services, "ease") >= 0.32


def test_the_same_clients_are_judged(retail: EvaluationResult, site_services: EvaluationResult) -> None:
    assert retail.n_clients == pytest.approx(1288, abs=10)
    assert site_services.n_clients == pytest.approx(670, abs=10)
