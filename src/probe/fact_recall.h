// Recall of facts that are read already: what sg_probe_recall and sweeps share.
#ifndef SG_PROBE_FACT_RECALL_H
#define SG_PROBE_FACT_RECALL_H

#include "probe/facts.h"
#include "sgatlin_recall.h"

// As sg_probe_recall; options->facts is what errors call them. *result->rows: sg_buffer_free.
sg_status sg_facts_recall(sg_model *model, const sg_facts *facts, const sg_recall_options *options,
                          sg_recall_result *result, sg_error *err);

#endif
