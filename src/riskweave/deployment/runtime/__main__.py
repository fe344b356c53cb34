"""``python -m riskweave.deployment.runtime``: the same as the command ``riskweave``."""

from riskweave.deployment.runtime.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    raise SystemExit(main())
