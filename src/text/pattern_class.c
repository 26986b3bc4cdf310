// Characters, escapes and classes of a pattern. A class is written for PCRE2 as one class where
// that can say it, else as alternatives and assertions of one character: what PCRE2 lacks are
// intersections, and complements inside a class of sets whose Unicode is not its own.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/pattern_reader.h"
#include "text/unicode_tables.h"

typedef enum class_kind {
    CLASS_CODE,     // one character
    CLASS_SPACE,    // \s
    CLASS_CATEGORY, // \p{Lu}, \d
    CLASS_RANGES,   // \p{Han}, \h and the like
    CLASS_WORD      // \w
} class_kind;

typedef struct class_atom {
    class_kind kind;
    uint32_t code;
    bool negated;
    char category[3];
    const sg_code_range *ranges;
    size_t range_count;
} class_atom;

// A union of characters: what stands in one pair of brackets, and alternatives "|…|…" besides.
typedef struct class_union {
    sg_bytes plain, others;
} class_union;

static const sg_code_range class_hex[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
static const sg_code_range class_ascii[] = {{0, 0x7F}};

static void class_free(class_union *u)
{
    sg_free(u->plain.data);
    sg_free(u->others.data);
}

// ---- sets of characters -----------------------------------------------------------------------

static void class_add_code(sg_pattern_reader *r, sg_bytes *to, uint32_t code)
{
    char text[16];
    snprintf(text, sizeof text, "\\x{%x}", code);
    sg_pattern_adds(r, to, text);
}

static void class_add_range(sg_pattern_reader *r, sg_bytes *to, uint32_t first, uint32_t last)
{
    class_add_code(r, to, first);
    if (last == first) return;
    sg_pattern_adds(r, to, "-");
    class_add_code(r, to, last);
}

// \s: Unicode White_Space. PCRE2's own \s also takes U+180E.
static const sg_code_range class_spaces[] = {
    {0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};

static void class_add_space(sg_pattern_reader *r, sg_bytes *to, bool negated)
{
    uint32_t next = 0;
    for (size_t i = 0; i < sizeof class_spaces / sizeof *class_spaces; i++) {
        if (negated)
            class_add_range(r, to, next, class_spaces[i].first - 1);
        else
            class_add_range(r, to, class_spaces[i].first, class_spaces[i].last);
        next = class_spaces[i].last + 1;
    }
    // The complement leaves out the surrogates, which no text holds.
    if (!negated) return;
    class_add_range(r, to, next, 0xD7FF);
    class_add_range(r, to, 0xE000, 0x10FFFF);
}

static bool class_is_in(const char *category, const char *of)
{
    return category[0] == of[0] && (of[1] == '\0' || category[1] == of[1]);
}

// A general category, with the characters that got it after Unicode 14.
static void class_add_category(sg_pattern_reader *r, sg_bytes *to, const char *name)
{
    sg_pattern_adds(r, to, "\\p{");
    sg_pattern_adds(r, to, name);
    sg_pattern_adds(r, to, "}");
    for (size_t i = 0; i < sg_category_changes_count; i++) {
        const sg_category_range *range = &sg_category_changes[i];
        if (class_is_in(range->category, name)) class_add_range(r, to, range->first, range->last);
    }
}

// The characters that lost it.
static void class_add_lost(sg_pattern_reader *r, sg_bytes *to, const char *name)
{
    for (size_t i = 0; i < sg_category_changes_count; i++) {
        const sg_category_range *range = &sg_category_changes[i];
        if (class_is_in(range->before, name) && !class_is_in(range->category, name))
            class_add_range(r, to, range->first, range->last);
    }
}

// Letters, marks, digits, letter numbers and connectors, and the letters in circles and squares.
static void class_add_word(sg_pattern_reader *r, sg_bytes *to)
{
    static const char *const categories[] = {"L", "M", "Nd", "Nl", "Pc"};
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        class_add_category(r, to, categories[i]);
    class_add_range(r, to, 0x24B6, 0x24E9);
    class_add_range(r, to, 0x1F130, 0x1F149);
    class_add_range(r, to, 0x1F150, 0x1F169);
    class_add_range(r, to, 0x1F170, 0x1F189);
}

void sg_pattern_word(sg_pattern_reader *r, sg_bytes *to)
{
    sg_pattern_adds(r, to, "[");
    class_add_word(r, to);
    // Outside of classes the engine has a table of its own for Latin-1.
    sg_pattern_adds(r, to, "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]");
}

// The atom without its negation, as the inside of brackets.
static void class_add_set(sg_pattern_reader *r, sg_bytes *to, const class_atom *a)
{
    switch (a->kind) {
    case CLASS_CODE:
        class_add_code(r, to, a->code);
        break;
    case CLASS_SPACE:
        class_add_space(r, to, false);
        break;
    case CLASS_CATEGORY:
        class_add_category(r, to, a->category);
        break;
    case CLASS_RANGES:
        for (size_t i = 0; i < a->range_count; i++)
            class_add_range(r, to, a->ranges[i].first, a->ranges[i].last);
        break;
    case CLASS_WORD:
        class_add_word(r, to);
        break;
    }
}

// One character of the atom, or none of it, as an expression of its own.
static void class_add_alone(sg_pattern_reader *r, sg_bytes *to, const class_atom *a)
{
    sg_bytes lost = {0};
    if (a->kind == CLASS_CATEGORY) class_add_lost(r, &lost, a->category);
    if (lost.count > 0) {
        sg_pattern_adds(r, to, a->negated ? "(?>[" : "(?>(?![");
        sg_pattern_add(r, to, lost.data, lost.count);
        sg_pattern_adds(r, to, a->negated ? "]|[^" : "])[");
    } else {
        sg_pattern_adds(r, to, a->negated ? "[^" : "[");
    }
    class_add_set(r, to, a);
    sg_pattern_adds(r, to, lost.count > 0 ? "])" : "]");
    sg_free(lost.data);
}

static void class_join(sg_pattern_reader *r, class_union *u, const class_atom *a)
{
    sg_bytes lost = {0};
    if (a->kind == CLASS_CATEGORY) class_add_lost(r, &lost, a->category);
    if (a->kind == CLASS_SPACE && a->negated) {
        class_add_space(r, &u->plain, true);
    } else if (a->negated || lost.count > 0) {
        sg_pattern_adds(r, &u->others, "|");
        class_add_alone(r, &u->others, a);
    } else {
        class_add_set(r, &u->plain, a);
    }
    sg_free(lost.data);
}

// ---- names ------------------------------------------------------------------------------------

static const struct {
    const char *name; // in small letters, without spaces, lines and hyphens
    const char *category;
} class_categories[] = {
    {"l", "L"},
    {"lu", "Lu"},
    {"ll", "Ll"},
    {"lt", "Lt"},
    {"lm", "Lm"},
    {"lo", "Lo"},
    {"m", "M"},
    {"mn", "Mn"},
    {"mc", "Mc"},
    {"me", "Me"},
    {"n", "N"},
    {"nd", "Nd"},
    {"nl", "Nl"},
    {"no", "No"},
    {"p", "P"},
    {"pc", "Pc"},
    {"pd", "Pd"},
    {"ps", "Ps"},
    {"pe", "Pe"},
    {"pi", "Pi"},
    {"pf", "Pf"},
    {"po", "Po"},
    {"s", "S"},
    {"sm", "Sm"},
    {"sc", "Sc"},
    {"sk", "Sk"},
    {"so", "So"},
    {"z", "Z"},
    {"zs", "Zs"},
    {"zl", "Zl"},
    {"zp", "Zp"},
    {"c", "C"},
    {"cc", "Cc"},
    {"cf", "Cf"},
    {"cn", "Cn"},
    {"co", "Co"},
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"digit", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"punct", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"cntrl", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
};

static void class_set_ranges(class_atom *a, const sg_code_range *ranges, size_t count)
{
    a->kind = CLASS_RANGES;
    a->ranges = ranges;
    a->range_count = count;
}

// Finds what \p{name} is; false when it is not known here.
static bool class_find_name(const char *name, class_atom *a)
{
    for (size_t i = 0; i < sizeof class_categories / sizeof *class_categories; i++) {
        if (strcmp(class_categories[i].name, name) != 0) continue;
        a->kind = CLASS_CATEGORY;
        snprintf(a->category, sizeof a->category, "%s", class_categories[i].category);
        return true;
    }
    for (size_t i = 0; i < sg_scripts_count; i++) {
        if (strcmp(sg_scripts[i].name, name) != 0) continue;
        class_set_ranges(a, sg_scripts[i].ranges, sg_scripts[i].count);
        return true;
    }
    if (strcmp(name, "word") == 0)
        a->kind = CLASS_WORD;
    else if (strcmp(name, "space") == 0)
        a->kind = CLASS_SPACE;
    else if (strcmp(name, "xdigit") == 0)
        class_set_ranges(a, class_hex, 3);
    else if (strcmp(name, "ascii") == 0)
        class_set_ranges(a, class_ascii, 1);
    else
        return false;
    return true;
}

// Reads {NAME} of \p.
static sg_status class_read_property(sg_pattern_reader *r, class_atom *a)
{
    if (r->at == r->bytes || r->text[r->at] != '{')
        return sg_pattern_refuse(r, "\\p needs a property in braces");
    size_t at = r->at + 1, length = 0;
    if (at < r->bytes && r->text[at] == '^') {
        a->negated = !a->negated;
        at++;
    }
    char name[32];
    for (; at < r->bytes && r->text[at] != '}' && length < sizeof name - 1; at++) {
        char c = r->text[at];
        if (c == ' ' || c == '_' || c == '-') continue;
        name[length++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    name[length] = '\0';
    if (at == r->bytes || r->text[at] != '}' || !class_find_name(name, a))
        return sg_pattern_refuse(r, "this property is not supported, expected a general category "
                                    "such as \\p{L} or \\p{Nd}, or a script such as \\p{Han}");
    r->at = at + 1;
    return SG_OK;
}

// ---- one character or escape ------------------------------------------------------------------

static int class_hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Digits of \xHH, \x{…} and \uHHHH; r->at stands behind the letter.
static sg_status class_read_hex(sg_pattern_reader *r, char letter, uint32_t *code)
{
    bool braces = letter == 'x' && r->at < r->bytes && r->text[r->at] == '{';
    if (braces) r->at++;
    size_t most = braces ? 8 : letter == 'u' ? 4 : 2, digits = 0;
    uint64_t value = 0;
    while (digits < most && r->at < r->bytes && class_hex_digit(r->text[r->at]) >= 0) {
        value = value * 16 + (uint64_t)class_hex_digit(r->text[r->at++]);
        digits++;
    }
    bool closed = !braces || (r->at < r->bytes && r->text[r->at] == '}');
    // \x80 to \xff are bytes to Oniguruma, characters to PCRE2.
    bool a_byte = letter == 'x' && !braces && value >= 0x80;
    if (!closed || digits == 0 || (!braces && digits != most) || a_byte || value > 0x10FFFF ||
        (value >= 0xD800 && value < 0xE000))
        return sg_pattern_refuse(r, "not a code point");
    if (braces) r->at++;
    *code = (uint32_t)value;
    return SG_OK;
}

// The letters of escapes that are sets; false for others.
static bool class_read_set(char c, class_atom *a)
{
    switch (c) {
    case 's':
    case 'S':
        a->kind = CLASS_SPACE;
        break;
    case 'd':
    case 'D':
        a->kind = CLASS_CATEGORY;
        memcpy(a->category, "Nd", 3);
        break;
    case 'w':
    case 'W':
        a->kind = CLASS_WORD;
        break;
    case 'h':
    case 'H':
        class_set_ranges(a, class_hex, 3);
        break;
    default:
        return false;
    }
    a->negated = c >= 'A' && c <= 'Z';
    return true;
}

static sg_status class_read_atom(sg_pattern_reader *r, class_atom *a)
{
    static const char controls[][2] = {{'n', '\n'}, {'r', '\r'}, {'t', '\t'},  {'f', '\f'},
                                       {'v', '\v'}, {'a', '\a'}, {'e', '\x1b'}};
    *a = (class_atom){.kind = CLASS_CODE};
    if (r->text[r->at] != '\\') {
        r->at += (size_t)sg_utf8_decode_valid(r->text + r->at, &a->code);
        return SG_OK;
    }
    if (r->bytes - r->at < 2) return sg_pattern_refuse(r, "ends in a backslash");
    char c = r->text[r->at + 1];
    bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
        if (c != controls[i][0]) continue;
        a->code = (uint32_t)controls[i][1];
        r->at += 2;
        return SG_OK;
    }
    if (c == 'p' || c == 'P') {
        a->negated = c == 'P';
        r->at += 2;
        return class_read_property(r, a);
    }
    if (c == 'x' || c == 'u') {
        r->at += 2;
        return class_read_hex(r, c, &a->code);
    }
    if (!class_read_set(c, a)) {
        if (letter || (unsigned char)c >= 0x80)
            return sg_pattern_refuse(r, "this escape is not supported here");
        a->code = (uint32_t)(unsigned char)c;
    }
    r->at += 2;
    return SG_OK;
}

// Under (?i, Oniguruma folds some pairs of letters to one character ("ss" to U+00DF), PCRE2 does
// not.
static sg_status class_folded(sg_pattern_reader *r, uint32_t code)
{
    static const char *const pairs[] = {"ss", "st", "ff", "fi", "fl"};
    if (code >= 0x80) return sg_pattern_refuse(r, "only ASCII is supported under (?i");
    char letter = (char)(code >= 'A' && code <= 'Z' ? code + 32 : code);
    for (size_t i = 0; i < 5; i++)
        if (r->last_letter == pairs[i][0] && letter == pairs[i][1])
            return sg_pattern_refuse(r, "this pair of letters is not supported under (?i");
    r->last_letter = letter;
    return SG_OK;
}

static void class_put_literal(sg_pattern_reader *r, uint32_t code)
{
    char text[4];
    bool plain = code >= 0x80 || (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') ||
                 (code >= 'A' && code <= 'Z') || code == ' ';
    if (plain)
        sg_pattern_add(r, r->out, text, (size_t)sg_utf8_encode(code, text));
    else
        class_add_code(r, r->out, code);
}

sg_status sg_pattern_character(sg_pattern_reader *r)
{
    class_atom atom;
    SG_TRY(class_read_atom(r, &atom));
    r->can_repeat = true;
    if (atom.kind == CLASS_CODE) {
        if (r->fold) SG_TRY(class_folded(r, atom.code));
        class_put_literal(r, atom.code);
        return SG_OK;
    }
    r->last_letter = 0;
    // Outside of brackets case does not matter to a set.
    if (r->fold) sg_pattern_adds(r, r->out, "(?-i:");
    if (atom.kind != CLASS_WORD) {
        class_add_alone(r, r->out, &atom);
    } else if (!atom.negated) {
        sg_pattern_word(r, r->out);
    } else {
        sg_pattern_adds(r, r->out, "(?>(?!");
        sg_pattern_word(r, r->out);
        sg_pattern_adds(r, r->out, ")\\p{Any})");
    }
    if (r->fold) sg_pattern_adds(r, r->out, ")");
    return SG_OK;
}

// ---- [ ] --------------------------------------------------------------------------------------

// Appends the union as one expression (of one character, so that there is nothing to go back to),
// or that of one character outside of it. `before` has the assertions of what it is intersected
// with.
static void class_add_union(sg_pattern_reader *r, sg_bytes *to, const class_union *u,
                            const sg_bytes *before, bool negated)
{
    bool simple = u->others.count == 0 && before->count == 0;
    if (!simple) sg_pattern_adds(r, to, negated ? "(?>(?!" : "(?>");
    sg_pattern_add(r, to, before->data, before->count);
    if (!simple) sg_pattern_adds(r, to, "(?>");
    size_t skip = u->plain.count == 0 ? 1 : 0; // the first bar
    if (u->plain.count > 0) {
        sg_pattern_adds(r, to, simple && negated ? "[^" : "[");
        sg_pattern_add(r, to, u->plain.data, u->plain.count);
        sg_pattern_adds(r, to, "]");
    }
    if (u->others.count > skip)
        sg_pattern_add(r, to, u->others.data + skip, u->others.count - skip);
    if (!simple) sg_pattern_adds(r, to, negated ? "))\\p{Any})" : "))");
}

// Under (?i brackets hold only what folding leaves alone or PCRE2 folds alike.
static sg_status class_check_fold(sg_pattern_reader *r, const class_atom *a)
{
    if (!r->fold) return SG_OK;
    bool fine = a->kind == CLASS_SPACE || (a->kind == CLASS_CODE && a->code < 0x80) ||
                (a->kind == CLASS_RANGES && a->ranges == class_hex) ||
                (a->kind == CLASS_CATEGORY && strchr("NPZC", a->category[0]) != NULL);
    return fine ? SG_OK
                : sg_pattern_refuse(r, "only ASCII, white space, numbers and punctuation are "
                                       "supported in classes under (?i");
}

// [:name:] or [:^name:].
static sg_status class_posix(sg_pattern_reader *r, class_union *u)
{
    static const char *const names[] = {"digit", "space", "xdigit", "word",
                                        "ascii", "cntrl", "punct",  "blank"};
    class_atom a = {.negated = sg_pattern_ahead(r, "[:^")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char whole[16];
        snprintf(whole, sizeof whole, "%s%s:]", a.negated ? "[:^" : "[:", names[i]);
        if (!sg_pattern_ahead(r, whole)) continue;
        bool blank = strcmp(names[i], "blank") == 0, punct = strcmp(names[i], "punct") == 0;
        if ((blank || punct) && (a.negated || r->fold)) break;
        class_find_name(blank ? "zs" : names[i], &a);
        SG_TRY(class_check_fold(r, &a));
        class_join(r, u, &a);
        if (blank) sg_pattern_adds(r, &u->plain, "\\x{9}");
        if (punct) class_add_category(r, &u->plain, "S");
        r->at += strlen(whole);
        return SG_OK;
    }
    return sg_pattern_refuse(r, "this class in [: :] is not supported");
}

// A character, an escape, or a range.
static sg_status class_item(sg_pattern_reader *r, class_union *u)
{
    class_atom first, last;
    SG_TRY(class_read_atom(r, &first));
    SG_TRY(class_check_fold(r, &first));
    bool range = sg_pattern_ahead(r, "-") && !sg_pattern_ahead(r, "-]");
    if (first.kind != CLASS_CODE) {
        if (range) return sg_pattern_refuse(r, "a range cannot begin with a class");
        class_join(r, u, &first);
        return SG_OK;
    }
    if (!range) {
        class_join(r, u, &first);
        return SG_OK;
    }
    r->at++;
    if (r->at == r->bytes) return sg_pattern_refuse(r, "the class is not closed");
    if (sg_pattern_ahead(r, "[")) return sg_pattern_refuse(r, "a range cannot end with a class");
    SG_TRY(class_read_atom(r, &last));
    SG_TRY(class_check_fold(r, &last));
    if (last.kind != CLASS_CODE || last.code < first.code)
        return sg_pattern_refuse(r, "not a range of characters");
    class_add_range(r, &u->plain, first.code, last.code);
    return SG_OK;
}

static sg_status class_nested(sg_pattern_reader *r, int depth, class_union *into);

// What stands between [ or [^ and ]: unions with && between them. `before` gets assertions of all
// but the last.
static sg_status class_inside(sg_pattern_reader *r, int depth, class_union *u, sg_bytes *before)
{
    // In Ruby "[]a]" is an error or a literal, depending on what follows.
    if (sg_pattern_ahead(r, "]")) return sg_pattern_refuse(r, "empty class");
    static const sg_bytes none;
    while (r->at < r->bytes) {
        if (r->no_memory) return sg_fail(r->err, SG_ERR_MEMORY, "out of memory");
        bool both = sg_pattern_ahead(r, "&&");
        if ((both || sg_pattern_ahead(r, "]")) && u->plain.count + u->others.count == 0)
            return sg_pattern_refuse(r, "one side of && is empty");
        if (sg_pattern_ahead(r, "]")) {
            r->at++;
            return SG_OK;
        }
        if (both) {
            if (r->fold) return sg_pattern_refuse(r, "&& is not supported under (?i");
            r->at += 2;
            sg_pattern_adds(r, before, "(?=");
            class_add_union(r, before, u, &none, false);
            sg_pattern_adds(r, before, ")");
            u->plain.count = u->others.count = 0;
        } else if (sg_pattern_ahead(r, "[:")) {
            SG_TRY(class_posix(r, u));
        } else if (sg_pattern_ahead(r, "[")) {
            SG_TRY(class_nested(r, depth + 1, u));
        } else {
            SG_TRY(class_item(r, u));
        }
    }
    return sg_pattern_refuse(r, "the class is not closed");
}

// Reads a class from its [ on; the caller frees the two, also on failure.
static sg_status class_read(sg_pattern_reader *r, int depth, class_union *u, sg_bytes *before,
                            bool *negated)
{
    if (depth == SG_PATTERN_DEPTH_MAX) return sg_pattern_refuse(r, "classes are nested too deep");
    r->at++;
    *negated = sg_pattern_ahead(r, "^");
    if (*negated) r->at++;
    return class_inside(r, depth, u, before);
}

// Reads a class inside another and joins it to that one.
static sg_status class_nested(sg_pattern_reader *r, int depth, class_union *into)
{
    class_union u = {0};
    sg_bytes before = {0};
    bool negated = false;
    sg_status status = class_read(r, depth, &u, &before, &negated);
    if (status == SG_OK && !negated && before.count == 0) {
        sg_pattern_add(r, &into->plain, u.plain.data, u.plain.count);
        sg_pattern_add(r, &into->others, u.others.data, u.others.count);
    } else if (status == SG_OK) {
        sg_pattern_adds(r, &into->others, "|");
        class_add_union(r, &into->others, &u, &before, negated);
    }
    class_free(&u);
    sg_free(before.data);
    return status;
}

sg_status sg_pattern_class(sg_pattern_reader *r)
{
    class_union u = {0};
    sg_bytes before = {0};
    bool negated;
    sg_status status = class_read(r, 0, &u, &before, &negated);
    if (status == SG_OK) class_add_union(r, r->out, &u, &before, negated);
    class_free(&u);
    sg_free(before.data);
    r->can_repeat = true;
    r->last_letter = 0;
    return status;
}
