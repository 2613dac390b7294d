# The dates of HTTP (RFC 9110 section 5.6.7): all three forms are read, IMF-fixdate is written. A codec: no socket, no
# Lua, no allocation. The clock is asked for the century of a year with two digits, and for nothing else.

from libc.string cimport strlen

cdef enum:
    DAY_SECONDS = 86400

cdef extern from *:
    """
    #define FIRST_SECOND (-62135596800LL)   /* 0001-01-01 00:00:00 */
    #define LAST_SECOND 253402300799LL      /* 9999-12-31 23:59:59 */
    static const char day_names[7][10] = {
        "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const short days_before_month[13] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    """
    const int64_t FIRST_SECOND, LAST_SECOND
    const char day_names[7][10]
    const char *month_names
    const short days_before_month[13]


cdef inline bint year_is_leap(int year) noexcept nogil:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


cdef inline int month_days(int year, int month) noexcept nogil:
    return days_before_month[month] - days_before_month[month - 1] + (month == 2 and year_is_leap(year))


cdef int64_t date_day(int year, int month, int day) noexcept nogil:
    """Days from 1970-01-01. The year is at least 1."""
    cdef int64_t before = year - 1
    cdef int64_t leaps = before // 4 - before // 100 + before // 400 - (1969 // 4 - 1969 // 100 + 1969 // 400)
    return 365 * (before - 1969) + leaps + days_before_month[month - 1] + (month > 2 and year_is_leap(year)) + day - 1


cdef void date_set(Date *d, int64_t unix_seconds) noexcept nogil:
    """The calendar's view of a time from FIRST_SECOND to LAST_SECOND."""
    cdef int64_t since = unix_seconds - FIRST_SECOND
    cdef int64_t day = since // DAY_SECONDS + FIRST_SECOND // DAY_SECONDS
    cdef int second = <int>(since % DAY_SECONDS)
    d.year = <int>(since // DAY_SECONDS * 400 // 146097) + 1    # at most one year off: 400 years are 146097 days
    d.year -= date_day(d.year, 1, 1) > day
    d.year += date_day(d.year + 1, 1, 1) <= day
    d.month = 12
    while date_day(d.year, d.month, 1) > day:
        d.month -= 1
    d.day = <int>(day - date_day(d.year, d.month, 1)) + 1
    d.hour = second // 3600
    d.minute = second // 60 % 60
    d.second = second % 60


cdef void http_date_put(int64_t unix_seconds, char *out29) noexcept nogil:
    """Write a time as IMF-fixdate, 29 bytes ("Sun, 06 Nov 1994 08:49:37 GMT"); the nearest one in years 1 to 9999."""
    cdef Date d
    unix_seconds = FIRST_SECOND if unix_seconds < FIRST_SECOND else unix_seconds
    unix_seconds = LAST_SECOND if unix_seconds > LAST_SECOND else unix_seconds
    date_set(&d, unix_seconds)
    memcpy(out29, b"Sun, 00 Jan 0000 00:00:00 GMT", 29)
    # 0001-01-01 was a Monday.
    memcpy(out29, day_names[((unix_seconds - FIRST_SECOND) // DAY_SECONDS + 1) % 7], 3)
    put_padded(out29 + 5, <uint32_t>d.day, 2)
    memcpy(out29 + 8, month_names + 3 * (d.month - 1), 3)
    put_padded(out29 + 12, <uint32_t>d.year, 4)
    put_padded(out29 + 17, <uint32_t>d.hour, 2)
    put_padded(out29 + 20, <uint32_t>d.minute, 2)
    put_padded(out29 + 23, <uint32_t>d.second, 2)


cdef int http_date_parse(Span s, int64_t *out) noexcept nogil:
    """Read a date in one of the three forms that HTTP knows. Returns OK, or ERR_MISSING and leaves `out` alone.

    The name of the day must be one, but need not fit the date: nothing depends on it.
    """
    cdef Date d
    if not (date_read(s, b"%a, %d %b %Y %H:%M:%S GMT", &d)          # IMF-fixdate
            or date_read(s, b"%A, %d-%b-%y %H:%M:%S GMT", &d)       # RFC 850
            or date_read(s, b"%a %b %e %H:%M:%S %Y", &d)):          # asctime
        return ERR_MISSING
    if d.year < 1 or d.day < 1 or d.day > month_days(d.year, d.month) or d.hour > 23 or d.minute > 59 or d.second > 60:
        return ERR_MISSING
    out[0] = date_day(d.year, d.month, d.day) * DAY_SECONDS + d.hour * 3600 + d.minute * 60 + d.second
    return OK


cdef bint date_read(Span s, const char *form, Date *d) noexcept nogil:
    """Whether the whole of `s` has a form, written as for strptime (without its laxness); fills `d`."""
    while form[0]:
        if form[0] == c'%':
            if not date_read_part(&s, form[1], d):
                return False
            form += 2
        else:
            if s.n == 0 or s.p[0] != form[0]:
                return False
            s = Span(s.p + 1, s.n - 1)
            form += 1
    return s.n == 0


cdef bint date_read_part(Span *s, char kind, Date *d) noexcept nogil:
    if kind == c'd':
        return date_read_number(s, 2, &d.day)
    if kind == c'e':
        return date_read_padded(s, &d.day)
    if kind == c'b':
        return date_read_month(s, &d.month)
    if kind == c'Y':
        return date_read_number(s, 4, &d.year)
    if kind == c'y':
        return date_read_short_year(s, &d.year)
    if kind == c'H':
        return date_read_number(s, 2, &d.hour)
    if kind == c'M':
        return date_read_number(s, 2, &d.minute)
    if kind == c'S':
        return date_read_number(s, 2, &d.second)
    return date_read_weekday(s, kind == c'A')


cdef bint date_read_number(Span *s, size_t digits, int *out) noexcept nogil:
    cdef size_t i
    if s.n < digits:
        return False
    out[0] = 0
    for i in range(digits):
        if s.p[i] < c'0' or s.p[i] > c'9':
            return False
        out[0] = out[0] * 10 + (s.p[i] - c'0')
    s.p += digits
    s.n -= digits
    return True


cdef bint date_read_padded(Span *s, int *out) noexcept nogil:
    """Two digits, or a space and one."""
    if s.n == 0 or s.p[0] != c' ':
        return date_read_number(s, 2, out)
    s.p += 1
    s.n -= 1
    return date_read_number(s, 1, out)


cdef bint date_read_month(Span *s, int *out) noexcept nogil:
    cdef int i
    for i in range(12):
        if s.n >= 3 and memcmp(s.p, month_names + 3 * i, 3) == 0:
            out[0] = i + 1
            s.p += 3
            s.n -= 3
            return True
    return False


cdef bint date_read_weekday(Span *s, bint whole) noexcept nogil:
    cdef size_t n
    cdef int i
    for i in range(7):
        n = strlen(day_names[i]) if whole else 3
        if s.n >= n and memcmp(s.p, day_names[i], n) == 0:
            s.p += n
            s.n -= n
            return True
    return False


cdef bint date_read_short_year(Span *s, int *out) noexcept nogil:
    """Two digits of a year of this century, or of the last one if that were more than 50 years ahead."""
    cdef timespec now
    cdef Date today
    if not date_read_number(s, 2, out):
        return False
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    date_set(&today, now.tv_sec)
    out[0] += today.year - today.year % 100
    if out[0] > today.year + 50:
        out[0] -= 100
    return True
