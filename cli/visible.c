// One place that decides what a terminal is shown: errors and warnings go through cli_put_visible,
// and stdout, where it is a terminal, through a stream that does the same.
#include "cli/visible.h"

#include <string.h>
#include <unistd.h>

// The length of the UTF-8 character at text; 0: none, or cut off at the end.
static size_t visible_length(const unsigned char *text, size_t bytes)
{
    size_t length = text[0] < 0x80   ? 1
                    : text[0] < 0xC2 ? 0
                    : text[0] < 0xE0 ? 2
                    : text[0] < 0xF0 ? 3
                    : text[0] < 0xF5 ? 4
                                     : 0;
    if (length == 0 || length > bytes) return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    bool overlong = (text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xF0 && text[1] < 0x90);
    return overlong ? 0 : length;
}

static unsigned visible_code(const unsigned char *text, size_t length)
{
    if (length == 1) return text[0];
    if (length == 2) return (text[0] & 0x1FU) << 6 | (text[1] & 0x3FU);
    if (length == 3) return (text[0] & 0x0FU) << 12 | (text[1] & 0x3FU) << 6 | (text[2] & 0x3FU);
    return 0x10000; // beyond all that is looked for
}

static bool visible_hidden(unsigned code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x202A && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069);
}

void cli_put_visible(FILE *file, const char *text, size_t bytes, bool lines)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + bytes;
    while (at < end) {
        size_t length = visible_length(at, (size_t)(end - at));
        unsigned code = length == 0 ? 0 : visible_code(at, length);
        bool plain = length > 0 && !visible_hidden(code);
        if (plain || (lines && (code == '\n' || code == '\t') && length == 1))
            fwrite(at, 1, length, file);
        else if (length == 0)
            fprintf(file, "\\x%02x", at[0]);
        else
            fprintf(file, code < 0x100 ? "\\x%02x" : "\\u%04x", code);
        at += length == 0 ? 1 : length;
    }
}

// ---- stdout -----------------------------------------------------------------------------------

static FILE *visible_terminal; // what stdout was
static char visible_left[4];   // of a character whose other bytes have not been written yet
static size_t visible_left_bytes;

// How many bytes at the end of a text begin a character that may go on.
static size_t visible_unfinished(const unsigned char *text, size_t bytes)
{
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        unsigned char c = text[bytes - back];
        if ((c & 0xC0) == 0x80) continue;
        size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 1;
        return length > back ? back : 0;
    }
    return 0;
}

static ssize_t visible_write(void *cookie, const char *text, size_t bytes)
{
    (void)cookie;
    size_t at = 0;
    // Byte by byte until it is whole; a character has four at most.
    while (visible_left_bytes > 0 && visible_left_bytes < sizeof visible_left && at < bytes) {
        visible_left[visible_left_bytes++] = text[at++];
        if (visible_unfinished((unsigned char *)visible_left, visible_left_bytes) > 0) continue;
        cli_put_visible(visible_terminal, visible_left, visible_left_bytes, true);
        visible_left_bytes = 0;
    }
    size_t kept = visible_left_bytes > 0
                      ? 0
                      : visible_unfinished((const unsigned char *)text + at, bytes - at);
    cli_put_visible(visible_terminal, text + at, bytes - at - kept, true);
    if (kept > 0) memcpy(visible_left, text + bytes - kept, kept);
    visible_left_bytes += kept;
    return fflush(visible_terminal) == 0 && !ferror(visible_terminal) ? (ssize_t)bytes : -1;
}

void cli_guard_stdout(void)
{
    static const cookie_io_functions_t functions = {.write = visible_write};
    if (!isatty(STDOUT_FILENO)) return;
    FILE *guarded = fopencookie(NULL, "w", functions);
    if (guarded == NULL) return; // out of memory at the start of the program: it will not get far
    setvbuf(guarded, NULL, _IOLBF, 0);
    visible_terminal = stdout;
    stdout = guarded;
}
