"""The typed language of conditions: written as data, compiled into arrays, said as sentences."""

from recsys.decision.conditions.compile import ConditionSet, QuestionSet, Truth
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.questions import Question
from recsys.decision.conditions.sentences import clause, sentence
from recsys.decision.conditions.syntax import Condition

__all__ = ["Condition", "ConditionSet", "Moment", "Question", "QuestionSet", "Truth", "clause", "sentence"]
