import pytest

from benchmarks.wrk import LoadError, parse_output

OUTPUT = """\
Running 1s test @ http://127.0.0.1:8080/predictions/echo
  1 threads and 64 connections
Requests/sec:  50000.00
wrk-json {"requests": 1000, "seconds": 2.0, "p50_ms": 0.5, "p99_ms": 1.5, "max_ms": 9.0, \
"failed_replies": 100, "failed_connections": 3}
"""


def test_result_line_is_found_among_what_wrk_prints_itself():
    measurement = parse_output(OUTPUT)
    assert (measurement.p50_ms, measurement.p99_ms, measurement.max_ms) == (0.5, 1.5, 9.0)


def test_failed_replies_do_not_count_as_throughput():
    assert parse_output(OUTPUT).requests_per_s == 450.0


def test_failures_are_replies_and_connections_together():
    assert parse_output(OUTPUT).failures == 103


def test_output_without_a_result_is_an_error_that_shows_it():
    with pytest.raises(LoadError, match="unable to connect"):
        parse_output("unable to connect to 127.0.0.1:1")
