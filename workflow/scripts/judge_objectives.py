"""Judge the study's objectives."""
