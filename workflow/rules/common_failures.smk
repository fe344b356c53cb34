"""What happens to a run besides its jobs: the folder's lock, the end of jobs with their run, and what failures leave.

REQUIRED INPUTS: none.
OUTPUTS: .snakemake/riskweave/runs/, which process each run is; where trainings failed, two files beside it for the run
  that compares the others, until that has ended.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import yaml

from riskweave.failures import LeftOut, Missing, pending_rules, read_failure, write_left_out
from riskweave.files import write_text
from riskweave.folder_lock import began, claim_folder, known_runs
from riskweave.processes import end_with_run

# Failures without which the rest can be compared; the checks are of one endpoint and feature set each.
TRAININGS = ("pretrain_encoder", "train_encoder", "train_experiment", "train_endpoints")
CHECKS = ("check_inputs",)

# What compares trained experiments, and the goal that makes it.
COMPARED = {
    "evaluate_endpoint": "evaluate",
    "draw_evaluation": "evaluate",
    "judge_objectives": "evaluate",
    "explain_experiment": "explain",
    "draw_explanation": "explain",
    "divide_concordance": "explain",
    "draw_shapley": "explain",
    "draw_search": "searches",
    "collect_runs": "track",
    "report_study": "report",
}

# Options whose values may be longer than a word; a profile that gives them is handed on itself.
RESOURCES = (
    ["--resources", "--res"],
    ["--default-resources", "--default-res"],
    ["--set-resources"],
    ["--set-threads"],
)

# What the run that compares reads: names and endings.
COMPARISON_FILES = (("left_out", ".json"), ("config", ".yaml"))

# The signals that told this run to stop.
STOPPED = []


def say(text):
    print(text, file=sys.stderr, flush=True)


def begin_run():
    """Remove the lock of a killed run; let a run that another run started end with it."""
    if workflow.is_main_process:
        for line in claim_folder():
            say(line)
    end_with_run(known_runs())


def note_stops():
    """Note that the run is told to stop, before Snakemake does what it does then: to be called once it listens."""
    if threading.current_thread() is not threading.main_thread():
        return
    for told in (signal.SIGTERM, signal.SIGINT):
        follow = signal.getsignal(told)

        def stop(number, frame, follow=follow):
            STOPPED.append(number)
            follow(number, frame)

        if callable(follow):
            signal.signal(told, stop)


def end_failed_run():
    """Tell what failed and why; compare what did not, or at least keep the records of what finished."""
    if LEFT_OUT:
        return
    if STOPPED:
        # Jobs that were stopped with the run look as if they had been killed.
        say("The run was stopped: nothing is compared. What finished is kept, `snakemake` goes on from there.")
        collect_finished_runs()
        return
    pending = set(workflow.dag.needrun_jobs())
    causes = {job: cause_of(job, pending) for job in pending}
    reasons = {cause: reason_of(cause) for cause in causes.values()}
    failed = sorted(f"  {name_of(cause)}: {reason}" for cause, reason in reasons.items() if reason)
    if failed:
        say("\n".join(["What failed, and why:", *failed]))
    goals = sorted({COMPARED[job.rule.name] for job in pending if job.rule.name in COMPARED})
    comparable = all(reasons[cause] and cause.rule.name in (*TRAININGS, *CHECKS) for cause in causes.values())
    left_out = left_out_of(
        {job: f"{name_of(cause)}: {reasons[cause]}" for job, cause in causes.items()} if comparable else {}
    )
    if not (goals and left_out and workflow.execution_settings.keep_going and references_are_there(left_out)):
        collect_finished_runs()
    else:
        compare_others(goals, left_out)


def cause_of(job, pending):
    """Return the job that keeps a job from running: itself, or one that it needs."""
    needed = sorted((one for one in workflow.dag.job_dependencies(job) if one in pending), key=name_of)
    return cause_of(needed[0], pending) if needed else job


def name_of(job):
    """Return a job's rule and wildcards."""
    return " ".join([job.rule.name, *job.wildcards])


def reason_of(job):
    """Return why a job failed in this run; nothing where it did not run."""
    found = read_failure(job.log[0], since=began()) if job.log else None
    return found.reason if found else ""


def left_out_of(reasons):
    """Return the experiments and run records of trainings that did not finish."""
    experiments, records = [], []
    for job, reason in reasons.items():
        if job.rule.name in TRAININGS:
            records += [str(path) for path in job.output if Path(path).name == "run.json"]
        if job.rule.name == "train_experiment":
            experiments.append(Missing(job.wildcards.endpoint, job.wildcards.experiment, reason))
        if job.rule.name == "train_endpoints":
            experiments += [Missing(endpoint, job.wildcards.shared_experiment, reason) for endpoint in STUDY.endpoints]
    return LeftOut(tuple(sorted(experiments, key=str)), frozenset(records))


def collect_finished_runs():
    """Store the records of the jobs that did finish before another failed."""
    records = [record for record in run_records() if Path(record).is_file()]
    if records:
        arguments = ["collect", "--store", STORE, "--study", STUDY.study, *records]
        subprocess.run([sys.executable, "-m", "riskweave.tracking", *arguments], check=False)


def references_are_there(left_out):
    """Tell whether all endpoints have the experiment that the others are compared with."""
    lacking = sorted(e for e in STUDY.endpoints if left_out.has(e, STUDY.evaluation.reference))
    if lacking:
        say(f"Nothing is compared: the reference {STUDY.evaluation.reference} is missing for {', '.join(lacking)}.")
    return not lacking


def compare_others(goals, left_out):
    """Run what compares and reports experiments, without those that failed: this run ends with their failure."""
    count = len(left_out.experiments)
    with comparison(goals, left_out) as command:
        if not compares_alone(command):
            collect_finished_runs()
            return
        say(f"Going on with what did not fail ({', '.join(goals)}); experiments left out: {count}.")
        if subprocess.run(command, check=False).returncode:
            say("The comparison without the failed experiments failed too; see above.")
        else:
            say(f"Experiments missing from what was compared: {count}. Leaderboard and report name them.")


@contextmanager
def comparison(goals, left_out):
    """Give the command that compares, with the files that it reads; these are this run's own, and go after it."""
    # Runs of several studies may be at work in one folder.
    place = f"{STUDY.study}-{os.getpid()}"
    named, settings = (FINGERPRINTS.with_name(f"{name}-{place}{end}") for name, end in COMPARISON_FILES)
    try:
        write_left_out(left_out, named)
        plain = json.loads(json.dumps(config, default=str))
        write_text(yaml.safe_dump(plain, sort_keys=False), settings)
        command = [sys.executable, "-m", "snakemake", *goals, "--snakefile", workflow.main_snakefile, *machine()]
        # This run still holds the lock.
        yield [*command, "--nolock", "--configfile", str(settings), "--config", f"left_out={named}"]
    finally:
        for file in (named, settings):
            file.unlink(missing_ok=True)


def compares_alone(command):
    """Tell whether a command would compare, and do nothing else: what was done is not to be done again."""
    done = subprocess.run([*command, "--summary"], check=False, capture_output=True, text=True)
    if STOPPED:
        return False
    if done.returncode:
        say(f"Nothing is compared, as the comparison cannot be planned:\n{done.stderr}")
        return False
    others = sorted(pending_rules(done.stdout) - set(COMPARED))
    if others:
        say(f"Nothing is compared, as that would also run {', '.join(others)}. Mend what failed, and run snakemake.")
    return not others


def software():
    """Return where this run's jobs get their software from, as plain values: another place runs all of them again."""
    given = workflow.deployment_settings
    found = {
        name: str(getattr(given, name))
        for name in ("conda_prefix", "conda_base_path", "apptainer_prefix", "apptainer_args")
        if getattr(given, name)
    }
    return {"deployment_method": choices(given.deployment_method), **found}


def choices(members):
    """Return members of one of Snakemake's enumerations in the words of its options."""
    return sorted(member.item_to_choice() for member in members)


def machine():
    """Return those of this run's arguments that say where and how jobs run, and what makes one run again."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (["--profile"], ["--workflow-profile"], ["--executor", "-e"], ["--cores", "-c"], ["--jobs", "-j"]):
        parser.add_argument(*names, nargs="?", const="all")
    for names in RESOURCES:
        parser.add_argument(*names, nargs="*")
    given = vars(parser.parse_known_args(sys.argv[1:])[0])
    # However they were given: these have several names, and `--use-conda` is one of them.
    given |= software()
    given["rerun_triggers"] = choices(workflow.dag_settings.rerun_triggers)
    given["max_checksum_file_size"] = str(workflow.dag_settings.max_checksum_file_size)
    given["latency_wait"] = str(workflow.execution_settings.latency_wait)
    words = []
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, str):
            # Of one word: a value may begin with a dash.
            words.append(f"{option}={value}")
        elif value:
            words += [option, *value]
    return words


begin_run()
