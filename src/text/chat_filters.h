// The filters of chat templates that work on lists; the table of all is in chat_filters.c.
#ifndef SG_TEXT_CHAT_FILTERS_H
#define SG_TEXT_CHAT_FILTERS_H

#include "text/chat_value.h"

// Each as Jinja's filter of that name.
sg_status sg_chat_filter_batch(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_dictsort(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_first(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_groupby(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_items(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_join(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_last(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_length(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_list(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_map(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_max(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_min(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_reject(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_rejectattr(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_reverse(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_select(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_selectattr(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_slice(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_sort(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_sum(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
sg_status sg_chat_filter_unique(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);

#endif
