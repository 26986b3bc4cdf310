// The analysis of a sweep from its rows to its remarks, in order (analysis.h).
#include "sweep/analysis.h"

#include "sweep/analysis_inside.h"

static const int64_t analysis_resamples = 2000, analysis_least = 100, analysis_most = 100000;

static sg_status analysis_steps(const sg_sweep_results *results, sg_draws *draws,
                                sg_sweep_analysis *out, sg_error *err)
{
    SG_TRY(sg_sweep_make_curves(results, out, err));
    for (size_t i = 0; i < out->curve_count; i++)
        SG_TRY(sg_sweep_fit_parabola(draws, i, &out->curves[i], err));
    SG_TRY(sg_sweep_fit_surfaces(draws, out, err));
    SG_TRY(sg_sweep_make_fronts(out, err));
    SG_TRY(sg_sweep_make_verdicts(draws, out, err));
    SG_TRY(sg_sweep_verdicts_in_seconds(draws, out, err));
    return sg_sweep_remark_all(results, draws, out, err);
}

sg_status sg_sweep_analyse(const sg_sweep_results *results,
                           const sg_sweep_analysis_options *options, sg_sweep_analysis *out,
                           sg_error *err)
{
    const int64_t asked = options != NULL ? options->resamples : 0;
    const int64_t resamples = asked == 0 ? analysis_resamples : asked;
    const uint64_t seed = options != NULL ? options->seed : 0;
    sg_draws draws;
    *out = (sg_sweep_analysis){0};
    if (resamples < analysis_least || resamples > analysis_most)
        return sg_fail(err, SG_ERR_ARGUMENT, "resamples: found %lld, expected %lld to %lld",
                       (long long)asked, (long long)analysis_least, (long long)analysis_most);
    sg_status status = sg_draws_new(results, resamples, seed, &draws, err);
    if (status == SG_OK) status = analysis_steps(results, &draws, out, err);
    sg_draws_free(&draws);
    if (status != SG_OK) sg_sweep_analysis_clear(out);
    return status;
}

void sg_sweep_analysis_clear(sg_sweep_analysis *a)
{
    for (size_t i = 0; i < a->curve_count; i++)
        sg_free(a->curves[i].points);
    for (size_t i = 0; i < a->front_count; i++) {
        sg_free(a->fronts[i].seconds);
        sg_free(a->fronts[i].loss);
        sg_free(a->fronts[i].row);
    }
    for (size_t i = 0; i < a->remark_count; i++)
        sg_free(a->remarks[i]);
    sg_free(a->curves);
    sg_free(a->surfaces);
    sg_free(a->verdicts);
    sg_free(a->fronts);
    sg_free(a->remarks);
    *a = (sg_sweep_analysis){0};
}
