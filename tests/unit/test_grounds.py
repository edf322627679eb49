"""What is said of an offer is the strongest of what is true and counted."""

from __future__ import annotations

import numpy as np

from recsys.models.base import EvidenceKind
from recsys.models.grounds import Grounds

SUBJECTS = ("pbx", "sms", "vpn", "crm")


def said(strengths: list[float], counts: list[int], rows: list[int], n_most: int) -> list[str]:
    grounds = Grounds(EvidenceKind.HOLDING, SUBJECTS, np.array([strengths]).T, np.array([counts]).T)
    found = list(grounds.strongest(rows, 0, n_most))
    assert [one.n_clients for one in found] == [counts[SUBJECTS.index(one.subject)] for one in found]
    return [one.subject for one in found]


def test_the_strongest_are_said_first_and_no_more_than_asked_for() -> None:
    strengths, counts = [0.1, 0.4, 0.3, 0.2], [20, 30, 40, 50]
    assert said(strengths, counts, [0, 1, 2, 3], 2) == ["sms", "vpn"]
    assert said(strengths, counts, [0, 3], 2) == ["crm", "pbx"]
    assert said(strengths, counts, [], 2) == []


def test_nothing_is_said_without_clients_or_of_what_does_not_help() -> None:
    assert said([0.9, 0.0, -0.1, 0.2], [0, 30, 40, 50], [0, 1, 2, 3], 4) == ["crm"]


def test_of_equals_the_first_is_said() -> None:
    assert said([0.3, 0.3, 0.3, 0.3], [20, 20, 20, 20], [2, 0, 3], 2) == ["vpn", "pbx"]
