// One row of a table of options from one row of a table of fields.
#include "cli/field_options.h"

#include <stdlib.h>
#include <string.h>

// The name with dashes; each is made once, for as long as the program runs.
static const char *field_option_name(const sg_field *field)
{
    enum { most = 2 * CLI_MAX_OPTIONS, longest = 48 };
    static char names[most][longest];
    char name[longest];
    snprintf(name, sizeof name, "%s", field->name);
    for (char *c = name; *c != '\0'; c++)
        if (*c == '_') *c = '-';
    for (int i = 0; i < most; i++) {
        if (names[i][0] == '\0') memcpy(names[i], name, sizeof name);
        if (strcmp(names[i], name) == 0) return names[i];
    }
    return field->name;
}

cli_option cli_field_option(const sg_field *field, void *value)
{
    static const cli_kind kinds[] = {
        [SG_FIELD_INT] = CLI_COUNT, [SG_FIELD_NUMBER] = CLI_DOUBLE, [SG_FIELD_STRING] = CLI_STRING,
        [SG_FIELD_BOOL] = CLI_FLAG, [SG_FIELD_SEED] = CLI_INT,      [SG_FIELD_ENUM] = CLI_STRING};
    return (cli_option){.name = field_option_name(field),
                        .kind = kinds[field->kind],
                        .value = value,
                        .argument = field->argument,
                        .shown = field->shown != NULL     ? field->shown
                                 : field->initial != NULL ? field->initial
                                                          : "",
                        .help = field->help,
                        .choices = field->choices,
                        .low = field->low,
                        .high = field->high,
                        .also = field->also};
}

cli_option cli_heading(const char *title)
{
    return (cli_option){.name = "", .kind = CLI_HEADING, .help = title};
}

size_t cli_table_add(cli_option *table, size_t count, const cli_option *rows, size_t more)
{
    for (size_t i = 0; i < more && count + 1 < CLI_MAX_OPTIONS; i++)
        table[count++] = rows[i];
    return count;
}
