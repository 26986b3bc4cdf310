// From Oniguruma's spelling to PCRE2's, refusing what the two read differently. The differences were
// found by running both; the comments name them.
#include <stdio.h>
#include <string.h>

#include "text/pattern.h"
#include "text/unicode_tables.h"

enum { pattern_depth_max = 64 };

typedef struct pattern_reader {
    const char *text;
    size_t bytes, at;
    sg_bytes *out;
    sg_error *err;
    bool no_memory;
    bool fold;        // inside (?i
    bool can_repeat;  // the item before may take a quantifier
    char last_letter; // the last literal inside (?i, for multi-character folds
} pattern_reader;

static sg_status pattern_refuse(pattern_reader *r, const char *what)
{
    size_t show = r->bytes - r->at;
    return sg_fail(r->err, SG_ERR_UNSUPPORTED, "regular expression, byte %zu (\"%.*s\"): %s", r->at,
                   show > 20 ? 20 : (int)show, r->text + r->at, what);
}

static void pattern_put(pattern_reader *r, const char *text, size_t bytes)
{
    if (!sg_bytes_add(r->out, text, bytes)) r->no_memory = true;
}

static void pattern_puts(pattern_reader *r, const char *text)
{
    pattern_put(r, text, strlen(text));
}

static bool pattern_ahead(const pattern_reader *r, const char *text)
{
    size_t bytes = strlen(text);
    return r->bytes - r->at >= bytes && memcmp(r->text + r->at, text, bytes) == 0;
}

static void pattern_put_code(pattern_reader *r, uint32_t code)
{
    char text[16];
    snprintf(text, sizeof text, "\\x{%x}", code);
    pattern_puts(r, text);
}

static void pattern_put_range(pattern_reader *r, uint32_t first, uint32_t last)
{
    pattern_put_code(r, first);
    if (last == first) return;
    pattern_puts(r, "-");
    pattern_put_code(r, last);
}

// A literal code point, in or out of a class.
static void pattern_put_literal(pattern_reader *r, uint32_t code)
{
    char text[4];
    bool plain = code >= 0x80 || (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') ||
                 (code >= 'A' && code <= 'Z') || code == ' ';
    if (plain)
        pattern_put(r, text, (size_t)sg_utf8_encode(code, text));
    else
        pattern_put_code(r, code);
}

// ---- classes ----------------------------------------------------------------------------------

// \s: Unicode White_Space. PCRE2's own \s also takes U+180E.
static void pattern_put_space(pattern_reader *r, bool negated)
{
    static const uint32_t spaces[][2] = {
        {0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
        {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
    uint32_t next = 0;
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        if (negated)
            pattern_put_range(r, next, spaces[i][0] - 1);
        else
            pattern_put_range(r, spaces[i][0], spaces[i][1]);
        next = spaces[i][1] + 1;
    }
    // The complement leaves out the surrogates, which no text holds.
    if (negated) {
        pattern_put_range(r, next, 0xD7FF);
        pattern_put_range(r, 0xE000, 0x10FFFF);
    }
}

// \p{…} of a general category, with the characters that got it after Unicode 14.
static void pattern_put_category(pattern_reader *r, const char *name)
{
    pattern_puts(r, "\\p{");
    pattern_puts(r, name);
    pattern_puts(r, "}");
    for (size_t i = 0; i < sg_category_changes_count; i++) {
        const sg_category_range *range = &sg_category_changes[i];
        if (name[0] == range->category[0] && (name[1] == '\0' || name[1] == range->category[1]))
            pattern_put_range(r, range->first, range->last);
    }
}

// Reads {NAME} of \p: sets name to a general category.
static sg_status pattern_read_property(pattern_reader *r, char name[3], bool *negated)
{
    static const char known[] =
        " L Lu Ll Lt Lm Lo M Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk "
        "So Z Zs Zl Zp ";
    static const char *const longs[][2] = {
        {"Letter", "L"}, {"Mark", "M"}, {"Number", "N"}, {"Punctuation", "P"}, {"Symbol", "S"}};
    if (r->at == r->bytes || r->text[r->at] != '{')
        return pattern_refuse(r, "\\p needs a property in braces");
    size_t begin = r->at + 1;
    if (begin < r->bytes && r->text[begin] == '^') {
        *negated = !*negated;
        begin++;
    }
    const char *end = memchr(r->text + begin, '}', r->bytes - begin);
    size_t bytes = end == NULL ? 0 : (size_t)(end - r->text) - begin;
    char want[16];
    name[0] = '\0';
    if (bytes >= 1 && bytes < sizeof want - 2) {
        snprintf(want, sizeof want, " %.*s ", (int)bytes, r->text + begin);
        if (bytes <= 2 && strchr(want + 1, ' ') == want + 1 + bytes && strstr(known, want) != NULL)
            snprintf(name, 3, "%.*s", (int)bytes, r->text + begin);
        for (size_t i = 0; i < sizeof longs / sizeof *longs; i++)
            if (strlen(longs[i][0]) == bytes && memcmp(longs[i][0], r->text + begin, bytes) == 0)
                snprintf(name, 3, "%s", longs[i][1]);
    }
    // Mn lost a character to Mc, and Cn all new ones: PCRE2's sets cannot be completed by additions.
    if (name[0] == '\0')
        return pattern_refuse(r, "only general categories such as \\p{L}, \\p{N}, \\p{Lu} are "
                                 "supported, without Mn, C and Cn");
    r->at = begin + bytes + 1;
    return SG_OK;
}

static int pattern_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Digits of \xHH, \x{…} and \uHHHH; r->at stands behind the letter.
static sg_status pattern_read_hex(pattern_reader *r, char letter, uint32_t *code)
{
    bool braces = letter == 'x' && r->at < r->bytes && r->text[r->at] == '{';
    if (braces) r->at++;
    size_t most = braces ? 8 : letter == 'u' ? 4 : 2, digits = 0;
    uint64_t value = 0;
    while (digits < most && r->at < r->bytes && pattern_hex(r->text[r->at]) >= 0) {
        value = value * 16 + (uint64_t)pattern_hex(r->text[r->at++]);
        digits++;
    }
    bool closed = !braces || (r->at < r->bytes && r->text[r->at] == '}');
    // \x80 to \xff are bytes to Oniguruma, characters to PCRE2.
    bool a_byte = letter == 'x' && !braces && value >= 0x80;
    if (!closed || digits == 0 || (!braces && digits != most) || a_byte || value > 0x10FFFF ||
        (value >= 0xD800 && value < 0xE000))
        return pattern_refuse(r, "not a code point");
    if (braces) r->at++;
    *code = (uint32_t)value;
    return SG_OK;
}

typedef enum pattern_kind { ATOM_CODE, ATOM_SPACE, ATOM_DIGIT, ATOM_PROPERTY } pattern_kind;

typedef struct pattern_atom {
    pattern_kind kind;
    uint32_t code;
    bool negated;
    char property[3];
} pattern_atom;

// Reads one character or escape.
static sg_status pattern_read_atom(pattern_reader *r, pattern_atom *atom)
{
    static const char controls[][2] = {{'n', '\n'}, {'r', '\r'}, {'t', '\t'},  {'f', '\f'},
                                       {'v', '\v'}, {'a', '\a'}, {'e', '\x1b'}};
    *atom = (pattern_atom){ATOM_CODE, 0, false, ""};
    if (r->text[r->at] != '\\') {
        r->at += (size_t)sg_utf8_decode_valid(r->text + r->at, &atom->code);
        return SG_OK;
    }
    if (r->bytes - r->at < 2) return pattern_refuse(r, "ends in a backslash");
    char c = r->text[r->at + 1];
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
        if (c != controls[i][0]) continue;
        atom->code = (uint32_t)controls[i][1];
        r->at += 2;
        return SG_OK;
    }
    switch (c) {
    case 's':
    case 'S':
        atom->kind = ATOM_SPACE;
        atom->negated = c == 'S';
        r->at += 2;
        return SG_OK;
    case 'd':
    case 'D':
        atom->kind = ATOM_DIGIT;
        atom->negated = c == 'D';
        r->at += 2;
        return SG_OK;
    case 'p':
    case 'P':
        atom->kind = ATOM_PROPERTY;
        atom->negated = c == 'P';
        r->at += 2;
        return pattern_read_property(r, atom->property, &atom->negated);
    case 'x':
    case 'u':
        r->at += 2;
        return pattern_read_hex(r, c, &atom->code);
    default:
        break;
    }
    bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter || (unsigned char)c >= 0x80)
        return pattern_refuse(r, "this escape is not supported");
    atom->code = (uint32_t)(unsigned char)c;
    r->at += 2;
    return SG_OK;
}

// A class escape inside [ ].
static sg_status pattern_put_in_class(pattern_reader *r, const pattern_atom *atom)
{
    if (atom->kind == ATOM_SPACE) {
        pattern_put_space(r, atom->negated);
        return SG_OK;
    }
    if (atom->negated) return pattern_refuse(r, "negated properties inside [ ] are not supported");
    pattern_put_category(r, atom->kind == ATOM_DIGIT ? "Nd" : atom->property);
    return SG_OK;
}

static sg_status pattern_class(pattern_reader *r)
{
    pattern_puts(r, "[");
    r->at++;
    if (pattern_ahead(r, "^")) {
        pattern_puts(r, "^");
        r->at++;
    }
    // In Ruby "[]a]" is an error or a literal, depending on what follows.
    if (pattern_ahead(r, "]")) return pattern_refuse(r, "empty class");
    bool closed = false;
    int nested = 0;
    while (r->at < r->bytes && !closed) {
        if (pattern_ahead(r, "]")) {
            closed = nested-- == 0;
            r->at++;
            continue;
        }
        if (pattern_ahead(r, "[^") || pattern_ahead(r, "[:") || pattern_ahead(r, "[]"))
            return pattern_refuse(r, "this class inside [ ] is not supported");
        if (pattern_ahead(r, "[")) { // a plain class inside another only adds to it
            nested++;
            r->at++;
            continue;
        }
        if (pattern_ahead(r, "&&"))
            return pattern_refuse(r, "intersections inside [ ] are not supported");
        pattern_atom first, last;
        SG_TRY(pattern_read_atom(r, &first));
        bool range = pattern_ahead(r, "-") && !pattern_ahead(r, "-]");
        if (first.kind != ATOM_CODE) {
            if (range) return pattern_refuse(r, "a range cannot begin with a class");
            SG_TRY(pattern_put_in_class(r, &first));
            continue;
        }
        if (r->fold) return pattern_refuse(r, "classes under (?i are not supported");
        if (!range) {
            pattern_put_code(r, first.code);
            continue;
        }
        r->at++;
        if (pattern_ahead(r, "[")) return pattern_refuse(r, "a range cannot end with a class");
        SG_TRY(pattern_read_atom(r, &last));
        if (last.kind != ATOM_CODE || last.code < first.code)
            return pattern_refuse(r, "not a range of characters");
        pattern_put_range(r, first.code, last.code);
    }
    if (!closed) return pattern_refuse(r, "the class is not closed");
    pattern_puts(r, "]");
    r->can_repeat = true;
    return SG_OK;
}

// ---- the rest ---------------------------------------------------------------------------------

// Under (?i, Oniguruma folds some pairs of letters to one character ("ss" to U+00DF), PCRE2 does not.
static sg_status pattern_folded(pattern_reader *r, uint32_t code)
{
    static const char *const pairs[] = {"ss", "st", "ff", "fi", "fl"};
    if (code >= 0x80) return pattern_refuse(r, "only ASCII is supported under (?i");
    char letter = (char)(code >= 'A' && code <= 'Z' ? code + 32 : code);
    for (size_t i = 0; i < 5; i++)
        if (r->last_letter == pairs[i][0] && letter == pairs[i][1])
            return pattern_refuse(r, "this pair of letters is not supported under (?i");
    r->last_letter = letter;
    return SG_OK;
}

static sg_status pattern_item(pattern_reader *r)
{
    pattern_atom atom;
    SG_TRY(pattern_read_atom(r, &atom));
    r->can_repeat = true;
    if (atom.kind == ATOM_CODE) {
        if (r->fold) SG_TRY(pattern_folded(r, atom.code));
        pattern_put_literal(r, atom.code);
        return SG_OK;
    }
    if (r->fold) return pattern_refuse(r, "classes under (?i are not supported");
    pattern_puts(r, atom.negated ? "[^" : "[");
    if (atom.kind == ATOM_SPACE)
        pattern_put_space(r, false);
    else
        pattern_put_category(r, atom.kind == ATOM_DIGIT ? "Nd" : atom.property);
    pattern_puts(r, "]");
    return SG_OK;
}

// Reads digits of at most 5 places; false when there are none.
static bool pattern_number(pattern_reader *r, size_t *at, unsigned *value)
{
    size_t begin = *at;
    *value = 0;
    while (*at < r->bytes && *at - begin < 5 && r->text[*at] >= '0' && r->text[*at] <= '9')
        *value = *value * 10 + (unsigned)(r->text[(*at)++] - '0');
    return *at > begin;
}

// {n}, {n,}, {,m}, {n,m}; anything else is a literal brace. *taken tells which.
static sg_status pattern_interval(pattern_reader *r, bool *taken)
{
    size_t at = r->at + 1;
    unsigned low, high;
    bool has_low = pattern_number(r, &at, &low), comma = false, has_high = false;
    if (at < r->bytes && r->text[at] == ',') {
        comma = true;
        at++;
        has_high = pattern_number(r, &at, &high);
    }
    *taken = at < r->bytes && r->text[at] == '}' && (has_low || has_high);
    if (!*taken) return SG_OK;
    if (!r->can_repeat) return pattern_refuse(r, "nothing to repeat");
    if (!comma) high = low;
    if ((has_high || !comma) && high < low) return pattern_refuse(r, "not an interval");
    if (low > 1000 || (has_high && high > 1000))
        return pattern_refuse(r, "repeats of more than 1000 are not supported");
    char text[40];
    if (comma && !has_high)
        snprintf(text, sizeof text, "{%u,}", low);
    else
        snprintf(text, sizeof text, "{%u,%u}", low, high);
    pattern_puts(r, text);
    r->at = at + 1;
    // In Ruby syntax "{2}+" repeats the repeat and "{2}?" makes it optional.
    if (pattern_ahead(r, "+") || (pattern_ahead(r, "?") && !comma))
        return pattern_refuse(r, "this modifier of an interval is not supported");
    if (pattern_ahead(r, "?")) {
        pattern_puts(r, "?");
        r->at++;
    }
    r->can_repeat = false;
    return SG_OK;
}

static sg_status pattern_quantifier(pattern_reader *r)
{
    if (!r->can_repeat) return pattern_refuse(r, "nothing to repeat, or repeated twice");
    pattern_put(r, r->text + r->at, 1);
    r->at++;
    if (pattern_ahead(r, "+") || pattern_ahead(r, "?")) {
        pattern_put(r, r->text + r->at, 1);
        r->at++;
    }
    r->can_repeat = false;
    r->last_letter = 0;
    return SG_OK;
}

static sg_status pattern_sequence(pattern_reader *r, int depth);

static sg_status pattern_group(pattern_reader *r, int depth)
{
    static const char *const openings[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    if (depth == pattern_depth_max) return pattern_refuse(r, "groups are nested too deep");
    size_t found = 0;
    while (found < 7 && !pattern_ahead(r, openings[found]))
        found++;
    if (found == 7 && pattern_ahead(r, "(?"))
        return pattern_refuse(r, "this kind of group is not supported");
    const char *opening = found < 7 ? openings[found] : "(";
    bool looks = found >= 1 && found <= 4, fold = r->fold;
    if (looks && fold) return pattern_refuse(r, "assertions under (?i are not supported");
    pattern_puts(r, opening);
    r->at += strlen(opening);
    if (found == 6) r->fold = true;
    r->last_letter = 0;
    SG_TRY(pattern_sequence(r, depth + 1));
    if (!pattern_ahead(r, ")")) return pattern_refuse(r, "the group is not closed");
    pattern_puts(r, ")");
    r->at++;
    r->fold = fold;
    r->last_letter = 0;
    r->can_repeat = !looks; // the engines disagree about repeated assertions
    return SG_OK;
}

static sg_status pattern_sequence(pattern_reader *r, int depth)
{
    r->can_repeat = false;
    while (r->at < r->bytes) {
        char c = r->text[r->at];
        bool taken = false;
        switch (c) {
        case ')':
            if (depth == 0) return pattern_refuse(r, "closes no group");
            return SG_OK;
        case '(':
            SG_TRY(pattern_group(r, depth));
            break;
        case '[':
            SG_TRY(pattern_class(r));
            break;
        case '*':
        case '+':
        case '?':
            SG_TRY(pattern_quantifier(r));
            break;
        case '{':
            SG_TRY(pattern_interval(r, &taken));
            if (!taken) SG_TRY(pattern_item(r));
            break;
        case '|':
        case '^':
        case '$':
        case '.':
            pattern_put(r, &c, 1);
            r->at++;
            r->can_repeat = c == '.';
            r->last_letter = 0;
            break;
        default:
            SG_TRY(pattern_item(r));
            break;
        }
        if (r->no_memory) return sg_fail(r->err, SG_ERR_MEMORY, "out of memory");
    }
    return SG_OK;
}

sg_status sg_pattern_translate(const char *pattern, size_t bytes, sg_bytes *out, sg_error *err)
{
    pattern_reader reader = {.text = pattern, .bytes = bytes, .out = out, .err = err};
    if (sg_utf8_valid_prefix(pattern, bytes) != bytes)
        return sg_fail(err, SG_ERR_FORMAT, "regular expression: not valid UTF-8");
    SG_TRY(pattern_sequence(&reader, 0));
    if (reader.no_memory) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    return SG_OK;
}
