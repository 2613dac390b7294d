# Numbers as JSON writes them (RFC 8259 section 6): decimal text to the nearest double, double to the shortest text
# that reads back as the same double. Knows nothing of JSON values, allocates nothing, asks no locale.
#
# Both directions multiply by a power of ten held to 128 bits. Reading follows D. Lemire, "Number Parsing at a
# Gigabyte per Second" (2021): the product is a lower bound whose error is known, and only when that error could
# change the rounding, or the result is subnormal, does the text go through strtod. Writing follows R. Giulietti,
# "The Schubfach way to render doubles" (2021), which needs no such way out.
# Invariant: number_init_gil has run once before anything else here.
# Not for number syntaxes other than JSON's, and not for integers that must stay exact beyond 2**53.

from libc.stdlib cimport strtod

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static inline uint64_t mul_wide(uint64_t a, uint64_t b, uint64_t *low) {
    #ifdef __SIZEOF_INT128__
        unsigned __int128 product = (unsigned __int128)a * b;
        *low = (uint64_t)product;
        return (uint64_t)(product >> 64);
    #else
        uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
        uint64_t bottom = a0 * b0;
        uint64_t middle = a1 * b0 + (bottom >> 32);
        uint64_t other = a0 * b1 + (uint32_t)middle;
        *low = (other << 32) | (uint32_t)bottom;
        return a1 * b1 + (middle >> 32) + (other >> 32);
    #endif
    }

    static inline uint64_t load_word(const void *p) {
        uint64_t word;
        memcpy(&word, p, 8);
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
    #endif
        return word;
    }

    static inline uint64_t load_half(const void *p) {
        uint32_t half;
        memcpy(&half, p, 4);
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        half = __builtin_bswap32(half);
    #endif
        return half;
    }

    static inline uint64_t double_bits(double value) {
        uint64_t bits;
        memcpy(&bits, &value, 8);
        return bits;
    }

    static inline double double_from_bits(uint64_t bits) {
        double value;
        memcpy(&value, &bits, 8);
        return value;
    }
    """
    uint64_t mul_wide(uint64_t a, uint64_t b, uint64_t *low) nogil
    uint64_t load_word(const void *p) nogil         # 8 bytes, the first one lowest
    uint64_t load_half(const void *p) nogil         # 4 bytes
    uint64_t double_bits(double value) nogil
    double double_from_bits(uint64_t bits) nogil
    int count_leading_zeros "__builtin_clzll"(uint64_t x) nogil

cdef enum:
    POWER_MIN = -342                # 10**19 * 10**-343 is below half of the smallest double
    POWER_MAX = 324                 # the smallest double times 10**324 has all its digits before the point
    POWER_COUNT = POWER_MAX - POWER_MIN + 1
    MANTISSA_BITS = 52              # stored; the leading 1 of normal doubles is implied
    EXPONENT_BIAS = 1075            # of a mantissa read as an integer: 1023 + 52
    EXPONENT_SPECIAL = 0x7FF        # infinities and NaN
    DIGITS_EXACT = 19               # decimal digits that always fit 64 bits
    DIGITS_MAX = 770                # no halfway point between doubles has more significant digits
    NUMBER_SIZE = 32                # room for any number_write
    PLAIN_MAX = 21                  # RFC 8785: exponents only from 1e21 up ...
    PLAIN_MIN = -6                  # ... and below 1e-6
    EXPONENT_CLAMP = 1000000000     # written exponents saturate here; no text has digits enough to make up for it
    STRTOD_CLAMP = 100000           # the same for strtod, which is given DIGITS_MAX digits at most

# 10**e, scaled by a power of two into 2**127 <= x < 2**128 and cut off: high word, low word.
cdef uint64_t[2 * POWER_COUNT] power_words
cdef double[23] power_exact         # the powers of ten that are doubles


cdef int number_init_gil() except -1:
    """Fill the tables. Python's integers are exact, so nothing has to be taken on trust from a printed table."""
    cdef object ten = 10, one = 1, power
    cdef int e
    for e in range(POWER_COUNT):
        power = ten ** abs(e + POWER_MIN)
        if e + POWER_MIN < 0:
            power = (one << (power.bit_length() + 128)) // power
        power = (power << 128) >> power.bit_length()
        power_words[2 * e] = <uint64_t>(power >> 64)
        power_words[2 * e + 1] = <uint64_t>(power & 0xFFFFFFFFFFFFFFFF)
    for e in range(23):
        power_exact[e] = <double>(ten ** e)
    return 0


# ---- Reading ---------------------------------------------------------------------------------------------

cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return <uint8_t>(c - c'0') < 10


cdef inline bint word_is_digits(uint64_t w) noexcept nogil:
    """Are all 8 bytes ASCII digits? Their high halves must be 3, and stay 3 when 6 is added."""
    return ((w & 0xF0F0F0F0F0F0F0F0u) | (((w + 0x0606060606060606u) & 0xF0F0F0F0F0F0F0F0u) >> 4)) == \
        0x3333333333333333u


cdef inline uint64_t word_value(uint64_t w) noexcept nogil:
    """The value of 8 ASCII digits: neighbours are joined to pairs, pairs to fours, fours to eight."""
    w = ((w & 0x0F0F0F0F0F0F0F0Fu) * (10 * 0x100 + 1)) >> 8
    w = ((w & 0x00FF00FF00FF00FFu) * (100 * 0x10000 + 1)) >> 16
    return ((w & 0x0000FFFF0000FFFFu) * (10000 * <uint64_t>0x100000000 + 1)) >> 32


cdef inline const uint8_t *digits_read(const uint8_t *p, const uint8_t *end, uint64_t *value) noexcept nogil:
    """Append the digits at `p` to `value`, which wraps around past 19 of them; returns where they end."""
    cdef uint64_t v = value[0]
    while end - p >= 8 and word_is_digits(load_word(p)):
        v = v * 100000000 + word_value(load_word(p))
        p += 8
    while p < end and is_digit(p[0]):
        v = v * 10 + <uint64_t>(p[0] - c'0')
        p += 1
    value[0] = v
    return p


cdef inline const uint8_t *integer_read(const uint8_t *p, const uint8_t *end, uint64_t *value) noexcept nogil:
    """As digits_read, for a part that is mostly one to three digits long."""
    cdef uint64_t v = 0
    while p < end and is_digit(p[0]):
        v = v * 10 + <uint64_t>(p[0] - c'0')
        p += 1
    value[0] = v
    return p


cdef const uint8_t *exponent_read(const uint8_t *p, const uint8_t *end, int64_t *exponent) noexcept nogil:
    """Add the exponent behind the "e" to `exponent`; returns its end, which is `p` when digits are missing."""
    cdef const uint8_t *start = p
    cdef const uint8_t *digits
    cdef bint negative = False
    cdef int64_t e = 0
    if p < end and (p[0] == c'-' or p[0] == c'+'):
        negative = p[0] == c'-'
        p += 1
    digits = p
    while p < end and is_digit(p[0]):
        if e < EXPONENT_CLAMP:
            e = e * 10 + (p[0] - c'0')
        p += 1
    if p == digits:
        return start
    exponent[0] += -e if negative else e
    return p


cdef inline bint double_scale(uint64_t w, int64_t exponent, double *value) noexcept nogil:
    """The double nearest to w * 10**exponent. False: it cannot be told from 128 bits, or it is subnormal."""
    cdef uint64_t high, low, carry, mantissa, rest, half, ignored
    cdef int zeros, shift
    cdef int64_t e
    if w == 0 or exponent < POWER_MIN:
        value[0] = 0.0
        return True
    if exponent > 308:
        value[0] = double_from_bits(<uint64_t>EXPONENT_SPECIAL << MANTISSA_BITS)
        return True
    zeros = count_leading_zeros(w)
    high = mul_wide(w << zeros, power_words[2 * (exponent - POWER_MIN)], &low)
    carry = mul_wide(w << zeros, power_words[2 * (exponent - POWER_MIN) + 1], &ignored)
    low += carry
    high += low < carry
    # The true product is less than 2 above high:low. Keep 53 bits of it; what is cut off decides the rounding.
    shift = 10 + <int>(high >> 63)
    mantissa = high >> shift
    rest = high & ((<uint64_t>1 << shift) - 1)
    half = <uint64_t>1 << (shift - 1)
    if unlikely((rest == half and low == 0) or (rest == half - 1 and low >= <uint64_t>-2)):
        return False
    if rest >= half:
        mantissa += 1
    # floor(log2(10**exponent)) = exponent * 217706 >> 16 in this range.
    e = ((exponent * 217706) >> 16) + 64 - zeros + 1023 - 1 + (shift - 10)
    if unlikely(mantissa >> 53):
        mantissa >>= 1
        e += 1
    if unlikely(e <= 0):
        return False
    if unlikely(e >= EXPONENT_SPECIAL):
        e = EXPONENT_SPECIAL
        mantissa = 0
    value[0] = double_from_bits((mantissa & ((<uint64_t>1 << MANTISSA_BITS) - 1)) | (<uint64_t>e << MANTISSA_BITS))
    return True


cdef double number_slow(const uint8_t *digits, const uint8_t *end, int64_t exponent) noexcept nogil:
    """strtod on the same number as integer digits and an exponent: without a point no locale can matter. Digits
    past DIGITS_MAX are stood for by a 1, as they can only tell above from exactly halfway."""
    cdef char[DIGITS_MAX + 32] text
    cdef size_t n = 0
    cdef bint point = False, cut = False
    while digits < end and (is_digit(digits[0]) or digits[0] == c'.'):
        if digits[0] == c'.':
            point = True
        elif n == DIGITS_MAX:
            cut = cut or digits[0] != c'0'
            exponent += not point
        else:
            exponent -= point
            if n or digits[0] != c'0':
                text[n] = <char>digits[0]
                n += 1
        digits += 1
    if cut:
        text[n] = c'1'
        n += 1
        exponent -= 1
    if n == 0:
        return 0.0
    exponent = min(max(exponent, -STRTOD_CLAMP), STRTOD_CLAMP)
    text[n] = c'e'
    text[n + 1] = c'-' if exponent < 0 else c'+'
    n += 2
    n += <int>put_decimal(text + n, <uint64_t>(-exponent if exponent < 0 else exponent))
    text[n] = 0
    return strtod(text, NULL)


cdef double number_long(const uint8_t *digits, const uint8_t *end, int64_t exponent) noexcept nogil:
    """A number with more than 19 digits, leading zeros included. `exponent` is the written one. The first 19
    significant digits bound it from below, the next integer from above: mostly both round to the same double."""
    cdef const uint8_t *p = digits
    cdef uint64_t w = 0
    cdef int64_t e = exponent
    cdef size_t n = 0
    cdef bint point = False, cut = False
    cdef double low, high
    while p < end and (is_digit(p[0]) or p[0] == c'.'):
        if p[0] == c'.':
            point = True
        elif n < DIGITS_EXACT:
            w = w * 10 + <uint64_t>(p[0] - c'0')
            n += w != 0
            e -= point
        else:
            cut = cut or p[0] != c'0'
            e += not point
        p += 1
    if double_scale(w, e, &low) and (not cut or (double_scale(w + 1, e, &high) and low == high)):
        return low
    return number_slow(digits, end, exponent)


cdef inline int number_read(const uint8_t **at, const uint8_t *end, double *value) noexcept nogil:
    """Read the JSON number at `at`, which moves behind it. Returns ERR_MISSING, with `at` on the byte that is no
    part of a number, when the text is not one. A number too large gives an infinity."""
    cdef const uint8_t *p = at[0]
    cdef const uint8_t *digits
    cdef const uint8_t *mark
    cdef bint negative = p < end and p[0] == c'-'
    cdef int64_t written = 0, point = 0
    cdef size_t count
    cdef uint64_t w
    cdef double v
    p += negative
    digits = p
    p = integer_read(p, end, &w)
    count = <size_t>(p - digits)
    if unlikely(count == 0 or (digits[0] == c'0' and count > 1)):
        at[0] = digits + (count > 0)
        return ERR_MISSING
    if p < end and p[0] == c'.':
        mark = p + 1
        p = digits_read(mark, end, &w)
        point = mark - p
        count -= <size_t>point
        if unlikely(point == 0):
            at[0] = p
            return ERR_MISSING
    if p < end and (p[0] | 32) == c'e':
        mark = p + 1
        p = exponent_read(mark, end, &written)
        if unlikely(p == mark):
            at[0] = p
            return ERR_MISSING
    at[0] = p
    v = double_find(digits, p, w, count, point + written, written)
    value[0] = -v if negative else v
    return OK


cdef inline double double_find(const uint8_t *digits, const uint8_t *end, uint64_t w, size_t count,
                               int64_t exponent, int64_t written) noexcept nogil:
    """The value of a checked number: `count` digits in `w`, times 10**exponent."""
    cdef double v
    if unlikely(count > DIGITS_EXACT):
        return number_long(digits, end, written)
    if w <= <uint64_t>1 << 53 and -22 <= exponent <= 22:
        # Two exact doubles and one operation round once (W. Clinger, 1990).
        v = <double><int64_t>w
        return v / power_exact[-exponent] if exponent < 0 else v * power_exact[exponent]
    if double_scale(w, exponent, &v):
        return v
    return number_slow(digits, end, written)


# ---- Writing ---------------------------------------------------------------------------------------------

cdef inline uint64_t scale_odd(uint64_t high, uint64_t low, uint64_t v) noexcept nogil:
    """The top 64 bits of the product with high:low, its last bit set if anything was cut off ("round to odd")."""
    cdef uint64_t x, y, carry, ignored
    carry = mul_wide(low, v, &ignored)
    y = mul_wide(high, v, &x)
    x += carry
    y += x < carry
    return y | (x > 1)


cdef uint64_t double_shortest(uint64_t fraction, int raw_exponent, int *exponent) noexcept nogil:
    """The digits of the shortest decimal that rounds to a positive finite double, closest to it among these;
    its value is digits * 10**exponent, and the digits may end in zeros."""
    cdef uint64_t c = fraction, high, low, value, lower, upper, s, tens
    cdef int q = 1 - EXPONENT_BIAS, k, h
    cdef bint odd, irregular, down, up
    if raw_exponent:
        c |= <uint64_t>1 << MANTISSA_BITS
        q = raw_exponent - EXPONENT_BIAS
    odd = c & 1
    irregular = fraction == 0 and raw_exponent > 1      # the gap below a power of two is half the one above
    # k = floor(log10(2**q)), of 3/4 * 2**q when irregular; h scales so that the product has 64 bits at most.
    k = (q * 1262611 - (524031 if irregular else 0)) >> 22
    h = q + ((-k * 1741647) >> 19) + 1
    high = power_words[2 * (-k - POWER_MIN)]
    low = power_words[2 * (-k - POWER_MIN) + 1] + 1     # the proof wants the next larger integer
    high += low == 0
    value = scale_odd(high, low, (4 * c) << h)
    lower = scale_odd(high, low, (4 * c - (1 if irregular else 2)) << h) + odd
    upper = scale_odd(high, low, (4 * c + 2) << h) - odd
    s = value >> 2
    exponent[0] = k
    if s >= 10:
        tens = s // 10
        down = lower <= 40 * tens
        up = 40 * tens + 40 <= upper
        if down != up:
            exponent[0] = k + 1
            return tens + up
    down = lower <= 4 * s
    up = 4 * s + 4 <= upper
    if down != up:
        return s + up
    up = value > 4 * s + 2 or (value == 4 * s + 2 and (s & 1) != 0)
    return s + up


cdef inline uint64_t zeros_strip(uint64_t digits, int *exponent) noexcept nogil:
    while digits % 10000 == 0:
        digits //= 10000
        exponent[0] += 4
    if digits % 100 == 0:
        digits //= 100
        exponent[0] += 2
    if digits % 10 == 0:
        digits //= 10
        exponent[0] += 1
    return digits


cdef inline int digits_layout(char *p, uint64_t digits, int exponent) noexcept nogil:
    """Write digits * 10**exponent as RFC 8785 section 3.2.2.3 (ECMAScript) lays numbers out."""
    cdef int n = decimal_length(digits)
    cdef int point = n + exponent       # how many digits stand before the decimal point
    cdef int at
    if exponent >= 0 and point <= PLAIN_MAX:
        <int>put_decimal(p, digits)
        memset(p + n, c'0', exponent)
        return point
    if 0 < point <= PLAIN_MAX:
        <int>put_decimal(p + 1, digits)
        memmove(p, p + 1, point)
        p[point] = c'.'
        return n + 1
    if PLAIN_MIN < point <= 0:
        p[0] = c'0'
        p[1] = c'.'
        memset(p + 2, c'0', -point)
        return 2 - point + <int>put_decimal(p + 2 - point, digits)
    <int>put_decimal(p + 1, digits)
    p[0] = p[1]
    p[1] = c'.'
    at = n + 1 if n > 1 else 1
    p[at] = c'e'
    p[at + 1] = c'-' if point < 1 else c'+'
    return at + 2 + <int>put_decimal(p + at + 2, <uint64_t>(1 - point if point < 1 else point - 1))


cdef int double_write(char *p, double v) noexcept nogil:
    """Write a double that is finite and not zero; returns the number of bytes, at most NUMBER_SIZE."""
    cdef uint64_t bits = double_bits(v)
    cdef bint negative = bits >> 63
    cdef int exponent
    cdef uint64_t digits = double_shortest(bits & ((<uint64_t>1 << MANTISSA_BITS) - 1),
                                           <int>(bits >> MANTISSA_BITS) & EXPONENT_SPECIAL, &exponent)
    p[0] = c'-'
    digits = zeros_strip(digits, &exponent)
    return negative + digits_layout(p + negative, digits, exponent)


cdef inline bint number_finite(double v) noexcept nogil:
    return v - v == 0.0


cdef inline int number_write(char *p, double v) noexcept nogil:
    """Write a finite double in the shortest form that reads back as the same; minus zero keeps its sign. Returns
    the number of bytes, at most NUMBER_SIZE."""
    cdef int64_t i
    cdef bint negative
    if -9007199254740992.0 < v < 9007199254740992.0:
        i = <int64_t>v
        if v == <double>i and (i or not double_bits(v)):
            negative = i < 0
            p[0] = c'-'
            return negative + <int>put_decimal(p + negative, <uint64_t>(-i if negative else i))
        if i == 0 and v == 0.0:
            p[0] = c'-'
            p[1] = c'0'
            return 2
    return double_write(p, v)
