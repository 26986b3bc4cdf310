// The figures a run begins with, and the search for a step that fits into memory. What is computed
// in micro-batches is never chosen by the machine: their sums round otherwise, and a run would
// depend on where it was begun. So the options that fit are named, and whoever begins the run gives
// them.
#include "train/run_plan.h"

#include <stdio.h>

#include "base/context.h"
#include "base/log.h"
#include "train/schedule.h"
#include "train/sparse_losses.h"

enum { plan_number = 4 }; // bytes of a weight, gradient or moment

// Gradients and two moments of what is trained, all weights, and the activations of a micro-batch.
static int64_t plan_memory(const sg_train_options *o, const sg_cost *cost, int64_t parameters,
                           int64_t trained)
{
    const int64_t copies = o->table_dtype == SG_WEIGHTS_F32 ? 0 : cost->bf16_table_bytes;
    return plan_number * (parameters + 3 * trained) + cost->activation_bytes + copies;
}

sg_train_plan sg_train_plan_make(const sg_train_options *o, const sg_data_info *info,
                                 const sg_cost *cost, int64_t steps, int64_t parameters,
                                 int64_t trained)
{
    if (trained < 0) trained = parameters;
    const double sequences = (double)o->batch_size * (double)steps;
    const int64_t rows = info->split[SG_SPLIT_TRAIN].rows;
    sg_train_plan plan = {.steps = steps,
                          .rows = rows,
                          .val_rows = info->split[SG_SPLIT_VAL].rows,
                          .seq_len = info->seq_len,
                          .batch_size = o->batch_size,
                          .grad_accum = o->grad_accum,
                          .tokens_per_step = o->batch_size * info->seq_len,
                          .epochs = rows > 0 ? sequences / (double)rows : 0,
                          .parameters = parameters,
                          .trained = trained,
                          .flops = 3 * cost->forward_flops_per_sequence * sequences,
                          .flops_all_in = 3 * cost->forward_flops_per_sequence_all_in * sequences,
                          .memory_bytes = plan_memory(o, cost, parameters, trained)};
    const bool adapters = o->lora_rank > 0;
    plan.checkpoint_bytes = plan_number * ((adapters ? trained : parameters) + 2 * trained);
    sg_schedule schedule;
    if (sg_schedule_of_options(o, steps, &schedule, NULL) == SG_OK) {
        plan.warmup_steps = schedule.warmup;
        plan.decay_steps = sg_schedule_decay(&schedule);
    }
    return plan;
}

sg_status sg_train_cost(const sg_context *context, const sg_train_options *o, int64_t seq_len,
                        sg_cost *cost, sg_error *err)
{
    const sg_cost_options options = {.seq_len = seq_len,
                                     .batch = o->batch_size / o->grad_accum,
                                     .recompute = o->recompute,
                                     .threads = context->threads,
                                     .compute = o->compute,
                                     .logits_compute = o->logits_compute,
                                     .memory_path = o->memory_path,
                                     .sparsity = sg_sparse_of_options(o)};
    return sg_config_cost_of(&o->config, &options, cost, err);
}

// ---- memory -------------------------------------------------------------------------------------

// The fewest micro-batches, and recomputation only where they do not do, that fit; bytes 0: nothing
// does.
typedef struct plan_fit {
    int64_t accum, bytes;
    bool recompute;
} plan_fit;

static sg_status plan_search(sg_context *context, const sg_train_options *options,
                             const sg_train_plan *plan, int64_t limit, plan_fit *fit, sg_error *err)
{
    sg_train_options o = *options;
    *fit = (plan_fit){0};
    for (int recompute = options->recompute; recompute <= 1; recompute++)
        for (int64_t n = options->grad_accum; n <= o.batch_size; n++) {
            sg_cost cost;
            if (o.batch_size % n != 0) continue;
            o.recompute = recompute;
            o.grad_accum = n;
            SG_TRY(sg_train_cost(context, &o, plan->seq_len, &cost, err));
            *fit =
                (plan_fit){n, plan_memory(&o, &cost, plan->parameters, plan->trained), recompute};
            if (fit->bytes <= limit) return SG_OK;
        }
    return SG_OK;
}

static void plan_advice(char *out, size_t capacity, const plan_fit *fit, bool had, int64_t limit)
{
    snprintf(out, capacity, "%s--grad-accum %lld%s takes %.3g GB",
             fit->bytes <= limit ? "" : "even ", (long long)fit->accum,
             fit->recompute && !had ? " --recompute" : "", (double)fit->bytes / 1e9);
}

sg_status sg_train_plan_check(sg_context *context, const sg_train_options *o,
                              const sg_train_plan *plan, const sg_machine_memory *memory,
                              sg_error *err)
{
    const bool never = plan->memory_bytes > memory->most;
    const int64_t limit = never ? memory->most : memory->available;
    char advice[128];
    plan_fit fit;
    if (plan->memory_bytes <= limit) return SG_OK;
    SG_TRY(plan_search(context, o, plan, limit, &fit, err));
    plan_advice(advice, sizeof advice, &fit, o->recompute, limit);
    if (never)
        return sg_fail(err, SG_ERR_MEMORY,
                       "a step takes %.3g GB of memory, expected at most the %.3g GB there are: %s",
                       (double)plan->memory_bytes / 1e9, (double)limit / 1e9, advice);
    sg_log(context, SG_LOG_WARNING, "a step takes %.3g GB of memory, and %.3g GB are free now: %s",
           (double)plan->memory_bytes / 1e9, (double)limit / 1e9, advice);
    return SG_OK;
}
