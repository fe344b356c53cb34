"""Time-to-event risk models from multimodal clinical records: the science behind the pipeline."""

__version__ = "0.1.0"
