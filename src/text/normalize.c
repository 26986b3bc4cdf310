// Normalisation in one pass: text whose characters no rule touches is copied, and only the stretch
// from the last untouched character before one that is touched to the next untouched one goes
// through decomposition, canonical ordering and composition. Data: utf8proc, less what is too new.
#include "text/normalize.h"

#include <string.h>
#include <utf8proc.h>

#include "base/alloc.h"

typedef struct norm_code {
    uint32_t code;
    uint8_t order; // canonical combining class
} norm_code;

typedef struct norm_run {
    norm_code *items;
    size_t count, capacity;
} norm_run;

static bool norm_composes(sg_normal_form form)
{
    return form == SG_FORM_NFC || form == SG_FORM_NFKC;
}

static bool norm_is_compat(sg_normal_form form)
{
    return form == SG_FORM_NFKC || form == SG_FORM_NFKD;
}

static uint8_t norm_order(uint32_t code)
{
    if (code < 0x300) return 0;
    utf8proc_propval_t order = utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
    return order == 0 || sg_char_is_inert(code) ? 0 : (uint8_t)order;
}

static bool norm_decomposes(sg_normal_form form, uint32_t code)
{
    if (code < 0xA0) return false;
    if (code >= 0xAC00 && code <= 0xD7A3) return true; // Hangul syllables
    const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)code);
    if (property->decomp_seqindex == UINT16_MAX) return false;
    return (property->decomp_type == 0 || norm_is_compat(form)) && !sg_char_is_inert(code);
}

// A character that neither changes nor joins what is before it.
static bool norm_is_inert(sg_normal_form form, uint32_t code)
{
    if (code < 0xA0) return true;
    if (norm_decomposes(form, code)) {
        // A precomposed character is its own composed form, but for the exclusions; a Hangul
        // syllable always is.
        return norm_composes(form) && code >= 0xAC00 && code <= 0xD7A3;
    }
    if (norm_order(code) != 0) return false;
    return !norm_composes(form) || !sg_char_is_second(code);
}

bool sg_is_plainly_normal(sg_normal_form form, const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        while (bytes - at >= 8) {
            uint64_t word;
            memcpy(&word, text + at, 8);
            if (word & 0x8080808080808080ULL) break;
            at += 8;
        }
        if (at == bytes) break;
        uint32_t code;
        at += (size_t)sg_utf8_decode_valid(text + at, &code);
        if (!norm_is_inert(form, code)) return false;
    }
    return true;
}

static bool norm_push(norm_run *run, uint32_t code)
{
    if (!sg_grow((void **)&run->items, &run->capacity, run->count + 1, sizeof *run->items))
        return false;
    run->items[run->count++] = (norm_code){code, norm_order(code)};
    return true;
}

// Adds the full decomposition of one character.
static bool norm_decompose(sg_normal_form form, uint32_t code, norm_run *run)
{
    if (!norm_decomposes(form, code)) return norm_push(run, code);
    utf8proc_int32_t parts[64];
    int boundary = 0;
    utf8proc_option_t options = UTF8PROC_DECOMPOSE;
    if (norm_is_compat(form)) options = (utf8proc_option_t)(options | UTF8PROC_COMPAT);
    utf8proc_ssize_t count =
        utf8proc_decompose_char((utf8proc_int32_t)code, parts, 64, options, &boundary);
    if (count <= 0 || count > 64) return norm_push(run, code); // the longest in Unicode has 18
    for (utf8proc_ssize_t i = 0; i < count; i++)
        if (!norm_push(run, (uint32_t)parts[i])) return false;
    return true;
}

// Sorts a stretch of combining marks by class, keeping the order of equals. Long stretches are
// counted instead of inserted, so that a million marks cost no more than linear time.
static bool norm_sort_marks(norm_code *marks, size_t count)
{
    if (count < 32) {
        for (size_t i = 1; i < count; i++) {
            norm_code mark = marks[i];
            size_t j = i;
            for (; j > 0 && marks[j - 1].order > mark.order; j--)
                marks[j] = marks[j - 1];
            marks[j] = mark;
        }
        return true;
    }
    size_t starts[257] = {0};
    for (size_t i = 0; i < count; i++)
        starts[marks[i].order + 1]++;
    for (size_t c = 1; c < 257; c++)
        starts[c] += starts[c - 1];
    norm_code *sorted = sg_alloc_array(count, sizeof *sorted);
    if (sorted == NULL) return false;
    for (size_t i = 0; i < count; i++)
        sorted[starts[marks[i].order]++] = marks[i];
    memcpy(marks, sorted, count * sizeof *marks);
    sg_free(sorted);
    return true;
}

static bool norm_order_run(norm_run *run)
{
    for (size_t i = 0; i < run->count;) {
        if (run->items[i].order == 0) {
            i++;
            continue;
        }
        size_t end = i;
        while (end < run->count && run->items[end].order != 0)
            end++;
        if (!norm_sort_marks(run->items + i, end - i)) return false;
        i = end;
    }
    return true;
}

// The primary composite of two characters, or 0.
static uint32_t norm_pair(uint32_t first, uint32_t second)
{
    // Hangul: Unicode 15, section 3.12.
    if (first >= 0x1100 && first < 0x1113 && second >= 0x1161 && second < 0x1176)
        return 0xAC00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28;
    if (first >= 0xAC00 && first <= 0xD7A3 && (first - 0xAC00) % 28 == 0 && second > 0x11A7 &&
        second < 0x11C3)
        return first + (second - 0x11A7);
    utf8proc_int32_t pair[3] = {(utf8proc_int32_t)first, (utf8proc_int32_t)second, 0};
    utf8proc_ssize_t count =
        utf8proc_normalize_utf32(pair, 2, (utf8proc_option_t)(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    if (count != 1) return 0;
    return sg_char_is_inert((uint32_t)pair[0]) ? 0 : (uint32_t)pair[0];
}

// Canonical composition (Unicode 15, section 3.11, D117) of an ordered run, in place.
static void norm_compose(norm_run *run)
{
    size_t out = 0, starter = SIZE_MAX;
    int last_order = -1; // class of the last mark kept since the starter; -1: none
    for (size_t i = 0; i < run->count; i++) {
        norm_code item = run->items[i];
        if (starter != SIZE_MAX && (last_order == -1 || last_order < item.order)) {
            uint32_t joined = norm_pair(run->items[starter].code, item.code);
            if (joined != 0) {
                run->items[starter].code = joined;
                continue;
            }
        }
        run->items[out] = item;
        if (item.order == 0) {
            starter = out;
            last_order = -1;
        } else {
            last_order = item.order;
        }
        out++;
    }
    run->count = out;
}

// Normalises the touched stretch that begins at text[at); returns where the next untouched
// character begins, or SIZE_MAX when out of memory.
static size_t norm_stretch(sg_normal_form form, const char *text, size_t bytes, size_t at,
                           norm_run *run, sg_bytes *out)
{
    run->count = 0;
    for (bool first = true; at < bytes; first = false) {
        uint32_t code;
        int length = sg_utf8_decode_valid(text + at, &code);
        if (!first && norm_is_inert(form, code)) break;
        if (!norm_decompose(form, code, run)) return SIZE_MAX;
        at += (size_t)length;
    }
    if (!norm_order_run(run)) return SIZE_MAX;
    if (norm_composes(form)) norm_compose(run);
    for (size_t i = 0; i < run->count; i++) {
        char piece[4];
        if (!sg_bytes_add(out, piece, (size_t)sg_utf8_encode(run->items[i].code, piece)))
            return SIZE_MAX;
    }
    return at;
}

bool sg_normalize(sg_normal_form form, const char *text, size_t bytes, sg_bytes *out)
{
    norm_run run = {0};
    // text[copied, at) is untouched; `last` is where its last character begins, which may be the
    // starter of a stretch.
    size_t copied = 0, last = 0, at = 0;
    bool fine = true;
    while (fine && at < bytes) {
        uint32_t code;
        int length = sg_utf8_decode_valid(text + at, &code);
        if (norm_is_inert(form, code)) {
            last = at;
            at += (size_t)length;
            continue;
        }
        if (last < copied) last = copied;
        fine = sg_bytes_add(out, text + copied, last - copied);
        if (!fine) break;
        at = norm_stretch(form, text, bytes, last, &run, out);
        fine = at != SIZE_MAX;
        copied = last = at;
    }
    sg_free(run.items);
    return fine && sg_bytes_add(out, text + copied, bytes - copied);
}
