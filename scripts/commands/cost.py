"""`rollcall cost`."""

from typing import Annotated, Any

import typer

from rollcall.intake.bodies import MAX_REQUEST_EVENTS
from scripts import show
from scripts.bench.report import Report, Target
from scripts.commands.common import AsJson, output, output_json, tell
from scripts.local.deploy import template
from scripts.operate import cost as costing
from scripts.operate.anonymous import ceilings
from scripts.operate.cost import Estimate, Load, Part, Prices

BATCH_SIZES = (1, 10, 100, 500, 1_000)


def cost(
    events_per_day: Annotated[int | None, typer.Option(min=1, help="Events that come on a day.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Users who are active on a day.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=MAX_REQUEST_EVENTS, help="Events in a request.")] = 500,
    event_types: Annotated[int, typer.Option(min=1, help="Event types that a day sees.")] = 20,
    requests_per_day: Annotated[int, typer.Option(min=0, help="GET /stats/* on a day, 30 days each.")] = 0,
    scrapes_per_day: Annotated[int, typer.Option(min=0, help="GET /metrics on a day.")] = 0,
    uploaded_gb: Annotated[float, typer.Option(min=0, help="GB of files uploaded on a day.")] = 0.0,
    ingest_us: Annotated[
        float, typer.Option(min=0, help="Microseconds of CPU that ingest takes for an event.")
    ] = costing.INGEST_MICROSECONDS,
    consumer_us: Annotated[
        float, typer.Option(min=0, help="Microseconds of CPU that the consumer takes for an event.")
    ] = costing.CONSUMER_MICROSECONDS,
    table: Annotated[bool, typer.Option("--table", help="Compare batch sizes, and show the idle stack.")] = False,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Show the most that requests without a credential cost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate what a load costs on AWS in us-east-1, on demand and without the free tier.

    Works offline. The prices are in scripts/operate/prices.json, and the billed units follow from the code.
    """
    if table or anonymous:
        if events_per_day is not None or users is not None or (table and anonymous):
            name = "--table" if table else "--anonymous"
            raise typer.BadParameter(
                f"{name} is of a load of its own; leave out --events-per-day, --users and the like"
            )
        compared = comparison() if table else of_anonymous()
        if as_json:
            output_json(compared.figures)
        else:
            typer.echo(compared.text)
        return
    if events_per_day is None or users is None:
        raise typer.BadParameter("name the load by --events-per-day and --users, or ask for --table or --anonymous")
    if users > events_per_day:
        raise typer.BadParameter("--users is more than --events-per-day; who is active has at least one event")
    prices = Prices.read()
    load = Load(
        events_per_day,
        users,
        batch_size,
        event_types,
        requests_per_day,
        scrapes_per_day,
        uploaded_gb,
        ingest_us,
        consumer_us,
    )
    found = costing.estimate(load, costing.stack_of_this_version(), prices)
    if as_json:
        output_json({**_as_dict(found, prices), **_per_million(found)})
        return
    output(show.costs(found))
    intake, keeping = _taking_in(found), found.per_million(Part.STORAGE)
    service, dollars = next(iter(found.services().items()))
    line = found.dearest()
    total = found.dollars()
    most = f"the most is {line.what}" if line.service == service else f"the dearest line is {line.service}, {line.what}"
    tell(
        f"${total:,.2f} a month: ${intake:.3f} to take a million events in, ${keeping:.3f} for each month that a "
        "million are kept."
    )
    tell(f"{service} is {dollars / total:.0%} of it; {most}, {line.dollars / total:.0%}.")
    tell(_source(prices))


def comparison() -> Report:
    """The report of `rollcall cost --table`."""
    prices, stack = Prices.read(), costing.stack_of_this_version()
    by_size = {size: costing.of_batch_size(size, stack, prices) for size in BATCH_SIZES}
    idle = costing.idle(stack, prices)
    figures = {
        "batch_sizes": {str(size): _per_million(found) for size, found in by_size.items()},
        "idle": _as_dict(idle, prices),
    }
    targets = [Target("dollars to take in a million events, 500 in a request", _taking_in(by_size[500]), 0.85)]
    return Report.of(
        "cost",
        "rollcall cost --table",
        figures,
        targets,
        show.costs_by_batch_size(by_size),
        show.costs(idle, title="The idle stack"),
        f"${idle.dollars():,.2f} a month while nobody calls, and the keeping of what is stored. "
        "An account's first three dashboards are free.",
        _source(prices),
    )


def of_anonymous() -> Report:
    """The report of `rollcall cost --anonymous`."""
    prices = Prices.read()
    found = list(ceilings(costing.stack_of_this_version(), prices, template()["Parameters"]))
    figures = {
        each.kind.what: {
            "dollars_a_million": each.a_million,
            "dollars_a_day": each.a_day,
            "by_service": dict(each.dollars),
            "answer_bytes": each.kind.answer_bytes,
            "rate": each.rate,
        }
        for each in found
    }
    return Report.of("anonymous", "rollcall cost --anonymous", figures, [], show.ceilings(found), _source(prices))


def _taking_in(found: Estimate) -> float:
    return found.per_million(Part.INTAKE)


def _as_dict(found: Estimate, prices: Prices) -> dict[str, Any]:
    return {
        "prices": {"date": prices.date, "region": prices.region},
        "dollars_a_month": found.dollars(),
        "parts": {part.value: found.dollars(part) for part in Part},
        "services": found.services(),
        "lines": [
            {
                "service": line.service,
                "what": line.what,
                "part": line.part.value,
                "quantity": line.quantity,
                "unit": line.price.unit,
                "dollars_a_month": line.dollars,
            }
            for line in found.lines
        ],
    }


def _per_million(found: Estimate) -> dict[str, Any]:
    return {
        "dollars_per_million_events": {
            "taking_in": _taking_in(found),
            "keeping_a_month": found.per_million(Part.STORAGE),
            "all": found.per_million(),
        },
        "taking_in_by_service": {
            service: found.per_million(Part.INTAKE, service=service) for service in found.services(Part.INTAKE)
        },
    }


def _source(prices: Prices) -> str:
    return f"Prices of {prices.region} as of {prices.date}, on demand, no free tier."
