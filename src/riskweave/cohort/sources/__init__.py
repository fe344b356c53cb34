"""Sources of cohorts: a module each, with a function ``read_<source>`` that returns the canonical tables."""
