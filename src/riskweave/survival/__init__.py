"""Time-to-event models: from feature tables and embeddings to out-of-fold predictions."""
