-- Posts one file again and again; prints one line of JSON after the text of wrk itself.
-- Arguments: path of the body, content type.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  wrk.headers["Content-Type"] = args[2]
  file:close()
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'wrk-json {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "max_ms": %f,'
      .. ' "failed_replies": %d, "failed_connections": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
