"""Published cardiovascular risk scores: from raw inputs in units to a risk at the score's horizon.

Every function is vectorised, refuses who is outside the score's validity, and says why
(`riskweave.clinical_scores.intake.Scored`). None of them is fitted.
"""

from riskweave.clinical_scores.framingham import framingham, framingham_bmi
from riskweave.clinical_scores.intake import Scored
from riskweave.clinical_scores.pce import pce
from riskweave.clinical_scores.prevent import prevent
from riskweave.clinical_scores.score2 import score2, score2_by_age, score2_op

__all__ = ["Scored", "framingham", "framingham_bmi", "pce", "prevent", "score2", "score2_by_age", "score2_op"]
