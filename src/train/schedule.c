// Warm-up, plateau and decay, each step from its index alone: a resumed run has nothing to restore.
#include "train/schedule.h"

#include <math.h>

#include "train/run_fields.h"

sg_status sg_schedule_parse(const char *name, sg_schedule_kind *kind, sg_error *err)
{
    size_t number;
    SG_TRY(sg_train_choice("schedule", name, &number, err));
    *kind = (sg_schedule_kind)number;
    return SG_OK;
}

int64_t sg_schedule_decay(const sg_schedule *s)
{
    if (s->kind != SG_SCHEDULE_SQRT && s->kind != SG_SCHEDULE_LINEAR) return 0;
    return (int64_t)(s->decay_fraction * (double)s->steps);
}

sg_status sg_schedule_of_options(const sg_train_options *o, int64_t steps, sg_schedule *schedule,
                                 sg_error *err)
{
    // A short run of a long recipe would be over before its warm-up. One that was asked for is as
    // long as it says, and is refused where it does not fit.
    const int64_t most = (int64_t)(o->warmup_share * (double)steps);
    const bool whole = o->warmup_share >= 1 || o->warmup_steps < most;
    *schedule = (sg_schedule){.peak = o->lr,
                              .warmup = whole ? o->warmup_steps : most,
                              .steps = steps,
                              .decay_fraction = o->decay_fraction};
    SG_TRY(sg_schedule_parse(o->schedule, &schedule->kind, err));
    return sg_schedule_check(schedule, err);
}

sg_status sg_schedule_check(const sg_schedule *s, sg_error *err)
{
    if (s->warmup < 0 || s->warmup > s->steps)
        return sg_fail(err, SG_ERR_ARGUMENT, "warmup-steps: found %lld, expected 0 to %lld steps",
                       (long long)s->warmup, (long long)s->steps);
    if (s->kind == SG_SCHEDULE_COSINE_REFERENCE && s->warmup > 0 && 2 * s->warmup >= s->steps)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "warmup-steps: found %lld, expected less than half of %lld steps with "
                       "cosine_reference, which spans what two warm-ups leave",
                       (long long)s->warmup, (long long)s->steps);
    if (!(s->decay_fraction >= 0 && s->decay_fraction <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "decay-fraction: found %s, expected 0 to 1",
                       SG_NUMBER(s->decay_fraction));
    if (s->warmup + sg_schedule_decay(s) > s->steps)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "warmup-steps: %lld and %lld steps of decay do not fit into %lld steps",
                       (long long)s->warmup, (long long)sg_schedule_decay(s), (long long)s->steps);
    return SG_OK;
}

double sg_schedule_at(const sg_schedule *s, int64_t count)
{
    if (count < s->warmup) return s->peak * (double)count / (double)s->warmup;
    if (s->kind == SG_SCHEDULE_COSINE || s->kind == SG_SCHEDULE_COSINE_REFERENCE) {
        const int64_t warmups = s->kind == SG_SCHEDULE_COSINE ? 1 : 2;
        double span = (double)(s->steps - warmups * s->warmup);
        double t = span > 0 ? (double)(count - s->warmup) / span : 1;
        if (t > 1) t = 1;
        return s->peak * (0.1 + 0.9 * 0.5 * (1 + cos(3.141592653589793 * t)));
    }
    int64_t decay = sg_schedule_decay(s), j = count - (s->steps - decay);
    if (decay == 0 || j < 0) return s->peak;
    double t = (double)j / (double)decay;
    if (t > 1) t = 1;
    return s->peak * (1 - (s->kind == SG_SCHEDULE_SQRT ? sqrt(t) : t));
}
