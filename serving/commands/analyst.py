"""The process that computes figures for a server: a JSON question on stdin, a JSON answer on stdout.

See `serving.services.analysis.Analysis`, which asks. The database's address comes with the question, for
the arguments of a process can be read by everybody on the machine.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime

import orjson

from recsys.experiments.experiment import Experiment
from recsys.experiments.life import Standing
from serving.services.experiment_results import judge_each, plan
from serving.storage.sql import SqlStore

_NICENESS = 10


def main() -> None:
    """Answer one question; requests come first."""
    os.nice(_NICENESS)
    question = orjson.loads(sys.stdin.buffer.read())
    now = datetime.fromisoformat(question["now"])
    store = SqlStore(question["database_url"])
    try:
        if "plan" in question:
            experiment = Experiment.model_validate_json(question["plan"])
            answer: object = plan(store, experiment, now, question["share_triggered"]).as_json()
        else:
            standings = [Standing.model_validate_json(document) for document in question["standings"]]
            answer = judge_each(store, standings, now)
    finally:
        store.close()
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main()
