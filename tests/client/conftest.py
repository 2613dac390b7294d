"""One server for the tests of the HTTP client, with the module at hand."""

import pytest
from lua_shell import Shell

PRELUDE = """
http = require("heart.v1.http")
json = require("heart.v1.json")
core = require("heart.core")

---What came of a request, as JSON.
function show(response, err)
  if not response then
    return json.encode({ err = err })
  end
  return json.encode({
    status = response.status,
    reason = response.reason,
    body = response.body,
    url = response.url,
    version = response.version,
  })
end
"""


@pytest.fixture(scope="session")
def lua():
    """A Shell whose code has `http`, `json`, `core` and `show`."""
    with Shell(prelude=PRELUDE) as shell:
        yield shell
