"""The study file: its blocks, the checks across them, and the matrix of experiments.

Light on purpose (no torch, no mlflow, no pandas): the Snakefile imports it. Each block has a module of its own, so that
a change of one block's code reruns only what reads that block.
"""
