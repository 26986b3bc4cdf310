// From Oniguruma's spelling to PCRE2's, refusing what the two read differently. The differences
// were found by running both; the comments name them.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/pattern_reader.h"

sg_status sg_pattern_refuse(sg_pattern_reader *r, const char *what)
{
    size_t show = r->bytes - r->at;
    return sg_fail(r->err, SG_ERR_UNSUPPORTED, "regular expression, byte %zu (\"%.*s\"): %s", r->at,
                   show > 20 ? 20 : (int)show, r->text + r->at, what);
}

void sg_pattern_add(sg_pattern_reader *r, sg_bytes *to, const char *text, size_t bytes)
{
    if (bytes > 0 && !sg_bytes_add(to, text, bytes)) r->no_memory = true;
}

void sg_pattern_adds(sg_pattern_reader *r, sg_bytes *to, const char *text)
{
    sg_pattern_add(r, to, text, strlen(text));
}

bool sg_pattern_ahead(const sg_pattern_reader *r, const char *text)
{
    size_t bytes = strlen(text);
    return r->bytes - r->at >= bytes && memcmp(r->text + r->at, text, bytes) == 0;
}

// Reads digits of at most 5 places; false when there are none.
static bool pattern_number(sg_pattern_reader *r, size_t *at, unsigned *value)
{
    size_t begin = *at;
    *value = 0;
    while (*at < r->bytes && *at - begin < 5 && r->text[*at] >= '0' && r->text[*at] <= '9')
        *value = *value * 10 + (unsigned)(r->text[(*at)++] - '0');
    return *at > begin;
}

// {n}, {n,}, {,m}, {n,m}; anything else is a literal brace. *taken tells which.
static sg_status pattern_interval(sg_pattern_reader *r, bool *taken)
{
    size_t at = r->at + 1;
    unsigned low, high = 0;
    bool has_low = pattern_number(r, &at, &low), comma = false, has_high = false;
    if (at < r->bytes && r->text[at] == ',') {
        comma = true;
        at++;
        has_high = pattern_number(r, &at, &high);
    }
    *taken = at < r->bytes && r->text[at] == '}' && (has_low || has_high);
    if (!*taken) return SG_OK;
    if (!r->can_repeat) return sg_pattern_refuse(r, "nothing to repeat");
    if (!comma) high = low;
    if ((has_high || !comma) && high < low) return sg_pattern_refuse(r, "not an interval");
    if (low > 1000 || (has_high && high > 1000))
        return sg_pattern_refuse(r, "repeats of more than 1000 are not supported");
    char text[40];
    // "{1,3}+" repeats the repeat: all counts from the lower one on, where there are no gaps
    // between.
    bool again = at + 1 < r->bytes && r->text[at + 1] == '+', open = comma && !has_high;
    if (again && !open && (high == 0 || (low > 1 && high < 2 * low - 1)))
        return sg_pattern_refuse(r, "repeating this interval is not supported");
    if (again) {
        comma = true;
        has_high = false;
        at++;
    }
    if (comma && !has_high)
        snprintf(text, sizeof text, "{%u,}", low);
    else
        snprintf(text, sizeof text, "{%u,%u}", low, high);
    sg_pattern_adds(r, r->out, text);
    r->at = at + 1;
    // In Ruby syntax "{2}?" makes the repeat optional.
    if (sg_pattern_ahead(r, "+") || (sg_pattern_ahead(r, "?") && !comma))
        return sg_pattern_refuse(r, "this modifier of an interval is not supported");
    if (sg_pattern_ahead(r, "?")) {
        sg_pattern_adds(r, r->out, "?");
        r->at++;
    }
    r->can_repeat = false;
    return SG_OK;
}

static sg_status pattern_quantifier(sg_pattern_reader *r)
{
    if (!r->can_repeat) return sg_pattern_refuse(r, "nothing to repeat, or repeated twice");
    sg_pattern_add(r, r->out, r->text + r->at, 1);
    r->at++;
    if (sg_pattern_ahead(r, "+") || sg_pattern_ahead(r, "?")) {
        sg_pattern_add(r, r->out, r->text + r->at, 1);
        r->at++;
    }
    r->can_repeat = false;
    r->last_letter = 0;
    return SG_OK;
}

static sg_status pattern_sequence(sg_pattern_reader *r, int depth);

static void pattern_options(sg_pattern_reader *r, bool fold, bool lines)
{
    r->fold = fold;
    r->lines = lines;
    r->last_letter = 0;
}

// What stands between a group's opening and its end, with ")" behind it.
static sg_status pattern_inside(sg_pattern_reader *r, int depth, const char *opening, bool closed)
{
    sg_pattern_adds(r, r->out, opening);
    r->last_letter = 0;
    SG_TRY(pattern_sequence(r, depth + 1));
    if (closed && !sg_pattern_ahead(r, ")")) return sg_pattern_refuse(r, "the group is not closed");
    sg_pattern_adds(r, r->out, ")");
    if (closed) r->at++;
    r->last_letter = 0;
    return SG_OK;
}

// (?i:…), (?i-m:…); or (?i), which goes to the end of the group that it stands in, bars included.
static sg_status pattern_with_options(sg_pattern_reader *r, int depth)
{
    const bool fold = r->fold, lines = r->lines;
    bool on = true, new_fold = fold, new_lines = lines;
    size_t at = r->at + 2;
    for (; at < r->bytes && memchr("im-", r->text[at], 3) != NULL; at++) {
        if (r->text[at] == '-')
            on = false;
        else if (r->text[at] == 'i')
            new_fold = on;
        else
            new_lines = on;
    }
    if (at == r->bytes || (r->text[at] != ':' && r->text[at] != ')'))
        return sg_pattern_refuse(r, "this kind of group is not supported");
    bool closed = r->text[at] == ':';
    r->at = at + 1;
    pattern_options(r, new_fold, new_lines);
    SG_TRY(pattern_inside(r, depth, new_fold ? "(?i:" : fold ? "(?-i:" : "(?:", closed));
    pattern_options(r, fold, lines);
    r->can_repeat = closed;
    return SG_OK;
}

// (?<name>…): nothing here asks for the name.
static sg_status pattern_named(sg_pattern_reader *r, int depth)
{
    const char *end = memchr(r->text + r->at, '>', r->bytes - r->at);
    if (end == NULL || end == r->text + r->at + 3)
        return sg_pattern_refuse(r, "the name of a group is not closed");
    r->at = (size_t)(end - r->text) + 1;
    SG_TRY(pattern_inside(r, depth, "(?:", true));
    r->can_repeat = true;
    return SG_OK;
}

static sg_status pattern_comment(sg_pattern_reader *r)
{
    const char *end = memchr(r->text + r->at, ')', r->bytes - r->at);
    if (end == NULL) return sg_pattern_refuse(r, "the comment is not closed");
    if (memchr(r->text + r->at, '\\', (size_t)(end - r->text) - r->at) != NULL)
        return sg_pattern_refuse(r, "backslashes in comments are not supported");
    r->at = (size_t)(end - r->text) + 1;
    return SG_OK;
}

static sg_status pattern_group(sg_pattern_reader *r, int depth)
{
    static const char *const openings[] = {"(?=", "(?!", "(?<=", "(?<!", "(?:", "(?>"};
    if (depth == SG_PATTERN_DEPTH_MAX) return sg_pattern_refuse(r, "groups are nested too deep");
    if (sg_pattern_ahead(r, "(?#")) return pattern_comment(r);
    size_t found = 0;
    while (found < 6 && !sg_pattern_ahead(r, openings[found]))
        found++;
    if (found == 6 && sg_pattern_ahead(r, "(?<")) return pattern_named(r, depth);
    if (found == 6 && sg_pattern_ahead(r, "(?")) return pattern_with_options(r, depth);
    if (found == 6 && sg_pattern_ahead(r, "(*"))
        return sg_pattern_refuse(r, "this kind of group is not supported");
    if ((found == 2 || found == 3) && r->fold)
        return sg_pattern_refuse(r, "looking back under (?i is not supported");
    const char *opening = found < 6 ? openings[found] : "(";
    r->at += strlen(opening);
    SG_TRY(pattern_inside(r, depth, opening, true));
    r->can_repeat = found >= 4; // an assertion cannot be repeated
    return SG_OK;
}

// Escapes that are no single characters; false where another one stands.
static bool pattern_escape(sg_pattern_reader *r)
{
    static const struct {
        const char *from, *to;
        bool repeats;
    } escapes[] = {{"\\A", "\\A", false},
                   {"\\z", "\\z", false},
                   {"\\Z", "\\Z", false},
                   {"\\b", "(?:(?<=(?&w))(?!(?&w))|(?<!(?&w))(?=(?&w)))", false},
                   {"\\B", "(?:(?<=(?&w))(?=(?&w))|(?<!(?&w))(?!(?&w)))", false},
                   {"\\R", "(?>\\x0d\\x0a|[\\x0a-\\x0d\\x{85}\\x{2028}\\x{2029}])", true},
                   {"\\N", "[^\\x0a]", true},
                   {"\\O", "\\p{Any}", true}};
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        if (!sg_pattern_ahead(r, escapes[i].from)) continue;
        r->borders = r->borders || escapes[i].from[1] == 'b' || escapes[i].from[1] == 'B';
        sg_pattern_adds(r, r->out, escapes[i].to);
        r->at += 2;
        r->can_repeat = escapes[i].repeats;
        r->last_letter = 0;
        return true;
    }
    return false;
}

static void pattern_sign(sg_pattern_reader *r, char c)
{
    if (c == '.' && r->lines)
        sg_pattern_adds(r, r->out, "\\p{Any}");
    else
        sg_pattern_add(r, r->out, &c, 1);
    r->at++;
    r->can_repeat = c == '.';
    r->last_letter = 0;
}

static sg_status pattern_sequence(sg_pattern_reader *r, int depth)
{
    r->can_repeat = false;
    while (r->at < r->bytes) {
        char c = r->text[r->at];
        bool taken = false;
        switch (c) {
        case ')':
            if (depth == 0) return sg_pattern_refuse(r, "closes no group");
            return SG_OK;
        case '(':
            SG_TRY(pattern_group(r, depth));
            break;
        case '[':
            SG_TRY(sg_pattern_class(r));
            break;
        case '*':
        case '+':
        case '?':
            SG_TRY(pattern_quantifier(r));
            break;
        case '{':
            SG_TRY(pattern_interval(r, &taken));
            if (!taken) SG_TRY(sg_pattern_character(r));
            break;
        case '|':
        case '^':
        case '$':
        case '.':
            pattern_sign(r, c);
            break;
        default:
            if (c != '\\' || !pattern_escape(r)) SG_TRY(sg_pattern_character(r));
            break;
        }
        if (r->no_memory) return sg_fail(r->err, SG_ERR_MEMORY, "out of memory");
    }
    return SG_OK;
}

sg_status sg_pattern_translate(const char *pattern, size_t bytes, sg_bytes *out, sg_error *err)
{
    if (sg_utf8_valid_prefix(pattern, bytes) != bytes)
        return sg_fail(err, SG_ERR_FORMAT, "regular expression: not valid UTF-8");
    sg_bytes body = {0};
    sg_pattern_reader reader = {.text = pattern, .bytes = bytes, .out = &body, .err = err};
    sg_status status = pattern_sequence(&reader, 0);
    if (status == SG_OK && reader.borders) {
        sg_pattern_adds(&reader, out, "(?(DEFINE)(?<w>");
        sg_pattern_word(&reader, out);
        sg_pattern_adds(&reader, out, "))");
    }
    // Bars in the pattern are between all of it, not behind that definition.
    if (status == SG_OK && reader.borders) sg_pattern_adds(&reader, out, "(?:");
    if (status == SG_OK) sg_pattern_add(&reader, out, body.data, body.count);
    if (status == SG_OK && reader.borders) sg_pattern_adds(&reader, out, ")");
    sg_free(body.data);
    if (status == SG_OK && reader.no_memory) status = sg_fail(err, SG_ERR_MEMORY, "out of memory");
    return status;
}
