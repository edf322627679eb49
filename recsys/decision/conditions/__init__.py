"""The typed language of conditions: written as data, compiled into arrays, said as sentences."""

from recsys.decision.conditions.compile import ConditionSet, Truth
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.sentences import clause, sentence
from recsys.decision.conditions.syntax import Condition

__all__ = ["Condition", "ConditionSet", "Moment", "Truth", "clause", "sentence"]
