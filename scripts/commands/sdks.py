"""`rollcall sdks`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from rollcall.access.api_keys import ApiKeys, key_id_of
from rollcall.core.limits import Limit
from rollcall.core.projects import DEFAULT
from rollcall.stack.dynamo import Dynamo
from scripts.api import PATIENCE_SECONDS, Api
from scripts.commands.common import Failed, KeyText, output, say, tell
from scripts.local import deploy
from scripts.local.ministack import LOCAL_STACK, MiniStack, free_port
from scripts.operate import stacks
from scripts.sdks import report
from scripts.sdks.archived import archived
from scripts.sdks.drivers import Drivers
from scripts.sdks.registry import SDKS, Sdk
from scripts.sdks.suite import Stored, Suite

PAGE_PORT, LOG = 8_090, "ministack.log"


@dataclass(frozen=True)
class Place:
    """Where the SDKs send."""

    url: str
    key: str
    reading: Api
    stored: Stored | None = None


def sdks(
    only: Annotated[
        list[str] | None, typer.Argument(metavar="[SDK]...", help="Words of the SDKs to run; all without one.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="URL", help="The API of a running stack; without it, a stack for this run.")
    ] = None,
    key: KeyText = None,
    read_key: Annotated[
        str | None, typer.Option(envvar="ROLLCALL_READ_KEY", help="A key that reads, where --key may only send.")
    ] = None,
    page_port: Annotated[
        int, typer.Option(help="Where the pages of the browser SDKs are; CorsOrigins of the target has to let it in.")
    ] = PAGE_PORT,
    lose_answers: Annotated[
        bool,
        typer.Option(
            "--lose-answers",
            help="Tell an SDK, once for each event, that the stack was not reached; errors are no faults.",
        ),
    ] = False,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="A document to write the table into.")] = None,
) -> None:
    """Run other services' SDKs, unchanged, against a stack, and compare what they sent with what is counted.

    Each sends some 20 events of its own types and users, of the three days before today. They stay. Exits with 1 if an
    SDK fails. One whose runtime this machine lacks is not run, and said so.
    """
    if write and (only or lose_answers):
        raise typer.BadParameter("--write is about a run of all SDKs whose answers arrive")
    chosen = [sdk for sdk in SDKS if not only or any(_means(word, sdk) for word in only)]
    if not chosen:
        raise Failed(f"no SDK has {' or '.join(only or [])} in its name")
    with _given(target, key, read_key) if target else _made(page_port) as place:
        drivers = Drivers(page_port)
        suite = Suite(place.url, place.key, place.reading, drivers, place.stored, losing=lose_answers)
        results = suite.run(chosen, lambda result: say(f"{result.sdk.name}: {report.outcome(result)}"))
    output(report.table(results))
    for result in results:
        for line in report.lines_of(result):
            tell(f"{result.sdk.name}: {line}")
    if write:
        report.write(write, results, datetime.now(UTC).date().isoformat())
    if any(result.faults for result in results):
        raise typer.Exit(1)


def _means(word: str, sdk: Sdk) -> bool:
    return word.casefold() in f"{sdk.name} {sdk.package} {sdk.runtime}".casefold()


@contextmanager
def _given(target: str, key: str | None, read_key: str | None) -> Iterator[Place]:
    """A stack that runs somewhere."""
    text = key or os.environ.get("ROLLCALL_KEY")
    if not text:
        raise Failed("--target asks for a key: --key or ROLLCALL_KEY")
    if key_id_of(text) is None:
        raise Failed("that is no API key, which begins with rc_")
    url = target.rstrip("/")
    yield Place(url, text, Api(url, read_key or text, PATIENCE_SECONDS))


@contextmanager
def _made(page_port: int) -> Iterator[Place]:
    """A local stack that ends with the run."""
    with TemporaryDirectory() as folder, MiniStack(free_port(), Path(folder) / LOG) as ministack:
        say("deploying template.yaml to the local AWS")
        deploy.deploy(ministack.client, LOCAL_STACK, {"CorsOrigins": f"http://127.0.0.1:{page_port}"})
        stack = stacks.described(ministack.client, LOCAL_STACK, ministack.port)
        keys = ApiKeys(Dynamo(ministack.client("dynamodb")), stack.output("AccessTableName"))
        _, text = keys.create("sdks", ["ingest", "read"], "http", Limit(500, 5_000))
        api = Api(stack.api_url, text, PATIENCE_SECONDS)
        yield Place(stack.api_url, text, api, archived(stack, DEFAULT, Path(folder) / "archive"))
