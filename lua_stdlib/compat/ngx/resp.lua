---The module ngx.resp.
return {
  version = "0.1.28",
  add_header = require("compat.openresty.reply").add_header,
}
