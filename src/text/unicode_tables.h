// The tables of unicode_tables.c and unicode_properties.c, which tools/unicode_tables.py makes. For
// unicode.c, normalize.c and pattern_class.c; others call those.
#ifndef SG_TEXT_UNICODE_TABLES_H
#define SG_TEXT_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

typedef struct sg_code_range {
    uint32_t first, last;
} sg_code_range;

typedef struct sg_lower_range {
    uint32_t first, last, step;
    int32_t delta;
} sg_lower_range;

typedef struct sg_category_range {
    uint32_t first, last;
    char category[3], before[3]; // "Lu"; `before`: in Unicode 14
} sg_category_range;

typedef struct sg_script {
    const char *name; // in small letters
    const sg_code_range *ranges;
    size_t count;
} sg_script;

extern const uint8_t sg_class_pages[][64];
extern const uint8_t sg_class_index[0x1100];
extern const sg_code_range sg_word_ranges[];
extern const size_t sg_word_ranges_count;
extern const sg_code_range sg_numeric_ranges[];
extern const size_t sg_numeric_ranges_count;
extern const sg_code_range sg_punctuation_ranges[];
extern const size_t sg_punctuation_ranges_count;
extern const sg_code_range sg_inert_ranges[];
extern const size_t sg_inert_ranges_count;
extern const sg_code_range sg_second_ranges[];
extern const size_t sg_second_ranges_count;
extern const sg_lower_range sg_lower_ranges[];
extern const size_t sg_lower_ranges_count;
extern const sg_category_range sg_category_changes[];
extern const size_t sg_category_changes_count;
extern const sg_script sg_scripts[];
extern const size_t sg_scripts_count;

#endif
