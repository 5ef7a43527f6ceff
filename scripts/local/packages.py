"""Checks what `sam build` made: sizes, the processor of native code, and bytecode that Lambda's Python takes as it is.

python -m scripts.local.packages arm64 [FOLDER]     `make check-build` builds and runs this
"""

import _imp
import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.local.sam import BUILT
from scripts.paths import ROOT

MB = 1024 * 1024
# What Lambda allows a function and its layers together, unzipped.
LIMIT_MB = 250
LAYER = "CommonLayer"
# ELF's numbers for the processors that Lambda has, by SAM's names.
MACHINES = {"arm64": 0xB7, "x86_64": 0x3E}
# What Python 3.13 begins its bytecode with, and the name that it looks for it under.
MAGIC = (3571).to_bytes(2, "little") + b"\r\n"
TAG = "cpython-313"
# The flags of bytecode that belongs to a source of a certain hash, which Python does not check.
UNCHECKED_HASH = (1).to_bytes(4, "little")
# A package's size may differ from the documented one by this share.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Package:
    """What was built for a function or the layer."""

    name: str
    mb: float
    bytecode_mb: float
    libraries: int
    faults: tuple[str, ...]


def machine(file: Path) -> int | None:
    """The processor that a file is for, by ELF's number; None if it is not native code for Linux."""
    with file.open("rb") as opened:
        header = opened.read(20)
    return int.from_bytes(header[18:20], "little") if header.startswith(b"\x7fELF") and len(header) == 20 else None


def bytecode_fault(source: Path) -> str | None:
    """Why Lambda's Python would compile a module at each cold start, or run something else than its source."""
    compiled = source.parent / "__pycache__" / f"{source.stem}.{TAG}.pyc"
    if not compiled.is_file():
        return "has no bytecode"
    header = compiled.read_bytes()[:16]
    if header[:4] != MAGIC:
        return "has the bytecode of another Python"
    if header[4:8] != UNCHECKED_HASH:
        return "has bytecode that Python checks first"
    if header[8:] != _imp.source_hash(int.from_bytes(MAGIC, "little"), source.read_bytes()):
        return "has the bytecode of another source"
    return None


def inspect(folder: Path, architecture: str) -> Package:
    """The package in a folder, with all its faults."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    machines = {path: found for path in files if (found := machine(path)) is not None}
    faults = [
        f"{path.relative_to(folder)} is not for {architecture}"
        for path, found in machines.items()
        if found != MACHINES[architecture]
    ]
    faults += [
        f"{path.relative_to(folder)} {fault}"
        for path in files
        if path.suffix == ".py" and (fault := bytecode_fault(path)) is not None
    ]
    if not any(path.suffix == ".py" for path in files):
        faults.append("there is no Python in it")
    bytecode = sum(path.stat().st_size for path in files if path.suffix == ".pyc")
    return Package(
        folder.name,
        sum(path.stat().st_size for path in files) / MB,
        bytecode / MB,
        len(machines),
        tuple(faults),
    )


def documented() -> dict[str, float]:
    """The sizes in docs/deploy.md, in MB by the resource's name."""
    rows = re.findall(
        r"^\| `(\w+(?:Function|Layer))` \| (\d+(?:\.\d+)?) \|", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE
    )
    return {name: float(mb) for name, mb in rows}


def check(folder: Path, architecture: str, sizes: dict[str, float]) -> Iterator[tuple[Package, list[str]]]:
    """Each package of a build with what is wrong with it: its own faults, and its size against limit and documents."""
    packages = [inspect(path, architecture) for path in sorted(folder.iterdir()) if path.is_dir()]
    layer = sum(package.mb for package in packages if package.name == LAYER)
    for package in packages:
        wrong = list(package.faults)
        if package.name != LAYER and package.mb + layer > LIMIT_MB:
            wrong.append(f"with the layer it has {package.mb + layer:.0f} MB; Lambda allows {LIMIT_MB}")
        said = sizes.get(package.name)
        if said is None:
            wrong.append("docs/deploy.md does not name its size")
        elif abs(package.mb - said) > TOLERANCE * said:
            wrong.append(f"it has {package.mb:.1f} MB; docs/deploy.md says {said:g}")
        yield package, wrong
    for name in sorted(sizes.keys() - {package.name for package in packages}):
        yield Package(name, 0, 0, 0, ()), ["it was not built"]


def main() -> None:
    """Print a line for each package and what is wrong with it; fail if anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", choices=[*MACHINES])
    parser.add_argument("folder", type=Path, nargs="?", default=BUILT)
    told = parser.parse_args()
    failed = False
    for package, wrong in check(told.folder, told.architecture, documented()):
        print(
            f"{package.name:18} {package.mb:6.1f} MB, {package.bytecode_mb:5.1f} of them bytecode; "
            f"{package.libraries:2} native libraries"
        )
        for fault in wrong:
            print(f"  {fault}")
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
