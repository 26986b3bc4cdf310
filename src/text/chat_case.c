// Upper, lower and title case of texts in templates, equal to Python's str.upper, lower and the
// like.
#include "text/chat_case.h"

#include "base/alloc.h"
#include "text/chat_value.h"

static uint32_t case_run(const sg_chat_case_run *run, uint32_t code)
{
    for (; run->first != 0 && run->first <= code; run++)
        if (code <= run->last && (code - run->first) % run->step == 0)
            return (uint32_t)((int64_t)code + run->delta);
    return code;
}

static const sg_chat_case_special *case_special(const sg_chat_case_special *row, uint32_t code)
{
    while (row->code != 0 && row->code != code)
        row++;
    return row->code == 0 ? NULL : row;
}

int sg_chat_case_of(uint32_t code)
{
    // Letters with a lower case only, which no table of changes tells.
    static const uint32_t small[][2] = {
        {0xAA, 0xAA},     {0xBA, 0xBA},     {0x138, 0x138},   {0x18D, 0x18D},   {0x19B, 0x19B},
        {0x1AA, 0x1AB},   {0x1BA, 0x1BA},   {0x221, 0x221},   {0x234, 0x239},   {0x277, 0x27C},
        {0x2B0, 0x2B8},   {0x2C0, 0x2C1},   {0x2E0, 0x2E4},   {0x37A, 0x37A},   {0x1D00, 0x1DBF},
        {0x2071, 0x2071}, {0x207F, 0x207F}, {0x2090, 0x209C}, {0x2C7C, 0x2C7D}, {0xAB30, 0xAB6F}};
    if (case_run(sg_chat_lower_runs, code) != code) return 2;
    if (case_run(sg_chat_upper_runs, code) != code) return 1;
    if (case_special(sg_chat_upper_special, code) != NULL) return 1;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (code >= small[i][0] && code <= small[i][1]) return 1;
    return 0;
}

// Whether a letter with a case stands before `at`, or behind it: marks on letters are passed over.
static bool case_beside(const sg_chat_value *text, size_t at, bool before)
{
    uint32_t code;
    const char *all = text->text;
    while (before ? at > 0 : at < text->count) {
        if (before) do
                at--;
            while (((unsigned char)all[at] & 0xC0) == 0x80);
        size_t length = (size_t)sg_utf8_decode_valid(all + at, &code);
        if (!before) at += length;
        bool passed = code == '\'' || code == '.' || code == ':' || code == '^' || code == '`' ||
                      code == 0xAD || code == 0xB7 || (code >= 0x300 && code < 0x370) ||
                      code == 0x2019;
        if (!passed) return sg_chat_case_of(code) != 0;
    }
    return false;
}

static size_t case_change(const sg_chat_value *text, size_t at, uint32_t code, sg_chat_case to,
                          uint32_t made[3])
{
    made[0] = code;
    made[1] = made[2] = 0;
    if (to == SG_CHAT_LOWER) {
        size_t behind = at + 2;
        made[0] = case_run(sg_chat_lower_runs, code);
        if (code == 0x130) { // a capital i with its dot
            made[0] = 'i';
            made[1] = 0x307;
        }
        if (code == 0x3A3 && case_beside(text, at, true) && !case_beside(text, behind, false))
            made[0] = 0x3C2; // sigma at the end of a word
    } else {
        const sg_chat_case_special *row =
            case_special(to == SG_CHAT_UPPER ? sg_chat_upper_special : sg_chat_title_special, code);
        for (int i = 0; row != NULL && i < 3; i++)
            made[i] = row->made[i];
        if (row == NULL) made[0] = case_run(sg_chat_upper_runs, code);
    }
    return made[1] == 0 ? 1 : made[2] == 0 ? 2 : 3;
}

sg_status sg_chat_recase(sg_chat_run *r, const sg_chat_value *text, sg_chat_case first,
                         sg_chat_case rest, sg_chat_value *out)
{
    sg_bytes made = {0};
    bool room = true;
    SG_TRY(sg_chat_pay_bytes(r, 16 * text->count));
    for (size_t i = 0; i < text->count && room;) {
        uint32_t code, codes[3];
        char bytes[4];
        size_t length = (size_t)sg_utf8_decode_valid(text->text + i, &code);
        size_t count = case_change(text, i, code, i == 0 ? first : rest, codes);
        for (size_t k = 0; k < count && room; k++)
            room = sg_bytes_add(&made, bytes, (size_t)sg_utf8_encode(codes[k], bytes));
        i += length;
    }
    if (room) return sg_chat_keep(r, &made, out);
    sg_free(made.data);
    return sg_fail(r->err, SG_ERR_MEMORY, "out of memory for the chat");
}
