// sgatlin completion: what bash, zsh or fish need to complete a command line, made from the option
// tables, so that no list of options is written twice. `make install` puts all three where shells
// look.
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

enum { COMPLETION_NAMES = 8192 };

// ---- what there is to complete --------------------------------------------------------------

// Calls fn for each option of a command, those of all commands last.
typedef void (*option_fn)(void *user, const cli_command *command, const cli_option *option);

static void each_option(const cli_command *command, option_fn fn, void *user)
{
    for (const cli_option *o = cli_table(command); o->name != NULL; o++)
        if (o->kind != CLI_HEADING) fn(user, command, o);
    cli_args args = {0};
    cli_option common[CLI_COMMON_OPTIONS + 1];
    cli_common_options(&args, common);
    for (const cli_option *o = common; o->name != NULL; o++)
        fn(user, command, o);
}

// What an option takes, parted by blanks; "" where it is free or a path.
static const char *option_values(const cli_option *option, char names[COMPLETION_NAMES])
{
    size_t used = 0;
    names[0] = '\0';
    if (option->choices != NULL) {
        snprintf(names, COMPLETION_NAMES, "%s", option->choices);
        for (char *at = names; *at != '\0'; at++)
            if (*at == '|') *at = ' ';
    } else if (strcmp(option->name, "preset") == 0) {
        for (size_t i = 0; sg_preset_name(i) != NULL && used < COMPLETION_NAMES; i++)
            used += (size_t)snprintf(names + used, COMPLETION_NAMES - used, "%s%s", i ? " " : "",
                                     sg_preset_name(i));
    } else if (strcmp(option->name, "ffn") == 0) {
        for (size_t i = 0; sg_config_family(i) != NULL && used < COMPLETION_NAMES; i++)
            used += (size_t)snprintf(names + used, COMPLETION_NAMES - used, "%s%s", i ? " " : "",
                                     sg_config_family(i));
    }
    return names;
}

static bool option_is_path(const cli_option *option)
{
    return (option->kind == CLI_STRING || option->kind == CLI_STRINGS) && option->choices == NULL &&
           option->argument != NULL &&
           strspn(option->argument, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-") == strlen(option->argument) &&
           strlen(option->argument) > 1 && strcmp(option->argument, "NAME") != 0 &&
           strcmp(option->argument, "TEXT") != 0;
}

// The help up to its first stop, on one line, without what `signs` names: quotes of the shell.
static void short_help(const char *text, const char *signs, char *out, size_t capacity)
{
    size_t used = 0;
    for (; *text != '\0' && *text != ';' && used + 1 < capacity; text++)
        if (strchr(signs, *text) == NULL) out[used++] = *text == '\n' ? ' ' : *text;
    out[used] = '\0';
}

// What an operand can be, parted by blanks; "" where it is a file.
static const char *operand_values(const cli_command *command, char names[COMPLETION_NAMES])
{
    const cli_option as_option = {.name = "", .choices = command->operands};
    names[0] = '\0';
    if (command->operands == NULL || strchr(command->operands, '|') == NULL) return names;
    return option_values(&as_option, names);
}

// The verbs that have objects.
static const struct {
    const char *name, *summary;
} completion_groups[] = {{"data", "make text, tokenizers and packed data"},
                         {"probe", "look inside a model"}};
enum { completion_group_count = sizeof completion_groups / sizeof *completion_groups };

// The object of a command of that verb; NULL: it is none.
static const char *group_object(const cli_command *command, const char *verb)
{
    const size_t length = strlen(verb);
    const bool its = strncmp(command->name, verb, length) == 0 && command->name[length] == ' ';
    return its ? command->name + length + 1 : NULL;
}

// Calls for each first word of the verbs once.
static void each_verb(void (*fn)(const cli_command *command, int length))
{
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        const int length = (int)strcspn(cli_commands[i]->name, " ");
        bool again = i > 0 && strncmp(cli_commands[i - 1]->name, cli_commands[i]->name,
                                      (size_t)length + 1) == 0;
        if (!again) fn(cli_commands[i], length);
    }
}

// ---- bash -------------------------------------------------------------------------------------

static void bash_name(void *user, const cli_command *command, const cli_option *option)
{
    (void)user;
    (void)command;
    printf(" --%s", option->name);
}

static void bash_values(void *user, const cli_command *command, const cli_option *option)
{
    (void)user;
    char names[COMPLETION_NAMES];
    if (option->kind == CLI_FLAG) return;
    printf("    '%s --%s') values='%s' paths=%s ;;\n", command->name, option->name,
           option_values(option, names), option_is_path(option) ? "yes" : "no");
}

static void bash_verb(const cli_command *command, int length)
{
    printf(" %.*s", length, command->name);
}

static void bash_operands(const cli_command *command)
{
    char names[COMPLETION_NAMES];
    if (operand_values(command, names)[0] != '\0')
        printf("    '%s') values='%s' ;;\n", command->name, names);
}

static void bash_script(void)
{
    printf("# bash completion of sgatlin: sgatlin completion bash\n"
           "_sgatlin_options() {\n    case $1 in\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        printf("    '%s') echo '", cli_commands[i]->name);
        each_option(cli_commands[i], bash_name, NULL);
        printf("' ;;\n");
    }
    printf("    esac\n}\n"
           "# Sets values and paths of an option; fails where it takes no value.\n"
           "_sgatlin_values() {\n    values='' paths=''\n    case $1 in\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        each_option(cli_commands[i], bash_values, NULL);
    printf("    esac\n    [ -n \"$paths\" ]\n}\n"
           "_sgatlin() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local verb=${COMP_WORDS[1]} first=2 values paths verbs objects\n"
           "    COMPREPLY=()\n"
           "    case $word in '=') word='' ;; esac\n"
           "    [ \"$before\" = '=' ] && before=${COMP_WORDS[COMP_CWORD-2]}\n"
           "    verbs='help");
    each_verb(bash_verb);
    printf("'\n    if [ \"$COMP_CWORD\" = 1 ]; then\n"
           "        COMPREPLY=($(compgen -W \"$verbs\" -- \"$word\")); return\n    fi\n"
           "    objects=''\n    case $verb in\n    help) objects=$verbs ;;\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        const char *name = cli_commands[i]->name, *object = strchr(name, ' ');
        if (object != NULL)
            printf("    %.*s) objects=\"$objects%s\" ;;&\n", (int)(object - name), name, object);
    }
    printf("    esac\n    if [ -n \"$objects\" ]; then\n"
           "        if [ \"$COMP_CWORD\" = 2 ]; then\n"
           "            COMPREPLY=($(compgen -W \"$objects\" -- \"$word\")); return\n        fi\n"
           "        verb=\"$verb ${COMP_WORDS[2]}\"\n    fi\n"
           "    if _sgatlin_values \"$verb $before\"; then\n"
           "        COMPREPLY=($(compgen -W \"$values\" -- \"$word\"))\n"
           "        if [ \"$paths\" = yes ]; then\n"
           "            compopt -o filenames 2>/dev/null\n"
           "            COMPREPLY=($(compgen -f -- \"$word\"))\n        fi\n"
           "    elif [[ $word == -* ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$(_sgatlin_options \"$verb\")\" -- \"$word\"))\n"
           "    else\n        case $verb in\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        bash_operands(cli_commands[i]);
    printf("        esac\n"
           "        if [ -n \"$values\" ]; then\n"
           "            COMPREPLY=($(compgen -W \"$values\" -- \"$word\")); return\n        fi\n"
           "        compopt -o filenames 2>/dev/null\n"
           "        COMPREPLY=($(compgen -f -- \"$word\"))\n    fi\n}\n"
           "complete -F _sgatlin sgatlin\n");
}

// ---- zsh --------------------------------------------------------------------------------------

static void zsh_option(void *user, const cli_command *command, const cli_option *option)
{
    (void)user;
    (void)command;
    char names[COMPLETION_NAMES], help[256];
    short_help(option->help, "[]:'\\", help, sizeof help);
    printf("            '%s--%s", option->kind == CLI_STRINGS ? "*" : "", option->name);
    if (option->kind == CLI_FLAG) {
        printf("[%s]' \\\n", help);
        return;
    }
    const char *values = option_values(option, names);
    printf("=[%s]:%s:", help, option->argument != NULL ? option->argument : "VALUE");
    if (values[0] != '\0')
        printf("(%s)", values);
    else if (option_is_path(option))
        printf("_files");
    printf("' \\\n");
}

static void zsh_command(const cli_command *command, const char *label)
{
    printf("        (%s)\n        _arguments -S \\\n", label);
    each_option(command, zsh_option, NULL);
    char names[COMPLETION_NAMES];
    if (command->max_operands == 0)
        printf("            && return\n        ;;\n");
    else if (operand_values(command, names)[0] != '\0')
        printf("            '*:VALUE:(%s)'\n        ;;\n", names);
    else
        printf("            '*:FILE:_files'\n        ;;\n");
}

static void zsh_verbs(void)
{
    char help[256];
    printf("    verbs=(\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        short_help(cli_commands[i]->summary, "':\\", help, sizeof help);
        if (strchr(cli_commands[i]->name, ' ') == NULL)
            printf("        '%s:%s'\n", cli_commands[i]->name, help);
    }
    for (int g = 0; g < completion_group_count; g++)
        printf("        '%s:%s'\n", completion_groups[g].name, completion_groups[g].summary);
    printf("        'help:explain a verb'\n    )\n");
}

static void zsh_objects(void)
{
    char help[256];
    printf("    objects=()\n    case $name in\n");
    for (int g = 0; g < completion_group_count; g++) {
        printf("    %s) objects=(\n", completion_groups[g].name);
        for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
            const char *object = group_object(cli_commands[i], completion_groups[g].name);
            short_help(cli_commands[i]->summary, "':\\", help, sizeof help);
            if (object != NULL) printf("        '%s:%s'\n", object, help);
        }
        printf("    ) ;;\n");
    }
    printf("    esac\n");
}

static void zsh_script(void)
{
    printf("#compdef sgatlin\n# zsh completion of sgatlin: sgatlin completion zsh\n"
           "_sgatlin() {\n    local -a verbs objects\n    local name=$words[2]\n");
    zsh_verbs();
    zsh_objects();
    printf("    if (( CURRENT == 2 )); then _describe verb verbs; return; fi\n"
           "    if [[ $name == help ]]; then _describe verb verbs; return; fi\n"
           "    if (( ${#objects} )); then\n"
           "        if (( CURRENT == 3 )); then _describe object objects; return; fi\n"
           "        name=\"$name $words[3]\"\n        shift words; (( CURRENT-- ))\n    fi\n"
           "    shift words; (( CURRENT-- ))\n    case $name in\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        char label[64];
        const char *name = cli_commands[i]->name, *object = strchr(name, ' ');
        if (object != NULL)
            snprintf(label, sizeof label, "\"%s\"", name);
        else
            snprintf(label, sizeof label, "%s", name);
        zsh_command(cli_commands[i], label);
    }
    printf("    esac\n}\n_sgatlin \"$@\"\n");
}

// ---- fish -------------------------------------------------------------------------------------

static void fish_option(void *user, const cli_command *command, const cli_option *option)
{
    (void)user;
    char names[COMPLETION_NAMES], help[256];
    short_help(option->help, "'\\", help, sizeof help);
    printf("complete -c sgatlin -n '__sgatlin_is %s' -l %s -d '%s'", command->name, option->name,
           help);
    if (option->kind != CLI_FLAG) {
        const char *values = option_values(option, names);
        if (values[0] != '\0')
            printf(" -x -a '%s'", values);
        else
            printf(option_is_path(option) ? " -r -F" : " -x");
    }
    printf("\n");
}

static void fish_script(void)
{
    char help[256];
    printf("# fish completion of sgatlin: sgatlin completion fish\n"
           "function __sgatlin_is\n    set -l words (commandline -opc)\n"
           "    test (count $words) -gt (count $argv); or return 1\n"
           "    for i in (seq (count $argv))\n"
           "        test $words[(math $i + 1)] = $argv[$i]; or return 1\n    end\nend\n"
           "function __sgatlin_at\n    test (count (commandline -opc)) -eq $argv[1]\nend\n");
    printf("complete -c sgatlin -n '__sgatlin_at 1' -f\n"
           "complete -c sgatlin -n '__sgatlin_at 1' -a help -d 'explain a verb'\n");
    for (int g = 0; g < completion_group_count; g++)
        printf("complete -c sgatlin -n '__sgatlin_at 1' -a %s -d '%s'\n", completion_groups[g].name,
               completion_groups[g].summary);
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        const char *name = cli_commands[i]->name, *object = strchr(name, ' ');
        short_help(cli_commands[i]->summary, "'\\", help, sizeof help);
        if (object != NULL)
            printf("complete -c sgatlin -n '__sgatlin_at 2; and __sgatlin_is %.*s' -f -a '%s' "
                   "-d '%s'\n",
                   (int)(object - name), name, object + 1, help);
        else
            printf("complete -c sgatlin -n '__sgatlin_at 1' -a %s -d '%s'\n", name, help);
        char names[COMPLETION_NAMES];
        if (operand_values(cli_commands[i], names)[0] != '\0')
            printf("complete -c sgatlin -n '__sgatlin_is %s' -f -a '%s'\n", name, names);
        each_option(cli_commands[i], fish_option, NULL);
    }
}

static int completion_run(const cli_args *args)
{
    const char *shell = args->operands[0];
    if (args->json) return cli_wrong(args, "--json: found, expected none: the result is a script");
    if (strcmp(shell, "bash") == 0)
        bash_script();
    else if (strcmp(shell, "zsh") == 0)
        zsh_script();
    else if (strcmp(shell, "fish") == 0)
        fish_script();
    else
        return cli_wrong(args, "found the shell '%s', expected bash, zsh or fish", shell);
    return CLI_DONE;
}

const cli_command cli_cmd_completion = {
    .name = "completion",
    .summary = "print the script that completes command lines in a shell",
    .usage = "bash|zsh|fish",
    .about =
        "Made from the same tables as --help. After `make install` shells find it by themselves; "
        "otherwise let the shell read it.",
    .example = "sgatlin completion bash >~/.local/share/bash-completion/completions/sgatlin",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "bash|zsh|fish",
    .run = completion_run,
};
