"""EHR features: static columns of the subject table and aggregates of dated events.

DuckDB reads, selects and sorts the events of some subjects at a time, at or before their index time (`history`); NumPy
aggregates them (`groups`, `aggregates`, `units`, `parts`); when all are counted, it is known which columns there are
(`columns`), and the table is written (`table`). Memory depends on neither the number of subjects nor of events.
"""

from riskweave.modalities.ehr.table import aggregate_events

__all__ = ["aggregate_events"]
