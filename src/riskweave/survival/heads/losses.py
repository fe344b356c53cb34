"""The losses of pycox, without the warnings of its first import."""

import warnings

with warnings.catch_warnings():
    # pycox's docstrings hold "\s"; Python warns when it compiles them, that is on the first import of an installation.
    warnings.filterwarnings("ignore", message="invalid escape sequence")
    warnings.filterwarnings("ignore", message='"\\\\s" is an invalid escape sequence')
    from pycox.models.loss import (
        CoxCCLoss,
        CoxPHLossSorted,
        DeepHitLoss,
        DeepHitSingleLoss,
        NLLLogistiHazardLoss,
        NLLMTLRLoss,
        NLLPCHazardLoss,
        NLLPMFLoss,
        nll_pmf_cr,
    )

__all__ = [
    "CoxCCLoss",
    "CoxPHLossSorted",
    "DeepHitLoss",
    "DeepHitSingleLoss",
    "NLLLogistiHazardLoss",
    "NLLMTLRLoss",
    "NLLPCHazardLoss",
    "NLLPMFLoss",
    "nll_pmf_cr",
]
