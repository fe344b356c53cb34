"""Plain PyTorch networks: they know tensors, no files, no outcomes and no training."""
