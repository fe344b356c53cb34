"""Whether ensembles have the members they name, and whether the packages that models need are installed."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from riskweave.errors import nearest

if TYPE_CHECKING:
    from riskweave.study.study import Study

__all__ = ["check_extras", "check_members"]

_SCIKIT_SURVIVAL = ("random_survival_forest", "gradient_boosting")


def check_members(study: "Study") -> list[str]:
    """Find members of stacked models that no block defines, or that are ensembles themselves."""
    return list(_problems(study))


def _problems(study: "Study") -> Iterator[str]:
    single = [name for name, block in study.models.items() if block.kind != "stacked"]
    for name, block in study.models.items():
        members = getattr(block, "members", [])
        key = f"models.{name}.members"
        for member in dict.fromkeys(members):
            if members.count(member) > 1:
                yield f"{key}: names {member} twice. Name it once"
            if member not in study.models:
                yield f"{key}: there is no model {member!r}.{nearest(member, single)} Allowed: {', '.join(single)}"
            elif member not in single:
                yield f"{key}: {member} is an ensemble (kind stacked) itself. Name its members instead"


def check_extras(study: "Study") -> list[str]:
    """Find models of experiments, and members of these, that need an extra of the package which is not installed."""
    if find_spec("sksurv") is not None:
        return []
    used = {name for block in study.experiments.values() for name in block.models}
    used |= {member for name in used for member in study.members(name)}
    return [
        f"models.{name}: kind {block.kind} needs scikit-survival, which is not installed. Install the extra: "
        "pip install 'riskweave[forest]' (scikit-survival is GPL-3), or remove the model from the study"
        for name, block in study.models.items()
        if name in used and block.kind in _SCIKIT_SURVIVAL
    ]
