"""How often someone may come: a bucket of calls for each name, refilled with time. Knows no requests."""

from collections import OrderedDict
from typing import Final

NAMES_MAX: Final = 10_000


class Buckets:
    """Calls a second on average, and how many at once; the names seen longest ago are forgotten first."""

    def __init__(self, per_second: float, burst: int) -> None:
        assert per_second > 0
        assert burst >= 1
        self._per_second = per_second
        self._burst = float(burst)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now_s: float) -> float:
        """0 when the call may go on, else after how many seconds the next one may."""
        left, since_s = self._left.pop(name, (self._burst, now_s))
        left = min(self._burst, left + (now_s - since_s) * self._per_second)
        allowed = left >= 1
        self._left[name] = (left - 1 if allowed else left, now_s)
        if len(self._left) > NAMES_MAX:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_second

    def empty(self, name: str, now_s: float) -> float:
        """As `take`, but nothing is taken."""
        left, since_s = self._left.get(name, (self._burst, now_s))
        left = min(self._burst, left + (now_s - since_s) * self._per_second)
        return 0.0 if left >= 1 else (1 - left) / self._per_second
