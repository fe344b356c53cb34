"""What a model uses and what a feature does to the risk: importance, ablation, effects, attributions.

Asks a model only to predict: nothing here knows how it was made, but the adapter that opens a stored experiment.
"""
