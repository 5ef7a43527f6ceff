"""Pins the dependencies: what developers install, and from it what each function ships.

    python -m scripts.lock           resolve pyproject.toml anew and write all the files
    python -m scripts.lock --check   say whether the functions' files still follow from pyproject.toml and the pins

`scripts/requirements.txt` is what `make run` installs, `tests/requirements.txt` what the tests and linters add,
`scripts/sam-requirements.txt` the SAM CLI, which is installed apart from all else. A function's file is the closure of
its extra, for the Lambda runtime, at the versions that were tested here.
"""

import argparse
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.paths import ROOT

LOCKS = {
    "local": ROOT / "scripts/requirements.txt",
    "dev": ROOT / "tests/requirements.txt",
    "sam": ROOT / "scripts/sam-requirements.txt",
}
# What markers are judged by: the runtime in template.yaml, not the machine that this runs on.
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
# Part of the Lambda runtime.
IN_THE_RUNTIME = {"boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"}


def functions() -> list[str]:
    """The names of the functions; each has an extra of the same name."""
    return sorted(handler.parent.name for handler in (ROOT / "functions").glob("*/handler.py"))


def closure(extra: str) -> set[str]:
    """Everything that an extra of rollcall needs at run time, from the metadata of what is installed here."""
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


def pins(lock: Path) -> dict[str, str]:
    """The lines of a lock file for the Lambda runtime, by name."""
    lines: dict[str, str] = {}
    for line in lock.read_text().splitlines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({**RUNTIME, "extra": ""}):
            lines[canonicalize_name(requirement.name)] = f"{requirement.name}{requirement.specifier}"
    return lines


def function_requirements(function: str) -> str:
    """What a function's requirements.txt has to say."""
    pinned = pins(LOCKS["local"])
    return "".join(f"{pinned[name]}\n" for name in sorted(closure(function)))


def resolve() -> None:
    """Write the lock files; what `make run` installs with the versions of what the tests add."""
    options = ["--quiet", "--universal", "--python-version=3.11", "--no-header", "--no-annotate", "--no-emit-index-url"]
    compile_ = [sys.executable, "-m", "uv", "pip", "compile", *options, "pyproject.toml"]
    subprocess.run([*compile_, "--extra=dev", "-o", LOCKS["dev"]], cwd=ROOT, check=True)
    subprocess.run([*compile_, "--extra=local", "-c", LOCKS["dev"], "-o", LOCKS["local"]], cwd=ROOT, check=True)
    subprocess.run([*compile_, "--extra=sam", "-o", LOCKS["sam"]], cwd=ROOT, check=True)


def drift() -> list[str]:
    """The functions whose requirements.txt is not what it has to be."""
    return [
        function
        for function in functions()
        if (ROOT / "functions" / function / "requirements.txt").read_text() != function_requirements(function)
    ]


def main() -> int:
    """Write or check; the exit status is 1 where a check finds drift."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        drifted = drift()
        for function in drifted:
            print(f"functions/{function}/requirements.txt is stale: run python -m scripts.lock", file=sys.stderr)
        return bool(drifted)
    resolve()
    for function in functions():
        (ROOT / "functions" / function / "requirements.txt").write_text(function_requirements(function))
    return 0


if __name__ == "__main__":
    sys.exit(main())
