// strftime in English, on a date that is given: the C library's depends on the process's locale.
#include "text/chat_date.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

typedef struct date_parts {
    int year, month, day, hour, minute, second;
    int week_day, year_day; // from Sunday, 0; from 1 January, 1
} date_parts;

static const char *const date_days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};
static const char *const date_months[] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};

static bool date_leaps(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int date_month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && date_leaps(year));
}

static bool date_parse(const char *text, date_parts *d)
{
    char between = ' ';
    int used = 0;
    *d = (date_parts){0};
    int read = sscanf(text, "%4d-%2d-%2d%n%c%2d:%2d:%2d%n", &d->year, &d->month, &d->day, &used,
                      &between, &d->hour, &d->minute, &d->second, &used);
    bool whole = (read == 3 || read == 7) && text[used] == '\0';
    if (!whole || (between != ' ' && between != 'T') || d->year < 1 || d->month < 1 ||
        d->month > 12 || d->day < 1 || d->day > date_month_days(d->year, d->month) || d->hour < 0 ||
        d->hour > 23 || d->minute < 0 || d->minute > 59 || d->second < 0 || d->second > 59)
        return false;
    d->year_day = d->day;
    for (int m = 1; m < d->month; m++)
        d->year_day += date_month_days(d->year, m);
    int before = d->year - 1; // 1 January of the year 1 was a Monday
    d->week_day = (before * 365 + before / 4 - before / 100 + before / 400 + d->year_day) % 7;
    return true;
}

// The week of ISO 8601, and the year it belongs to.
static int date_iso_week(const date_parts *d, int *year)
{
    int monday_based = (d->week_day + 6) % 7, week = (d->year_day - 1 - monday_based + 10) / 7;
    *year = d->year;
    if (week >= 1 && week <= 52) return week;
    // The week of 31 December, of this year or the last, is 53 or 1 by its Thursday.
    int last = week < 1 ? d->year - 1 : d->year;
    int length = date_leaps(last) ? 366 : 365;
    int first = ((d->week_day - (d->year_day - 1)) % 7 + 7) % 7; // day of this 1 January
    if (week < 1) first = ((first - length) % 7 + 7) % 7;        // of that of last year
    bool has_53 = first == 4 || (first == 3 && length == 366);
    *year = last;
    if (week < 1 || has_53) return has_53 ? 53 : 52;
    *year = d->year + 1;
    return 1;
}

static void date_clock(const date_parts *d, char letter, char *text, size_t room)
{
    int hour = d->hour % 12 == 0 ? 12 : d->hour % 12;
    const char *half = d->hour < 12 ? "AM" : "PM";
    switch (letter) {
    case 'H':
        snprintf(text, room, "%02d", d->hour);
        break;
    case 'k':
        snprintf(text, room, "%2d", d->hour);
        break;
    case 'I':
        snprintf(text, room, "%02d", hour);
        break;
    case 'l':
        snprintf(text, room, "%2d", hour);
        break;
    case 'M':
        snprintf(text, room, "%02d", d->minute);
        break;
    case 'S':
        snprintf(text, room, "%02d", d->second);
        break;
    case 'p':
        snprintf(text, room, "%s", half);
        break;
    case 'P':
        snprintf(text, room, "%s", d->hour < 12 ? "am" : "pm");
        break;
    case 'f':
        snprintf(text, room, "000000");
        break;
    case 'R':
        snprintf(text, room, "%02d:%02d", d->hour, d->minute);
        break;
    case 'r':
        snprintf(text, room, "%02d:%02d:%02d %s", hour, d->minute, d->second, half);
        break;
    default: // T, X
        snprintf(text, room, "%02d:%02d:%02d", d->hour, d->minute, d->second);
    }
}

static void date_week(const date_parts *d, char letter, char *text, size_t room)
{
    int iso_year, iso = date_iso_week(d, &iso_year), monday_based = (d->week_day + 6) % 7;
    switch (letter) {
    case 'a':
        snprintf(text, room, "%.3s", date_days[d->week_day]);
        break;
    case 'A':
        snprintf(text, room, "%s", date_days[d->week_day]);
        break;
    case 'w':
        snprintf(text, room, "%d", d->week_day);
        break;
    case 'u':
        snprintf(text, room, "%d", monday_based + 1);
        break;
    case 'U':
        snprintf(text, room, "%02d", (d->year_day + 6 - d->week_day) / 7);
        break;
    case 'W':
        snprintf(text, room, "%02d", (d->year_day + 6 - monday_based) / 7);
        break;
    case 'V':
        snprintf(text, room, "%02d", iso);
        break;
    case 'G':
        snprintf(text, room, "%d", iso_year);
        break;
    default: // g
        snprintf(text, room, "%02d", iso_year % 100);
    }
}

static void date_day(const date_parts *d, char letter, char *text, size_t room)
{
    const char *month = date_months[d->month - 1];
    switch (letter) {
    case 'b':
    case 'h':
        snprintf(text, room, "%.3s", month);
        break;
    case 'B':
        snprintf(text, room, "%s", month);
        break;
    case 'd':
        snprintf(text, room, "%02d", d->day);
        break;
    case 'e':
        snprintf(text, room, "%2d", d->day);
        break;
    case 'm':
        snprintf(text, room, "%02d", d->month);
        break;
    case 'y':
        snprintf(text, room, "%02d", d->year % 100);
        break;
    case 'Y':
        snprintf(text, room, "%d", d->year);
        break;
    case 'C':
        snprintf(text, room, "%02d", d->year / 100);
        break;
    case 'j':
        snprintf(text, room, "%03d", d->year_day);
        break;
    case 'F':
        snprintf(text, room, "%d-%02d-%02d", d->year, d->month, d->day);
        break;
    case 'c':
        snprintf(text, room, "%.3s %.3s %2d %02d:%02d:%02d %d", date_days[d->week_day], month,
                 d->day, d->hour, d->minute, d->second, d->year);
        break;
    default: // D, x
        snprintf(text, room, "%02d/%02d/%02d", d->month, d->day, d->year % 100);
    }
}

// One directive; false: unknown.
static bool date_directive(const date_parts *d, char letter, bool bare, char *text, size_t room)
{
    text[0] = '\0';
    if (letter == '\0') return false;
    if (strchr("%nt", letter) != NULL)
        snprintf(text, room, "%c", letter == 'n' ? '\n' : letter == 't' ? '\t' : '%');
    else if (strchr("zZ", letter) != NULL)
        return true; // a time without a zone has none
    else if (strchr("HkIlMSpPfRrTX", letter) != NULL)
        date_clock(d, letter, text, room);
    else if (strchr("aAwuUWVGg", letter) != NULL)
        date_week(d, letter, text, room);
    else if (strchr("bhBdemyYCjFcDx", letter) != NULL)
        date_day(d, letter, text, room);
    else
        return false;
    size_t zeros = bare ? strspn(text, "0 ") : 0; // %-d
    if (zeros > 0 && text[zeros] == '\0') zeros--;
    memmove(text, text + zeros, strlen(text + zeros) + 1);
    return true;
}

sg_status sg_chat_date_text(sg_chat_run *r, const char *date, const sg_chat_value *format,
                            sg_chat_value *out)
{
    date_parts parts;
    sg_bytes made = {0};
    char text[80];
    bool room = true;
    if (!date_parse(date, &parts))
        return sg_fail(r->err, SG_ERR_ARGUMENT,
                       "date: found \"%.40s\", expected one like 2026-01-31", date);
    SG_TRY(sg_chat_pay_bytes(r, 32 * format->count));
    for (size_t i = 0; i < format->count && room; i++) {
        if (format->text[i] != '%') {
            room = sg_bytes_add(&made, format->text + i, 1);
            continue;
        }
        bool bare = i + 2 < format->count && format->text[i + 1] == '-';
        i += bare ? 2 : 1;
        char letter = i < format->count ? format->text[i] : '\0';
        if (!date_directive(&parts, letter, bare, text, sizeof text)) {
            sg_free(made.data);
            return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "%%%.*s in strftime_now",
                                  i < format->count, &letter);
        }
        room = sg_bytes_add(&made, text, strlen(text));
    }
    if (room) return sg_chat_keep(r, &made, out);
    sg_free(made.data);
    return sg_fail(r->err, SG_ERR_MEMORY, "out of memory for the chat");
}
