"""The cohort: sources, index time, outcomes with competing events, folds and attrition."""
