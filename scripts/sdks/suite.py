"""Runs SDKs against a stack, and compares what they sent with what it counted."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from rollcall.access.api_keys import key_id_of
from scripts.api import Api
from scripts.sdks.drivers import CannotRun, Drivers, Report
from scripts.sdks.load import DAYS_BACK, Load, load_for
from scripts.sdks.numbers import Numbers, StoredEvent, faults
from scripts.sdks.proxy import Exchange, Proxy
from scripts.sdks.registry import Sdk
from scripts.waiting import poll

COUNT_SECONDS, TROUBLED_SECONDS = 60.0, 10.0
# A page may end before the last of its requests is answered.
ANSWER_SECONDS = 15.0
# The events that a stack has stored of some runs, by their names.
Stored = Callable[[Sequence[str]], Sequence[StoredEvent]]


@dataclass(frozen=True)
class Result:
    """What became of an SDK's load."""

    sdk: Sdk
    sent: int = 0
    """The events that the SDK was given."""
    counted: int = 0
    requests: int = 0
    retries: int = 0
    """How often an event was sent again that had been answered."""
    faults: Sequence[str] = ()
    """What is wrong, a line each."""
    skipped: str = ""
    """Why it was not run."""

    @property
    def duplicates(self) -> int:
        """Those that were not counted, because their ids had been."""
        return self.sent - self.counted

    @property
    def passed(self) -> bool:
        """Whether every event was counted once, and the SDK complained of nothing."""
        return not self.faults and not self.skipped


class Suite:
    """Runs SDKs against the API at `url`. The API key `key` sends, `reading` reads the stats and the key's ledger.

    Nothing else may send events meanwhile to what `reading` reads, and none but those of the last days matter. Where
    answers are lost on the way (`losing`), an SDK may complain and send again. What is counted has to be the same.
    """

    def __init__(
        self,
        url: str,
        key: str,
        reading: Api,
        drivers: Drivers,
        stored: Stored | None = None,
        patience: float = COUNT_SECONDS,
        *,
        losing: bool = False,
    ) -> None:
        self._url = url
        self._key = key
        # A text that is no key has no ledger, and opens nothing.
        self._key_id = key_id_of(key) or ""
        self._api = reading
        self._drivers = drivers
        self._stored = stored
        self._patience = patience
        self._losing = losing

    def run(self, sdks: Iterable[Sdk], tell: Callable[[Result], None] = lambda _result: None) -> list[Result]:
        """Run each SDK by itself; calls `tell` after each one."""
        results = []
        for sdk in sdks:
            results += self.run_together([sdk])
            tell(results[-1])
        return results

    def run_together(self, sdks: Sequence[Sdk], at_once: int = 1) -> list[Result]:
        """Run SDKs, `at_once` at a time, and wait until what they sent is counted.

        What is wrong with a number that several of them have in common is told of each.
        """
        skipped = [result for sdk in sdks if (result := self._skipped(sdk))]
        zone, today = self._today()
        days = [today + timedelta(1), today, *(today - timedelta(back) for back in DAYS_BACK)]
        given = [
            (sdk, load_for(sdk, os.urandom(4).hex(), today, zone))
            for sdk in sdks
            if sdk not in [result.sdk for result in skipped]
        ]
        dues = [Numbers.due(sdk, load, today, zone) for sdk, load in given]
        if self._losing:
            dues = [due.but_duplicates() for due in dues]
        due = sum(dues, Numbers())
        before = self._numbers(days)
        with ThreadPoolExecutor(at_once) as pool:
            sent = list(pool.map(lambda each: self._send(*each), given))
        # What an SDK has been refused will not be counted.
        troubled = not self._losing and any(report.errors for report, _ in sent)
        found = self._counted(before, due, days, TROUBLED_SECONDS if troubled else self._patience)
        if not all(sdk.times for sdk, _ in given) and self._today() != (zone, today):
            # An event that has no time of its own may be of either day.
            return self.run_together(sdks, at_once)
        stored = self._stored([load.run for _, load in given]) if self._stored else None
        results = [
            self._judged(sdk, load, *said, own, own + (found - due).about(own, due), stored)
            for (sdk, load), said, own in zip(given, sent, dues, strict=True)
        ]
        return sorted([*skipped, *results], key=lambda result: sdks.index(result.sdk))

    def _skipped(self, sdk: Sdk) -> Result | None:
        try:
            self._drivers.check(sdk)
        except CannotRun as reason:
            return Result(sdk, skipped=str(reason))
        return None

    def _today(self) -> tuple[ZoneInfo, date]:
        day = datetime.now(UTC).date().isoformat()
        zone = ZoneInfo(self._api.get("/stats/dau", {"from": day, "to": day})["timezone"])
        return zone, datetime.now(zone).date()

    def _send(self, sdk: Sdk, load: Load) -> tuple[Report, list[Exchange]]:
        seconds = min(ANSWER_SECONDS, self._patience)
        with Proxy(self._url, load.mark_pattern(), losing=self._losing) as proxy:

            def answered(events: int) -> None:
                proxy.wait_for(events, seconds)

            report = self._drivers.run(sdk, load.given(proxy.url, self._key, sdk.variant), answered)
            proxy.wait(load.marks(), seconds)
            return report, proxy.exchanges

    def _numbers(self, days: Sequence[date]) -> Numbers:
        found = Numbers.of(self._api, days, self._key_id)
        return found.but_duplicates() if self._losing else found

    def _counted(self, before: Numbers, due: Numbers, days: Sequence[date], seconds: float) -> Numbers:
        """What is counted once that is all that is due, or in the end."""

        def complete() -> Numbers | None:
            found = self._numbers(days) - before
            return found if found == due else None

        try:
            return poll(complete, seconds, "not all is counted")
        except TimeoutError:
            return self._numbers(days) - before

    def _judged(
        self,
        sdk: Sdk,
        load: Load,
        report: Report,
        exchanges: Sequence[Exchange],
        due: Numbers,
        found: Numbers,
        stored: Sequence[StoredEvent] | None,
    ) -> Result:
        marks = sum((each.marks for each in exchanges), Counter[str]())
        # More than it was given: the SDK sent it again by itself.
        retries = (marks - load.marks()).total()
        lost = (load.marks() - marks).total()
        barred = {each.barred: None for each in exchanges if each.barred}
        complaints = [
            *(f"pages of {origin} are not let in: CorsOrigins of the stack has to name it" for origin in barred),
            *report.errors,
            *(f"answered {each}" for each in exchanges if not 200 <= each.status < 300),
            *([f"it sent an event again {retries} times"] if retries else []),
        ]
        wrong = [
            *([] if self._losing else complaints),
            *([f"it did not send {lost} of {len(load.sent)} events"] if lost else []),
            *due.differences(found),
        ]
        if stored is not None:
            wrong += faults(sdk, load, [event for event in stored if event.user_id.startswith(load.run)])
        # A browser asks by itself whether it may send.
        requests = sum(each.method != "OPTIONS" for each in exchanges)
        return Result(sdk, len(load.sent), found.events.total(), requests, retries, wrong)
