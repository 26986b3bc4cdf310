// Where `generate` gets its prompts from: the command line, a file of lines, or a chat, whose
// messages a model's template turns into one.
#ifndef SGATLIN_CLI_PROMPTS_H
#define SGATLIN_CLI_PROMPTS_H

#include "cli/reading.h"

// What a chat template is given besides messages, as the command line has it.
typedef struct cli_chat_given {
    const char *tools, *documents; // --tools, --documents: JSON files; NULL: none
    cli_strings variables;         // --template-var NAME=VALUE
    const char *date;              // --date; NULL: today
} cli_chat_given;

// The same as the library takes it; holds the texts that the options point to.
typedef struct cli_chat_options {
    sg_chat_options options;
    char *tools, *documents, *variables;
    char date[32];
} cli_chat_options;
sg_status cli_chat_options_read(const cli_chat_given *given, cli_chat_options *out, sg_error *err);
void cli_chat_options_clear(cli_chat_options *options); // a zeroed one is allowed

// Opens the template of a model; where it has none, says what else can be done.
sg_status cli_chat_open(const char *folder, sg_chat **chat, sg_error *err);
// Says that a chat template of the model `from` does not go along to the folder `to`, if there is
// one.
void cli_chat_stays_note(const cli_args *args, const char *from, const char *to);

typedef struct cli_prompt_options {
    cli_strings given;    // --prompt
    const char *lines;    // --prompts: a file, a prompt a line; NULL: none
    bool chat;            // each prompt is what a user says
    const char *system;   // --system; NULL: no such message
    const char *messages; // --messages: a JSON file; NULL: none
    cli_chat_given more;  // what else the template is given
} cli_prompt_options;

typedef struct cli_prompts {
    char **said; // (count) as the user wrote them
    char **text; // (count) as the model gets them; the same pointers without a chat
    size_t count;
    bool chat;
    sg_text_counts counts; // of --prompts
    char *end;             // the text of the token that ends an answer; NULL: none known
} cli_prompts;

// One empty prompt when there is none. folder: of the model, for its template. Fills in err.
sg_status cli_prompts_read(const cli_prompt_options *options, const char *folder,
                           cli_prompts *prompts, sg_error *err);
void cli_prompts_clear(cli_prompts *prompts); // a zeroed one is allowed

#endif
