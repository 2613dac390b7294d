---lua-resty-core puts FFI in place of the C functions of `ngx`. In Heart there is nothing to replace.
return { version = "0.1.28" }
