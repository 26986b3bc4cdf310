// Where the classifier is computed in another kind than the rest, all work W = B + L is done at the
// rate W / (B / b + L / l), b and l what products of the two kinds reach.
#include "train/run_peak.h"

#include "base/clock.h"
#include "kernel/measure.h"

static const double peak_seconds = 0.05; // for each kind

double sg_run_peak_look(sg_run_peak *p, sg_context *context, const sg_train_options *o,
                        const sg_cost *cost, double every)
{
    const double start = sg_clock_seconds();
    double body = 0, logits = 0;
    sg_error ignored = {0};
    if (!(every > 0) || (p->count > 0 && start - p->time < every)) return 0;
    sg_status status = sg_measure_gemm(context, o->compute, peak_seconds, &body, &ignored);
    logits = body;
    if (status == SG_OK && o->logits_compute != o->compute)
        status = sg_measure_gemm(context, o->logits_compute, peak_seconds, &logits, &ignored);
    p->time = sg_clock_seconds();
    if (status != SG_OK || !(body > 0 && logits > 0)) return p->time - start;
    const double share = cost->logits_flops / cost->forward_work_per_sequence;
    p->rates[p->count++ % SG_PEAK_KEPT] = 1e9 / ((1 - share) / body + share / logits);
    return p->time - start;
}

double sg_run_peak_median(const sg_run_peak *p)
{
    double sorted[SG_PEAK_KEPT];
    const int n = p->count < SG_PEAK_KEPT ? (int)p->count : SG_PEAK_KEPT;
    if (n == 0) return 0;
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && sorted[at - 1] > p->rates[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = p->rates[i];
    }
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}
