"""Leak gates: what in a cohort would let a model see what it is to predict, found before any training."""
