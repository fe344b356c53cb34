"""The ways to run a deployed model that `benchmarks/deployment.py` compares; each in a process of its own."""
