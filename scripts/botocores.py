"""Runs the tests of the AWS clients on several releases of boto3: the oldest supported, the pinned and the newest one.

Lambda's runtime brings boto3, and Lambda chooses the release. Each release is installed into a folder of its own, which
comes before the packages of the environment that runs this. The emulator runs without it.
"""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from scripts.local.ministack import MiniStack, free_port
from scripts.paths import ROOT

# The first release that knows the conditional writes and deletes of S3, which the archive needs.
OLDEST = "1.35.69"
TESTS = "tests/integration/test_aws.py"


def main() -> int:
    """Run the tests on each release; returns 1 if any failed."""
    outcomes: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with MiniStack(free_port(), folder / "log") as stack:
            for release, wanted in (("oldest", f"=={OLDEST}"), ("pinned", f"=={version('boto3')}"), ("newest", "")):
                packages = folder / release
                install(packages, wanted)
                outcomes[release] = passes(packages, stack.endpoint)
    for release, passed in outcomes.items():
        print(f"{release}: {'passed' if passed else 'failed'}")
    return int(not all(outcomes.values()))


def install(folder: Path, wanted: str) -> None:
    """Install a release of boto3 with all that it needs; `wanted` is as in a requirement, such as `==1.35.69`."""
    # boto3 alone would take the newest botocore of its line.
    packages = (f"{package}{wanted}" for package in ("boto3", "botocore"))
    command = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder), *packages)
    subprocess.run([sys.executable, *command], check=True)


def passes(packages: Path, dynamodb: str) -> bool:
    """Whether the tests pass with these packages before all others."""
    environment = os.environ | {"PYTHONPATH": str(packages), "ROLLCALL_TEST_DYNAMODB": dynamodb}
    found = subprocess.run(
        [sys.executable, "-c", "from importlib.metadata import version; print('botocore', version('botocore'))"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    print(found.stdout, end="", flush=True)
    command = ("-m", "pytest", "--quiet", "-p", "no:cacheprovider", TESTS)
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
