// Training: options, runs, resuming.
// A companion of sgatlin.h, whose conventions hold here too.
#ifndef SGATLIN_TRAIN_H
#define SGATLIN_TRAIN_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

// The most steps a run can have.
#define SG_TRAIN_STEPS_MAX INT64_C(1000000000000)

// How the weight of a term moves over a run, as D2DMoE has it (Szatkowski et al. 2024).
typedef enum sg_ramp {
    SG_RAMP_CONSTANT = 0,
    SG_RAMP_LINEAR = 1, // weight * step / steps
    SG_RAMP_WARMUP = 2  // up to the weight at half of the steps, then constant
} sg_ramp;

// All that decides what a run computes; stored in RUN/run.json. Exactly one of steps, tokens, flops
// and epochs is above 0: it sets the number of steps n.
typedef struct sg_train_options {
    sg_config config; // vocab_size 0, max_position_embeddings 0: the data's
    // The model to go on from, as sg_model_open takes it; "": fresh weights. `config` is the
    // model's then, but for the ids of tokens, which are the data's, and ffn_balance_loss,
    // ffn_z_loss and ffn_capacity_factor; the data may have fewer tokens in its vocabulary and
    // shorter sequences.
    char init[4096];
    // Data that were packed with another tokenizer than that of `init` are refused unless this says
    // so (a warning then): what is trained has the data's tokenizer.
    bool force_tokenizer;
    // "tinystories" or "slimpajama": the published protocol of those presets, which wants data that
    // were packed as theirs; "": none.
    char recipe[16];
    uint64_t seed;      // of weights and data order
    int64_t batch_size; // sequences of one step
    int64_t grad_accum; // micro-batches that a step is cut into; divides batch_size
    double lr, weight_decay, clip, beta1, beta2, eps;
    // Rows of a memory's tables that a step does not read: "exact" updates them in every step;
    // "lazy" when they are read again, by all they have missed, so that a step costs what it reads;
    // "auto" is lazy for tables with at least as many rows as a step makes hits. docs/MODEL.md has
    // more.
    char optimizer_rows[16];
    char schedule[24]; // constant, sqrt, linear, cosine, cosine_reference
    int64_t warmup_steps;
    double warmup_share;      // the warm-up takes at most this share of all steps, 0 to 1
    double decay_fraction;    // of all steps, for sqrt and linear
    int64_t steps;            // n
    int64_t tokens;           // n = tokens / (batch_size T)
    double flops;             // n = flops / (3 forward_flops_per_sequence batch_size)
    double epochs;            // n = epochs rows / batch_size
    bool recompute;           // forget activations of a block, compute them again (less memory)
    double spike_limit;       // skip an update whose loss is this many nats above the running mean;
                              // 0: never
    int64_t log_every;        // steps between records; 0: chosen
    int64_t checkpoint_every; // steps between checkpoints; 0: by time and at the end only
    double
        checkpoint_minutes; // of work between checkpoints, besides; 0: never. No bit depends on it
    int64_t keep_last;      // checkpoints kept besides the best
    int64_t eval_every;     // steps between evaluations; 0: at the end only
    int64_t eval_sequences; // of the validation split, for those; 0: all; 256
    int64_t sample_every;   // steps between samples; 0: none
    char sample_prompt[256];
    // What the tables of a sparse memory are read in, forward and for the gradient of the input:
    // SG_WEIGHTS_BF16 keeps a bf16 copy, rounded anew after each update; gradients go straight
    // through to the f32 weights, which are what is updated, saved and evaluated. Not int8.
    sg_weights table_dtype;
    // How dense products are computed, and those of the classifier. With SG_COMPUTE_BF16 results
    // that only products read are kept in bf16; weights, moments, the sums of residuals and
    // gradients are f32 in all kinds.
    sg_compute_kind compute, logits_compute;
    sg_memory_path memory_path; // of a step; auto. Evaluations take auto
    // Patterns of names of parameters, joined by commas, * standing for any text: all others keep
    // every bit, and have no gradients and no moments. "": all are trained.
    char train_only[512];
    // Low-rank adapters (Hu et al. 2021) on matrices of `init`, which itself stays as it is: rank
    // above 0, alpha (0: the rank; the products count alpha / rank), and patterns of the
    // checkpoint's names of matrices: one without * is a name or its end ("q_proj").
    int64_t lora_rank;
    double lora_alpha;
    char lora_targets[512];
    bool lora_merge; // add them to the weights in the end, and save a model too
    // Sparsity by training (docs/MODEL.md, section 9). relufy: relu, or reglu, takes the place of
    // the activation of `init`. The term (sg_sparsity) is the mean over layers of means over
    // tokens, of MLPs in attention the mean over these, and the two are added; of weight 0 it is
    // measured alone.
    bool relufy;
    sg_sparsity_term sparsity_term;
    sg_sparsity_modules sparsity_modules;
    double sparsity_weight;
    sg_ramp sparsity_ramp;
    double sparsity_floor;
    // LTE (Zheng et al. 2024), of layers in blocks with sigmoid routers: 1 runs all blocks, each
    // times its score, with losses of these weights and a pole that is cut off at a distance
    // lte_least; 2 reads blocks with scores above 1/2, as evaluation does after both, and leaves
    // the routers as they are. 0: neither.
    int64_t lte_stage;
    double lte_efficiency, lte_separability, lte_least;
} sg_train_options;

// What is stated of each option but `config`, in order; NULL behind the last, or for a name that
// there is not.
SG_API const sg_field *sg_train_field_at(size_t index);
SG_API const sg_field *sg_train_field(const char *name);
// Sets one from text, as sg_config_set does. Ranges, and what options mean for each other, are
// checked when a run begins. A warm-up that is asked for is as long as it says (warmup_share 1).
SG_API sg_status sg_train_options_set(sg_train_options *options, const char *name,
                                      const char *value, sg_error *err);

// The recipe of a preset; budget and data are the caller's.
SG_API sg_train_options sg_train_options_from_preset(const sg_preset *preset);
// The options of a new run from fresh weights, by name, as the options of `sgatlin train` or a file
// for its --config: "preset" (without it: demo), "seq_len", fields of the configuration as
// sg_preset_change takes them, then options of training; of two of one name the last holds.
// Vocabulary and sequences are the data's unless they are given. SG_ERR_ARGUMENT also for names
// that are none of these ("did you mean"), and for init and the options that go with it.
SG_API sg_status sg_train_options_named(const sg_setting *settings, size_t count,
                                        sg_train_options *options, sg_error *err);
// Whether there is such an option; SG_ERR_ARGUMENT has a name that is like it.
SG_API sg_status sg_train_option_known(const char *name, sg_error *err);
// Checks each option and what they mean for each other, all that is known without the data.
SG_API sg_status sg_train_options_check(const sg_train_options *options, sg_error *err);
// A recipe for going on from the model at `path`, with its configuration; budget and data are the
// caller's.
SG_API sg_status sg_train_options_from_model(const char *path, sg_train_options *options,
                                             sg_error *err);

// The published protocol (Schug 2026 and its released code) of a preset, to the letter but for its
// rounding to bf16: batch, sequences, warm-up, schedule, clipping, one epoch of padded documents
// for tinystories, for slimpajama one of the budgets 1e17, 6e17, 1e18 and 6e18 FLOPs (`flops`; 0
// for tinystories), and no guard against spikes. sg_train refuses data that were packed otherwise.
// SG_ERR_ARGUMENT says what there is.
SG_API sg_status sg_train_options_published(const char *preset, double flops,
                                            sg_train_options *options, sg_error *err);

// What a JSON file says of a run to come: options by name, a model's config.json, or all options of
// another run, its run.json.
typedef enum sg_train_file_kind {
    SG_TRAIN_FILE_OPTIONS = 0,
    SG_TRAIN_FILE_CONFIG, // of model_type "sgatlin"
    SG_TRAIN_FILE_RUN
} sg_train_file_kind;

typedef struct sg_train_file {
    sg_train_file_kind kind;
    sg_train_options options; // of a run; of a config.json `config` alone
    // The members where it has options by name, in its order. A value is the text that a command
    // line would have; NULL: a list, an object, null, or a number that no type holds.
    size_t count;
    char **names, **values;
    char unread[768]; // "FILE: keys that are not read here: a, b"; "": there are none
} sg_train_file;
SG_API sg_status sg_train_file_read(const char *path, sg_train_file *file, sg_error *err);
SG_API void sg_train_file_clear(sg_train_file *file);

// What a run is going to be.
typedef struct sg_train_plan {
    int64_t steps, rows, val_rows; // rows of the data
    int64_t seq_len, batch_size, grad_accum, tokens_per_step;
    double epochs;
    int64_t warmup_steps, decay_steps;
    int64_t parameters, trained; // weights, adapters included
    double flops, flops_all_in;  // of all steps: published count and with logits, 3 forward
    int64_t memory_bytes;        // of a step: weights, gradients, moments, activations
    int64_t checkpoint_bytes;
} sg_train_plan;

// The plan of a new run, without beginning it: nothing is written. The options are completed from
// the data. SG_ERR_MEMORY where a step takes more memory than there is.
SG_API sg_status sg_train_plan_new(sg_context *context, const char *data, sg_train_options *options,
                                   sg_train_plan *plan, sg_error *err);

typedef enum sg_train_event_kind {
    SG_EVENT_START,     // plan and options are set
    SG_EVENT_STEP,      // after every step
    SG_EVENT_EVAL,      // val_loss is new
    SG_EVENT_SAMPLE,    // text is set
    SG_EVENT_CHECKPOINT // a checkpoint is on the disk
} sg_train_event_kind;

typedef struct sg_train_event {
    sg_train_event_kind kind;
    int64_t step, steps;        // updates made, and to make
    int64_t resumed_from;       // -1: this process began at step 0
    double loss, lr, grad_norm; // of the last step
    double tokens_per_second;   // of late
    double flops_per_second;    // of late, all-in (with logits), forward and backward
    // What must be done of it (attention over the causal half), and what products in the run's
    // kinds reach, each kind by its share of the work: the median of the last few measurements, the
    // last of them so many seconds ago. 0: not measured (sg_train_hooks).
    double work_per_second, peak_per_second, peak_age;
    double val_loss; // of the last evaluation, or NaN
    double seconds;  // of training, in all lives
    const char *text;
    const sg_train_plan *plan;
    const sg_train_options *options;
} sg_train_event;

// How a run talks while it works. `event` returning false stops it: it saves and reports
// SG_ERR_STOPPED.
typedef struct sg_train_hooks {
    bool (*event)(void *user, const sg_train_event *event);
    void *user;
    const char *command; // the command line, for RUN/run.json; may be NULL
    // Looked at in the passes of every step, one for each micro-batch (sgatlin_probe.h); NULL:
    // none. A callback that ends the pass ends the run, without the step and without saving.
    const sg_points *points;
    // Seconds between two measurements of what products reach (sg_train_event), of which each takes
    // about a tenth of a second between two steps and changes no bit; 0: none.
    double measure_seconds;
    // Told of the sequences of the last evaluation, of the whole validation split; may be NULL. A
    // run that had ended before is not evaluated again.
    sg_eval_sequence_fn sequence;
    void *sequence_user;
} sg_train_hooks;

typedef struct sg_train_result {
    int64_t steps, tokens;
    double train_loss;   // mean over the last tenth of the steps
    double balance_loss; // likewise, without their weights, mean of the layers; NaN: the model
    double z_loss;       // has no such loss
    double seconds;      // of training, all lives of the run together
    double flops, flops_all_in; // published count and with logits: 3 forward
    sg_eval_result val;         // of the final weights; tokens 0 without a validation split
    int64_t skipped_updates;
    int64_t lazy_tables;         // whose rows are updated when they are read (optimizer_rows)
    int64_t trained, parameters; // weights that were trained, of so many, adapters included
    sg_compute_kind compute, logits_compute; // of the last steps and of `val`
} sg_train_result;

// Trains a new run in folder `run`, which must not hold one yet. At its end `run` holds
// summary.json and is a model folder; with adapters they are in RUN/adapter, in PEFT's layout, and
// `run` is a model folder only with lora_merge.
SG_API sg_status sg_train(sg_context *context, const char *run, const char *data,
                          const sg_train_options *options, const sg_train_hooks *hooks,
                          sg_train_result *result, sg_error *err);
// Goes on with a run from its newest intact checkpoint, or from the start when it has none: a model
// that it began from must then still have the same weights (SG_ERR_MISMATCH). data: NULL for the
// folder the run began with. A finished run only reports its result, or restores a model that it
// lost from its last checkpoint. Other kernels than it began with are a warning, and recorded in
// run.json.
SG_API sg_status sg_train_resume(sg_context *context, const char *run, const char *data,
                                 const sg_train_hooks *hooks, sg_train_result *result,
                                 sg_error *err);
// A field of the options by its name in run.json ("lr", "steps"), and its new value as text.
typedef struct sg_train_change {
    const char *field, *value;
} sg_train_change;
// Goes on with a run otherwise than it began, or beyond its end (more steps): the schedule is from
// then on that of the new options. What was changed is recorded in run.json ("changes": step,
// field, old, new), and to the bit the run is the same as one that was changed alike at the same
// step. The budget, lr, schedule, warmup_steps, decay_fraction, clip, spike_limit, grad_accum,
// recompute, compute, logits_compute and what is watched and saved can be changed; all else is
// SG_ERR_ARGUMENT, which lists them.
SG_API sg_status sg_train_resume_changed(sg_context *context, const char *run, const char *data,
                                         const sg_train_change *changes, size_t count,
                                         const sg_train_hooks *hooks, sg_train_result *result,
                                         sg_error *err);
// The folder to open as a model: `path` itself, or, for a run that is still under way, its newest
// intact checkpoint. folder has room for `capacity` bytes.
SG_API sg_status sg_train_model_folder(sg_context *context, const char *path, char *folder,
                                       size_t capacity, sg_error *err);
// The folder to give to sg_model_adapt: `path` itself, or of a run with adapters RUN/adapter, and
// while it is under way its newest intact checkpoint.
SG_API sg_status sg_train_adapter_folder(sg_context *context, const char *path, char *folder,
                                         size_t capacity, sg_error *err);
// What a run is and has come to.
typedef struct sg_train_run {
    sg_train_options options;
    int64_t steps;      // to make
    int64_t step;       // the last one that metrics.jsonl tells of
    bool finished;      // `result` is of all of them
    char data_hash[24]; // of the data: runs on other data do not compare
    sg_train_result result;
} sg_train_run;
SG_API sg_status sg_train_run_read(const char *run, sg_train_run *out, sg_error *err);

// A member of the records in metrics.jsonl ("loss", "val_loss") over another one ("step", "tokens",
// "flops", "seconds"), in the order of the file; a record without the other one has that of the
// last before it.
typedef struct sg_curve {
    char label[64];
    double *x, *y; // (count)
    int64_t count;
} sg_curve;
SG_API sg_status sg_train_curve(const char *run, const char *y, const char *x, sg_curve *curve,
                                sg_error *err);
SG_API void sg_curve_clear(sg_curve *curve);

// A drawing of curves as an SVG file that stands alone. Lines of many points are drawn as means of
// pieces; marks[i], another curve of the same colour, is drawn as dots (NULL: none). The highest
// twentieth of the values may leave the picture.
typedef struct sg_svg_options {
    const char *title, *x_label, *y_label;
} sg_svg_options;
SG_API sg_status sg_curves_svg(const char *path, const sg_curve *lines, const sg_curve *marks,
                               size_t count, const sg_svg_options *options, sg_error *err);

// Reads the options of a run.
SG_API sg_status sg_train_read_options(const char *run, sg_train_options *options, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
