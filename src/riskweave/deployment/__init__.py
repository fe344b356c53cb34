"""Deployment: a fitted experiment as one WebAssembly module, and the bundle around it."""
