"""Which module implements which kind of fusion.

Imported by name when asked for, as the models are (`riskweave.survival.implementations`): no torch where there is no
network, and no retraining when the code of another fusion changes. This module imports nothing.
"""

__all__ = ["FUSIONS"]

FUSIONS = {
    "early": "riskweave.fusion.early",
    "late": "riskweave.fusion.late",
}
"""Kind of fusion to the module whose ``from_block(fusion, *, build, causes, seed, threads, **further)`` makes it;
`further` is what `riskweave.fusion.registry.build_fusion` hands on."""
