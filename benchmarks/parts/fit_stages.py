"""One fit of the default recipe, stage by stage, for `benchmarks/training.py`; prints one JSON object."""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import replace

import numpy as np

from recsys.data.snapshot import take_snapshot
from recsys.models.popularity import Popularity
from training.pipelines.evaluation.cuts import known_at, parse_cut
from training.pipelines.fit import training_set
from training.pipelines.past import past_windows
from training.pipelines.recipe import load_recipe
from training.prepare.sources import open_dataset


def fit_once(data: str, as_of: str) -> dict[str, float]:
    """Fit in this process, stage by stage as `recsys-train fit` does; seconds of each and the peak memory."""
    marks = [("start", time.perf_counter())]
    dataset = open_dataset(data, skip_bad_rows=False)
    instant = parse_cut(as_of, dataset.meta.time_zone)
    dataset = known_at(dataset, instant)
    marks.append(("read_s", time.perf_counter()))
    training = training_set(dataset, take_snapshot(dataset, instant))
    marks.append(("snapshot_s", time.perf_counter()))
    recipe = load_recipe("default")
    past = past_windows(dataset, instant, recipe.horizon_days, recipe.past, np.random.default_rng(1))
    marks.append(("past_s", time.perf_counter()))
    recipe.make_main().fit(replace(training, past=past), np.random.default_rng(1))
    Popularity(recipe.fallback).fit(training, np.random.default_rng(1))
    marks.append(("models_s", time.perf_counter()))
    stages = {name: at - marks[place][1] for place, (name, at) in enumerate(marks[1:])}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {**stages, "total_s": sum(stages.values()), "rss_gb": peak, "n_windows": float(len(past))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("as_of")
    asked = parser.parse_args()
    print(json.dumps(fit_once(asked.data, asked.as_of)))
