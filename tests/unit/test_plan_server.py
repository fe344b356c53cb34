"""The plan asks the team's server, MLflow's own, what was trained before by others."""

from mlflow_server import environment_of, free_port, serving
from tracked_steps import make_metrics, make_record

from riskweave.tracking.earlier import TAGS
from riskweave.tracking.plan import _stored
from riskweave.tracking.record import read_record, write_record
from riskweave.tracking.sending import send_or_keep
from riskweave.tracking.serving import add_user
from riskweave.tracking.store import collect

PARTS = {part: f"{part} of it" for part in TAGS}


def test_a_colleagues_run_is_found_once_and_a_server_that_is_down_is_told_of(tmp_path):
    port = free_port()
    address, store = f"http://127.0.0.1:{port}", tmp_path / "store"
    path = make_record(tmp_path)
    run = read_record(path)
    run.provenance |= {"training": {**PARTS, "outputs": {}}, "user": "ada"}
    write_record(run, path)
    collect(records=[path], directory=store, study="demo", metrics={"mace": make_metrics(tmp_path / "metrics.parquet")})
    with serving(tmp_path, port):
        for name in ("ada", "ben"):
            add_user(directory=tmp_path / "team", address=address, name=name, credentials=tmp_path / name)
        send_or_keep(directory=store, study="demo", environment=environment_of(address, tmp_path / "ada"))
        ben = environment_of(address, tmp_path / "ben")
        elsewhere, untold = _stored(tmp_path / "no store", [PARTS["settings"], "other"], ben)
        both, _ = _stored(store, [PARTS["settings"]], ben)
    assert (untold, elsewhere["other"]) == ([], [])
    (found,) = elsewhere[PARTS["settings"]]
    assert (dict(found.parts), found.study, found.user, found.status) == (PARTS, "demo", "ada", "current")
    assert both[PARTS["settings"]] == [found]
    _, untold = _stored(store, [PARTS["settings"]], ben)
    assert "cannot be reached" in untold[0]
