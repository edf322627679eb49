"""Evaluations: models judged on what followed a cut, with figures, tests and a report."""
