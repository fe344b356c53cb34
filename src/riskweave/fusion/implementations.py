"""Which module implements which kind of fusion.

Imported by name when asked for, as the models are (`riskweave.survival.implementations`): no torch where there is no
network, and no retraining when the code of another fusion changes. This module imports nothing.
"""

__all__ = ["FUSIONS"]

FUSIONS = {
    "attention": "riskweave.fusion.attention",
    "early": "riskweave.fusion.early",
    "joint": "riskweave.fusion.joint",
    "late": "riskweave.fusion.late",
}
"""Kind of fusion to the module whose ``from_block`` makes it, from the block and what `build_fusion` of
`riskweave.fusion.registry` hands on."""
