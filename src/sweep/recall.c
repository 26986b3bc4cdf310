// The recall of facts without intervals: a sweep has seeds for these.
#include "sweep/recall.h"

#include "probe/fact_recall.h"

sg_status sg_sweep_recall(sg_model *model, const sg_tokenizer *tokenizer, const sg_facts *facts,
                          sg_recall *out, sg_error *err)
{
    sg_recall_options o = sg_recall_options_default();
    sg_recall_result result;
    o.tokenizer = tokenizer;
    o.bootstrap = 0;
    *out = (sg_recall){0};
    SG_TRY(sg_facts_recall(model, facts, &o, &result, err));
    *out = (sg_recall){.facts = result.all.facts,
                       .recalled = result.all.recalled,
                       .bits = result.all.bits.value,
                       .possible = result.all.possible};
    sg_buffer_free(result.rows);
    return SG_OK;
}
