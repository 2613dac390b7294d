---The module ngx.base64: base64 for URLs (RFC 4648 section 5).
local base64 = require("compat.openresty.base64")

return {
  version = "0.1.28",
  encode_base64url = base64.encode_base64url,
  decode_base64url = base64.decode_base64url,
}
