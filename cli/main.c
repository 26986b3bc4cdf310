// The command `sgatlin`: finds the verb and hands over to its file, cli/cmd_NAME.c.
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

static void main_usage(FILE *out)
{
    fprintf(out, "sgatlin - train, run and look inside sparse feed-forward language models\n\n"
                 "Usage: sgatlin VERB [OBJECT] [options] [arguments]\n\nVerbs:\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        fprintf(out, "  %-16s%s\n", cli_commands[i]->name, cli_commands[i]->summary);
    fprintf(out, "  %-16s%s\n", "help [VERB]", "explain a verb, as 'sgatlin VERB --help' does");
    fprintf(out, "\nExit code: 0 done, 1 failed while working, 2 wrong usage or input,\n"
                 "141 nobody reads the output.\n");
}

// Is `word` the first word of the two-word name?
static bool main_has_verb(const char *name, const char *word)
{
    size_t length = strlen(word);
    return strncmp(name, word, length) == 0 && name[length] == ' ';
}

static bool main_is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

// "data" without an object, or with a wrong one. Lists the objects; help is a result, the rest an
// error.
static int main_objects(const char *verb, const char *object)
{
    bool help = object != NULL && main_is_help(object);
    FILE *out = help ? stdout : stderr;
    if (object == NULL)
        fprintf(out, "sgatlin: %s: found no object, expected one of:\n", verb);
    else if (help)
        fprintf(out, "Usage: sgatlin %s OBJECT [options] [arguments]\n\nObjects:\n", verb);
    else
        fprintf(out, "sgatlin: %s: unknown object '%s', expected one of:\n", verb, object);
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        if (main_has_verb(cli_commands[i]->name, verb))
            fprintf(out, "  %-16s%s\n", cli_commands[i]->name + strlen(verb) + 1,
                    cli_commands[i]->summary);
    return help ? CLI_DONE : CLI_WRONG;
}

static int main_unknown(const char *word)
{
    char verbs[CLI_COMMAND_COUNT][32];
    const char *names[CLI_COMMAND_COUNT + 2];
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        snprintf(verbs[i], sizeof verbs[i], "%.*s", (int)strcspn(cli_commands[i]->name, " "),
                 cli_commands[i]->name);
        names[i] = verbs[i];
    }
    names[CLI_COMMAND_COUNT] = "help";
    names[CLI_COMMAND_COUNT + 1] = NULL;
    const char *near = sg_nearest_name(word, names);
    const char *kind = word[0] == '-' ? "option" : "verb";
    if (near != NULL)
        return cli_wrong(NULL, "unknown %s '%s', did you mean '%s'?", kind, word, near);
    return cli_wrong(NULL, "unknown %s '%s'", kind, word);
}

// The command of argv[at] …, or NULL after an answer was printed; *words counts its name.
static const cli_command *main_find(int argc, char **argv, int at, bool help, int *words, int *code)
{
    const char *verb = argv[at], *object = at + 1 < argc ? argv[at + 1] : NULL;
    bool two_words = false;
    const cli_command *alone = NULL; // "sweep FILE", beside "sweep status"
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        const char *name = cli_commands[i]->name;
        if (strcmp(name, verb) == 0) alone = cli_commands[i];
        if (!main_has_verb(name, verb)) continue;
        two_words = true;
        *words = 2;
        if (object != NULL && strcmp(name + strlen(verb) + 1, object) == 0) return cli_commands[i];
    }
    if (alone != NULL) {
        *words = 1;
        return alone;
    }
    if (help && object == NULL) object = "help";
    *code = two_words ? main_objects(verb, object) : main_unknown(verb);
    return NULL;
}

static int main_run(int argc, char **argv, const char **name)
{
    if (argc < 2) {
        main_usage(stderr);
        return CLI_WRONG;
    }
    int at = 1, words = 0, code = CLI_WRONG;
    bool help = false;
    if (main_is_help(argv[1])) {
        if (argc == 2 || main_is_help(argv[2])) {
            main_usage(stdout);
            return CLI_DONE;
        }
        help = true;
        at = 2;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) argv[1] = "version";
    const cli_command *command = main_find(argc, argv, at, help, &words, &code);
    if (command == NULL) return code;
    *name = command->name;
    if (help) {
        cli_help(command, stdout);
        return CLI_DONE;
    }
    cli_args args;
    code = cli_parse(command, argc, argv, at + words, &args);
    if (code == 0 && args.help)
        cli_help(command, stdout);
    else if (code == 0)
        code = command->run(&args);
    cli_args_clear(&args);
    return code;
}

int main(int argc, char **argv)
{
    cli_start();
    const char *name = NULL;
    int code = main_run(argc, argv, &name);
    return cli_finish(name, code);
}
