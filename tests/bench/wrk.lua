-- Sends `depth` requests in one write (the script's only argument) and prints the result as one line of JSON.
-- luacheck: globals wrk init request done

function init(args)
  local depth = tonumber(args[1]) or 1
  if depth > 1 then
    local batch = wrk.format():rep(depth)
    -- wrk asks for a request only where this global exists; without it a batch of one costs no Lua call.
    function request()
      return batch
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local form = '\nresult {"requests": %d, "microseconds": %d, "p99": %d, "failed": %d}\n'
  io.write(form:format(summary.requests, summary.duration, latency:percentile(99), failed))
end
