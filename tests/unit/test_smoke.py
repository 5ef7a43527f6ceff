from typing import Any

import pytest

from scripts.operate.smoke import NEW_ACCOUNT_CONCURRENCY, Wrong, check_concurrency
from scripts.operate.stacks import Stack


class PlayedLambda:
    def __init__(self, quota: int) -> None:
        self._quota = quota

    def get_account_settings(self) -> dict[str, Any]:
        return {"AccountLimit": {"ConcurrentExecutions": self._quota}}


def stack(quota: int, consumers: int, imports: int, **reserved: str) -> Stack:
    parameters = {"ConsumerConcurrency": str(consumers), "ImportConcurrency": str(imports), **reserved}
    return Stack("rollcall", lambda _service: PlayedLambda(quota), {}, parameters)


@pytest.mark.parametrize(("quota", "consumers", "imports"), [(NEW_ACCOUNT_CONCURRENCY, 2, 2), (1_000, 200, 200)])
def test_an_account_with_room_for_the_api_is_good(quota: int, consumers: int, imports: int) -> None:
    told = check_concurrency(stack(quota, consumers, imports))

    assert f"{consumers + imports} of the account's {quota}" in told


@pytest.mark.parametrize(("quota", "consumers", "imports"), [(NEW_ACCOUNT_CONCURRENCY, 10, 10), (1_000, 500, 2)])
def test_an_account_whose_concurrency_is_nearly_used_up_is_told_what_to_set(
    quota: int, consumers: int, imports: int
) -> None:
    with pytest.raises(Wrong, match="ConsumerConcurrency and ImportConcurrency") as wrong:
        check_concurrency(stack(quota, consumers, imports))

    assert f"Lower them to {quota // 2} together" in str(wrong.value)
    assert "Service Quotas" in str(wrong.value)


@pytest.mark.parametrize(
    ("quota", "reserved", "told"),
    [
        (NEW_ACCOUNT_CONCURRENCY, {}, "nothing can be reserved, since AWS leaves 100 unreserved"),
        (111, {}, "nothing can be reserved"),
        (112, {}, "ConsumerReserved=2 AuthReserved=10 keep"),
        (1_000, {}, "ConsumerReserved=2 AuthReserved=10 keep"),
        (1_000, {"ConsumerReserved": "20", "AuthReserved": "0"}, "kept: ConsumerReserved 20"),
        (1_000, {"IngestReserved": "200"}, "kept: IngestReserved 200"),
    ],
)
def test_what_is_and_what_could_be_reserved_is_told(quota: int, reserved: dict[str, str], told: str) -> None:
    assert told in check_concurrency(stack(quota, 2, 2, **reserved))


def test_a_reservation_that_holds_the_consumer_up_is_wrong() -> None:
    with pytest.raises(Wrong, match=r"ConsumerReserved is 5.* ConsumerConcurrency is 10"):
        check_concurrency(stack(1_000, 10, 2, ConsumerReserved="5"))
