---The module ngx.req.
return {
  version = "0.1.28",
  add_header = require("compat.openresty.req").add_header,
}
