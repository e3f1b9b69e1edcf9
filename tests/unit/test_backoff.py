from hypothesis import given
from hypothesis import strategies as st

from worker.backoff import backoff_s

ATTEMPTS = st.integers(1, 10_000)
SECONDS = st.floats(0.001, 3600)
CHANCES = st.floats(1e-9, 1, exclude_max=True)  # below, a float is no longer exact


@given(attempt=ATTEMPTS, first_s=SECONDS, cap_s=SECONDS, chance=CHANCES)
def test_a_wait_is_never_negative_and_never_longer_than_the_cap(
    attempt: int, first_s: float, cap_s: float, chance: float
) -> None:
    assert 0 <= backoff_s(attempt, first_s=first_s, cap_s=cap_s, chance=lambda: chance) <= cap_s


@given(attempt=st.integers(1, 30), first_s=SECONDS, chance=CHANCES)
def test_below_the_cap_the_ceiling_doubles_with_each_attempt(attempt: int, first_s: float, chance: float) -> None:
    now = backoff_s(attempt, first_s=first_s, cap_s=float("inf"), chance=lambda: chance)
    later = backoff_s(attempt + 1, first_s=first_s, cap_s=float("inf"), chance=lambda: chance)

    assert later == 2 * now
    assert now <= first_s * 2 ** (attempt - 1)


@given(attempt=ATTEMPTS, first_s=SECONDS, cap_s=SECONDS, chance=CHANCES)
def test_jitter_is_full_so_the_wait_is_the_same_share_of_its_ceiling_as_chance_says(
    attempt: int, first_s: float, cap_s: float, chance: float
) -> None:
    ceiling = backoff_s(attempt, first_s=first_s, cap_s=cap_s, chance=lambda: 1.0)

    assert backoff_s(attempt, first_s=first_s, cap_s=cap_s, chance=lambda: 0.0) == 0
    assert backoff_s(attempt, first_s=first_s, cap_s=cap_s, chance=lambda: chance) == ceiling * chance


@given(first_s=SECONDS, cap_s=SECONDS)
def test_ceilings_never_fall_and_end_at_the_cap(first_s: float, cap_s: float) -> None:
    ceilings = [backoff_s(attempt, first_s=first_s, cap_s=cap_s, chance=lambda: 1.0) for attempt in range(1, 60)]

    assert ceilings == sorted(ceilings)
    assert ceilings[0] == min(first_s, cap_s)
    assert ceilings[-1] == cap_s


def test_by_default_waits_differ() -> None:
    waits = {backoff_s(5, first_s=2, cap_s=60) for _ in range(20)}

    assert len(waits) > 1
    assert all(0 <= wait <= 32 for wait in waits)
