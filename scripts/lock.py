"""Pins the dependencies of developers and of each function.

    python -m scripts.lock           resolve pyproject.toml again and write all requirements files
    python -m scripts.lock --check   check that the functions' files match pyproject.toml and the pins

`make run` installs `scripts/requirements.txt`. The tests and linters also need `tests/requirements.txt`. The SAM CLI
has a virtual environment of its own, with `scripts/sam-requirements.txt`, and the MiniStack that runs what SAM built
has another one, with `scripts/runtime-requirements.txt`. So have the SDKs that `rollcall sdks` runs, with
`scripts/sdks-requirements.txt`; those for node and browsers are pinned in `scripts/sdks/node/package-lock.json`.
`functions/page/charts-requirements.txt` pins the wheel that the page's chart library is taken out of, and nothing
installs it. A function's requirements.txt has all packages that the function's extra needs in the Lambda runtime, at
the versions that the tests use.

Each pin has the hashes of all files of its release, so that it is the same for every platform and Python.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.paths import ROOT

LOCKS = {
    "local": ROOT / "scripts/requirements.txt",
    "dev": ROOT / "tests/requirements.txt",
    "sam": ROOT / "scripts/sam-requirements.txt",
    "runtime": ROOT / "scripts/runtime-requirements.txt",
    "sdks": ROOT / "scripts/sdks-requirements.txt",
    "charts": ROOT / "functions/page/charts-requirements.txt",
}
# Markers are evaluated for the runtime in template.yaml, not for this machine.
RUNTIME = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "aarch64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.13.0",
    "python_version": "3.13",
    "sys_platform": "linux",
}
# Packages that the Lambda runtime has.
IN_THE_RUNTIME = {"boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"}
# Where package.json says which SDKs of node and browsers are run, and package-lock.json pins all that they need.
NODE = ROOT / "scripts/sdks/node"
# What npm notes of a package and nothing needs: whence it came, and whom to pay.
LEFT_OUT = ("resolved", "funding")


def functions() -> list[str]:
    """The names of the functions. Each function has an extra of the same name."""
    return sorted(handler.parent.name for handler in (ROOT / "functions").glob("*/handler.py"))


def closure(extra: str) -> set[str]:
    """The packages that an extra of rollcall needs in the runtime, from the metadata of the installed packages."""
    found: set[str] = set()
    waiting = [Requirement(f"rollcall[{extra}]")]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if str(requirement) in seen or name in IN_THE_RUNTIME:
            continue
        seen.add(str(requirement))
        if name != "rollcall":
            found.add(name)
        extras = {"", *map(canonicalize_name, requirement.extras)}
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({**RUNTIME, "extra": extra}) for extra in extras):
                waiting.append(needed)
    return found


def read(lock: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """The pins of a requirements file, each with its hashes."""
    for line in lock.read_text().replace("\\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        yield Requirement(requirement), hashes


def pins(lock: Path) -> dict[str, str]:
    """The entries of a lock file for the Lambda runtime, by name."""
    entries: dict[str, str] = {}
    for requirement, hashes in read(lock):
        if requirement.marker is None or requirement.marker.evaluate({**RUNTIME, "extra": ""}):
            lines = [f"{requirement.name}{requirement.specifier}", *(f"    --hash={each}" for each in hashes)]
            entries[canonicalize_name(requirement.name)] = " \\\n".join(lines)
    return entries


def function_requirements(function: str) -> str:
    """The text that a function's requirements.txt has to have."""
    pinned = pins(LOCKS["local"])
    return "".join(f"{pinned[name]}\n" for name in sorted(closure(function)))


def resolve() -> None:
    """Write the lock files. `make run` and the tests get the same versions."""
    options = ["--quiet", "--universal", "--python-version=3.11", "--generate-hashes"]
    options += ["--no-header", "--no-annotate", "--no-emit-index-url"]
    compile_ = [sys.executable, "-m", "uv", "pip", "compile", *options, "pyproject.toml"]
    subprocess.run([*compile_, "--extra=dev", "-o", LOCKS["dev"]], cwd=ROOT, check=True)
    for extra in ("local", "runtime"):
        subprocess.run([*compile_, f"--extra={extra}", "-c", LOCKS["dev"], "-o", LOCKS[extra]], cwd=ROOT, check=True)
    for extra in ("sam", "sdks"):
        subprocess.run([*compile_, f"--extra={extra}", "-o", LOCKS[extra]], cwd=ROOT, check=True)
    subprocess.run([*compile_, "--no-deps", "--extra=charts", "-o", LOCKS["charts"]], cwd=ROOT, check=True)


def resolve_node(npm: str) -> None:
    """Write package-lock.json, with the hashes of all packages. Like the other locks, it names no registry."""
    command = [npm, "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run([*command, "--omit-lockfile-registry-resolved=true"], cwd=NODE, check=True)
    file = NODE / "package-lock.json"
    locked = json.loads(file.read_text())
    for package in locked["packages"].values():
        for name in LEFT_OUT:
            package.pop(name, None)
    file.write_text(json.dumps(locked, indent=2, ensure_ascii=False) + "\n")


def drift() -> list[str]:
    """The functions whose requirements.txt differs from `function_requirements`."""
    return [
        function
        for function in functions()
        if (ROOT / "functions" / function / "requirements.txt").read_text() != function_requirements(function)
    ]


def main() -> int:
    """Write or check the files; returns the exit status, 1 if a check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        drifted = drift()
        for function in drifted:
            print(f"functions/{function}/requirements.txt is stale: run python -m scripts.lock", file=sys.stderr)
        return bool(drifted)
    resolve()
    if npm := shutil.which("npm"):
        resolve_node(npm)
    else:
        print("scripts/sdks/node/package-lock.json stays as it is: there is no npm here", file=sys.stderr)
    for function in functions():
        (ROOT / "functions" / function / "requirements.txt").write_text(function_requirements(function))
    return 0


if __name__ == "__main__":
    sys.exit(main())
