"""Measures cold starts: the import of each function's handler in a new process, compared with a bare boto3 client.

Times are CPU times. Each round starts all functions in turn. The results are medians over the rounds, and each ratio
compares measurements of one run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from scripts.bench.report import Target
from scripts.local.deploy import template
from scripts.paths import ROOT

BARE = "boto3.client"
MB = 1024 * 1024
PSEUDO_PARAMETERS = {
    "StackName": "bench",
    "AccountId": "000000000000",
    "Region": "us-east-1",
    "URLSuffix": "amazonaws.com",
}
# The bare client, with which each function is compared.
_BARE_CODE = 'import boto3; boto3.client("dynamodb")'
# At its start the consumer would check the layout in the table. There is no table here.
_BEFORE = {"consumer": "import rollcall.stack.layout; rollcall.stack.layout.hold_layout = lambda *_: None\n"}

# Prefixes of variables that are not passed on: those of an AWS account, of test runs, and of Python's bytecode.
_NOT_KEPT = ("AWS_", "COV_", "POWERTOOLS_", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


@dataclass(frozen=True)
class ColdStart:
    """The cold start of a function."""

    function: str
    milliseconds: float
    """CPU time with the bytecode on disk."""
    over_bare: float
    compiling_milliseconds: float
    """CPU time without any bytecode, that of the standard library included."""
    compiling_over_bare: float
    modules: int
    package_mb: float | None
    """Size of the package that `sam build` makes, without the layer; None if `sam build` was not run."""


@dataclass(frozen=True)
class ColdStarts:
    """The cold starts of all functions. The first one is the bare client."""

    rounds: int
    starts: list[ColdStart]
    layer_mb: float | None

    @property
    def built(self) -> bool:
        """Whether `sam build` was run."""
        return any(start.package_mb is not None for start in self.starts)

    @property
    def targets(self) -> list[Target]:
        """The targets for these figures."""
        return [
            Target("consumer ÷ bare client", start.over_bare, 1.3)
            for start in self.starts
            if start.function == "consumer"
        ]

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return {**asdict(self), "targets": [target.figures() for target in self.targets]}


def functions() -> dict[str, str]:
    """The name in the template of each function, by its folder under functions/."""
    return {
        Path(resource["Properties"]["CodeUri"]).name: name
        for name, resource in template()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def environment(*folders: str) -> dict[str, str]:
    """The environment of functions in the template, with the defaults of its parameters and without AWS credentials."""
    whole = template()
    named = functions()
    variables = dict(whole["Globals"]["Function"]["Environment"]["Variables"])
    for folder in folders:
        variables |= whole["Resources"][named[folder]]["Properties"]["Environment"]["Variables"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_KEPT)}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **{name: _text(value, whole) for name, value in variables.items()},
    }


def _text(value: Any, whole: Mapping[str, Any]) -> str:
    if not isinstance(value, dict):
        return str(value)
    ((function, argument),) = value.items()
    if function == "Fn::Sub":
        for name, text in PSEUDO_PARAMETERS.items():
            argument = argument.replace(f"${{AWS::{name}}}", text)
        return str(argument)
    if argument in whole["Parameters"]:
        return str(whole["Parameters"][argument]["Default"])
    if argument in whole["Resources"] and whole["Resources"][argument]["Type"] == "AWS::SQS::Queue":
        return f"https://sqs.us-east-1.amazonaws.com/000000000000/{argument}"
    return str(argument).replace("AWS::StackName", "bench")


def cold(rounds: int, only: Sequence[str] = ()) -> ColdStarts:
    """Start every function, or only those in `only`, round by round."""
    logical = functions()
    code = {BARE: _BARE_CODE}
    code |= {name: f"{_BEFORE.get(name, '')}import functions.{name}.handler" for name in sorted(only or logical)}
    environments = {name: environment(*([] if name == BARE else [name])) for name in code}
    warm: dict[str, list[float]] = {name: [] for name in code}
    compiling: dict[str, list[float]] = {name: [] for name in code}
    modules: dict[str, int] = {}
    with TemporaryDirectory() as filled, TemporaryDirectory() as empty:
        for name in code:
            start(code[name], {**environments[name], "PYTHONPYCACHEPREFIX": filled})
        for _ in range(rounds):
            for name in code:
                took, modules[name] = start(code[name], {**environments[name], "PYTHONPYCACHEPREFIX": filled})
                warm[name].append(took)
                uncompiled = {**environments[name], "PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
                compiling[name].append(start(code[name], uncompiled)[0])
    took_warm, took_compiling = median(warm[BARE]), median(compiling[BARE])
    return ColdStarts(
        rounds,
        [
            ColdStart(
                function=name,
                milliseconds=1000 * median(warm[name]),
                over_bare=median(warm[name]) / took_warm,
                compiling_milliseconds=1000 * median(compiling[name]),
                compiling_over_bare=median(compiling[name]) / took_compiling,
                modules=modules[name],
                package_mb=_built_mb(logical[name]) if name in logical else None,
            )
            for name in code
        ],
        layer_mb=_built_mb("CommonLayer"),
    )


def start(code: str, environment: Mapping[str, str]) -> tuple[float, int]:
    """Run code in a new Python process; returns its CPU seconds and the number of modules that it loaded."""
    program = (
        "import sys, time\nloaded, started = set(sys.modules), time.process_time()\n"
        f"{code}\n"
        "took = time.process_time() - started\n"
        "print(f'[{took}, {len(set(sys.modules) - loaded)}]')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(environment))
    took, modules = json.loads(done.stdout.splitlines()[-1])
    return took, modules


def _built_mb(name: str) -> float | None:
    folder = ROOT / ".aws-sam/build" / name
    if not folder.is_dir():
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MB
