"""The study report: question, cohort, comparison of the experiments, provenance and checklist on one page."""
