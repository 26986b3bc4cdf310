// The date that strftime_now writes.
#ifndef SG_TEXT_CHAT_DATE_H
#define SG_TEXT_CHAT_DATE_H

#include "text/chat_value.h"

// date: "2026-01-31", or with a time: "2026-01-31 23:59:59" (a T may stand for the space).
// SG_ERR_ARGUMENT where it is none.
sg_status sg_chat_date_text(sg_chat_run *r, const char *date, const sg_chat_value *format,
                            sg_chat_value *out);

#endif
