---The helper module of luafcgid's scripts: serialize, urlencode, urldecode, parse.
return require("compat.luafcgid.library")
