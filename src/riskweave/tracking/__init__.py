"""What a training step records, and the MLflow store made from the records. Light: only `store` imports mlflow."""

from riskweave.tracking.record import FoldRecord, RunRecord, read_record, read_records, recording

__all__ = ["FoldRecord", "RunRecord", "read_record", "read_records", "recording"]
