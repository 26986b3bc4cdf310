// Tables of upper, lower and title case, as Python's str has them. The last row of each is zero.
#ifndef SG_TEXT_CHAT_CASE_H
#define SG_TEXT_CHAT_CASE_H

#include <stdint.h>

// Characters first, first + step, … last: delta away is the other case.
typedef struct sg_chat_case_run {
    uint32_t first, last, step;
    int32_t delta;
} sg_chat_case_run;

// A character that becomes several, or whose title case is not its upper case; 0 ends them.
typedef struct sg_chat_case_special {
    uint32_t code, made[3];
} sg_chat_case_special;

extern const sg_chat_case_run sg_chat_lower_runs[], sg_chat_upper_runs[];
extern const sg_chat_case_special sg_chat_upper_special[], sg_chat_title_special[];

#endif
