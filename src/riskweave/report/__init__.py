"""The cohort report: who is in the study, what is known about them, and no count that tells on a few of them."""
