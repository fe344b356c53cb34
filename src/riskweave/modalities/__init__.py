"""Modalities: how raw data of one kind become a feature table (and, for encoders, an array of signals or pixels)."""
