"""Encoders of raw recordings, notes and events: cross-fitted embeddings that are honest and comparable."""
