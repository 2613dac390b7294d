/* Two functions of nginx that lua-resty-string calls by name, because nginx itself exports them. They become visible to
 * ffi.C when a library of that family is loaded, not before. */
#ifndef HEART_NGINX_SYMBOLS_H
#define HEART_NGINX_SYMBOLS_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#define NGX_EXPORT __attribute__((visibility("default"), used))

/* Lower-case hexadecimal digits of `n` bytes; returns the end of what was written. */
NGX_EXPORT unsigned char *ngx_hex_dump(unsigned char *out, const unsigned char *in, size_t n) {
    static const char digits[] = "0123456789abcdef";
    for (; n; n--, in++) {
        *out++ = (unsigned char)digits[*in >> 4];
        *out++ = (unsigned char)digits[*in & 15];
    }
    return out;
}

/* The number that `n` decimal digits stand for; -1: they are none, or it is too large. */
NGX_EXPORT intptr_t ngx_atoi(const unsigned char *p, size_t n) {
    intptr_t value = 0;
    if (n == 0)
        return -1;
    for (; n; n--, p++) {
        if (*p < '0' || *p > '9' || value > (INTPTR_MAX - (*p - '0')) / 10)
            return -1;
        value = value * 10 + (*p - '0');
    }
    return value;
}

/* Give this object's exported symbols to all that look for names in the process. 0: done. */
static int heart_publish_symbols(void) {
    Dl_info info;
    if (!dladdr((void *)ngx_atoi, &info) || !info.dli_fname)
        return -1;
    return dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD) ? 0 : -1;
}

#endif
