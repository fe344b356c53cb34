"""How good the predictions are: concordance, Brier score, calibration, comparisons, verdicts and their figures.

Reads prediction tables and cohort tables alone: no model, no feature.
"""
