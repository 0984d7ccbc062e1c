"""When a worker that keeps failing is started again, and when it is given up.

No clock in here: whoever asks says what time it is, in monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

RESTART_DELAYS_S = (
    0.0,
    1.0,
    1.0,
    2.0,
    3.0,
    5.0,
    8.0,
    13.0,
    21.0,
    34.0,
    55.0,
    89.0,
    144.0,
    233.0,
    377.0,
    610.0,
    987.0,
    1597.0,
)


def restart_delay_s(failures: int) -> float:
    """Seconds to wait before the next restart of a worker that keeps failing.

    Args:
        failures: attempts that failed in a row; 0 before the first.

    Returns:
        0, 1, 1, 2, 3, 5 … 1597: TorchServe's steps, so that runbooks written for it still hold.

    Source: pytorch/serve, ``WorkerThread.BACK_OFF``.
    """
    return RESTART_DELAYS_S[min(failures, len(RESTART_DELAYS_S) - 1)]


@dataclass(slots=True)
class RetryWindow:
    """One worker's current outage: for how long it has lasted and how many attempts it has cost.

    An outage begins with a failure and ends with a successful load. A worker is started again for as long as less
    than ``max_retry_timeout_s`` has passed since the failure that began the outage.
    """

    max_retry_timeout_s: float
    """``maxRetryTimeoutInSec``; 0: the first failure is the last."""
    failures: int = 0
    """Failures of this outage; 0 while there is none."""
    _began_at: float = 0.0
    _last_failed_at: float = 0.0

    def failed(self, now: float) -> None:
        """Note that the worker died, hung, or did not load."""
        if self.failures == 0:
            self._began_at = now
        self._last_failed_at = now
        self.failures += 1

    def succeeded(self) -> None:
        """Note that the worker has loaded its model: the outage, if there was one, is over."""
        self.failures = 0

    def is_given_up(self, now: float) -> bool:
        """Whether a worker that fails now is not started again. An attempt already under way may still succeed."""
        return self.failures > 0 and now - self._began_at >= self.max_retry_timeout_s

    def is_healthy(self, now: float) -> bool:
        """Whether the worker counts as healthy for ``/ping``: it has not failed, or may yet come back."""
        return not self.is_given_up(now)

    def next_delay_s(self, now: float) -> float:
        """Seconds from now until the next attempt; 0 if it is due."""
        if self.failures == 0:
            return 0.0
        # The time that has passed is taken off the step, not now off a moment: rounding can then not exceed the step.
        return max(0.0, restart_delay_s(self.failures) - (now - self._last_failed_at))
