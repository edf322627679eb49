"""The results of an experiment: a report with plots, figures for programs, a table for a terminal."""
