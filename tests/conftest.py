"""What holds for all tests."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "flambeau",
    # How long an example takes says more of the machine than of the code: what is slow is found by benchmarks.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # New examples are looked for where the code is worked on; a change is judged by the same ones each time.
    derandomize="CI" in os.environ,
)
settings.load_profile("flambeau")
