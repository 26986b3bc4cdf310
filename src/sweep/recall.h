// What a model of a sweep knows of the sweep's facts.
#ifndef SG_SWEEP_RECALL_H
#define SG_SWEEP_RECALL_H

#include "probe/facts.h"

typedef struct sg_recall {
    int64_t facts;    // that could be asked
    int64_t recalled; // of them: in more than half of their prompts the right answer is likelier
                      // than each other answer of the relation
    double bits;      // learned, of all facts together (sgatlin_recall.h)
    double possible;  // bits of one that knows all of them
} sg_recall;

// Facts of which no prompt can be asked (SG_ERR_MISMATCH) say why. The same bits for any number of
// threads; about as long as evaluating as many tokens as the prompts have.
sg_status sg_sweep_recall(sg_model *model, const sg_tokenizer *tokenizer, const sg_facts *facts,
                          sg_recall *out, sg_error *err);

#endif
