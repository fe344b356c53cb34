"""Print what a run of the study would do, what was done before, and what it will cost; run nothing."""

import os
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    DeploymentMethod,
    DeploymentSettings,
    OutputSettings,
    ResourceSettings,
)

from riskweave.jobs import job_log
from riskweave.tracking.plan import PlannedJob, plan


def jobs_of(
    config: dict, snakefile: str, *, cores: int, triggers: list[str], largest: int, software: dict
) -> list[PlannedJob]:
    """Return the jobs of the study, as Snakemake would run them: its own judgement, as `--summary` asks for it."""
    methods = frozenset(map(DeploymentMethod.parse_choice, software["deployment_method"]))
    with SnakemakeApi(OutputSettings(dryrun=True, quiet={Quietness.ALL}, enable_file_logging=False)) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=cores),
            config_settings=ConfigSettings(config=config),
            deployment_settings=DeploymentSettings(**software | {"deployment_method": methods}),
            snakefile=Path(snakefile),
        )
        settings = DAGSettings(
            rerun_triggers=frozenset(map(RerunTrigger.parse_choice, triggers)),
            max_checksum_file_size=largest,
            # Unfinished outputs are made again, as the profile says.
            force_incomplete=True,
        )
        built = workflow.dag(settings).workflow_api._workflow
        # Without lock: the run that asks for the plan holds it.
        built._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True)
        built._build_dag()
        found = [job for job in built.dag.jobs if not job.is_norun]
        places = {job: place for place, job in enumerate(found)}
        return [
            PlannedJob(
                rule=job.rule.name,
                wildcards=dict(job.wildcards),
                runs=built.dag.needrun(job),
                threads=job.threads,
                inputs=dict(job.input),
                params=dict(job.params),
                outputs=dict(job.output),
                after=tuple(places[other] for other in built.dag.dependencies[job] if other in places),
                gpus=job.resources.get("gpu", 0),
            )
            for job in found
        ]


with job_log(Path(snakemake.log[0])):
    params = snakemake.params
    jobs = jobs_of(
        snakemake.config,
        params.snakefile,
        cores=params.cores,
        triggers=params.triggers,
        largest=params.largest,
        software=params.software,
    )
    print(
        plan(
            jobs,
            study=params.study,
            results=Path(params.results),
            store=Path(params.store),
            cores=params.cores,
            cache=Path(params.cache),
            environment=os.environ,
        ),
        flush=True,
    )
