/* Help and shell completion, both written from the table of verbs. */
#include "apps/cli/cli_complete.h"
#include "apps/cli/cli.h"
#include "apps/cli/cli_out.h"
#include <string.h>

static const char *const exit_codes =
    "Exit codes\n"
    "  0  done\n"
    "  1  not there: no such record, version, collection or snapshot (at that time), a condition "
    "that did\n"
    "     not hold, or a past that retention has given up\n"
    "  2  wrong usage, or a value over a limit; nothing was done\n"
    "  3  another process has the folder open\n"
    "  4  data is corrupt; 'varve verify' tells where\n"
    "  5  any other failure: no database in the folder, no answer from the server, a login "
    "refused, disk full,\n"
    "     input/output, bad input data\n"
    "  128+N  stopped by signal N, cleanly (Ctrl-C: 130)\n";

static void print_options(FILE *out, cli_opts options)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const struct cli_option *o = &cli_options[i];
        char left[64], letter[8] = "    ";
        if (!((options >> i) & 1))
            continue;
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        fprintf(out, "  %-27s %s\n", left, o->help);
    }
}

/* Each line of `text`, indented. */
static void print_indented(FILE *out, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        fprintf(out, "  %.*s\n", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

/* What a verb is said to take: of those that read their words themselves, not what others have in
 * common (the settings have a folder too); of those of the folder, no server (they parse it to say so). */
static cli_opts offered(const struct cli_verb *v)
{
    if (v->mode == CLI_RAW)
        return CLI_OPT(HELP) |
               (v->fn == cli_serve || v->fn == cli_config ? CLI_OPT(DATA) : (cli_opts)0);
    return cli_verb_options(v) &
           ~(v->mode == CLI_FOLDER ? CLI_OPT(SERVER) | CLI_OPT(PROFILE) : (cli_opts)0);
}

void cli_help_verb(FILE *out, const struct cli_verb *v)
{
    fprintf(out, "varve %s - %s\n\nUsage\n  varve %s%s%s\n", v->name, v->summary, v->name,
            *v->usage ? " " : "", v->usage);
    if (v->about) {
        fputs("\nAbout\n", out);
        print_indented(out, v->about);
    }
    fputs("\nExamples\n", out);
    print_indented(out, v->examples);
    if (v->options) {
        fputs("\nOptions\n", out);
        print_options(out, v->options);
    }
    fputs("\nCommon options\n", out);
    print_options(out, offered(v) & CLI_OPTS_COMMON);
    if (offered(v) & CLI_OPTS_LOGIN)
        fputs("  with --server or --profile also those of 'varve help': --user, --token-file, --ca "
              "...\n",
              out);
}

cli_opts cli_verb_options(const struct cli_verb *v)
{
    bool at_server = v->mode == CLI_READS || v->mode == CLI_WRITES || v->mode == CLI_MAKES;
    return v->options | CLI_OPTS_COMMON | (at_server ? CLI_OPTS_LOGIN : 0);
}

static void help_overview(FILE *out)
{
    fputs("varve - keys and documents in a folder or at a server, every version kept\n\nUsage\n"
          "  varve VERB [ARGUMENTS] [OPTIONS]\n\nVerbs\n",
          out);
    for (size_t i = 0; i < cli_verb_count; i++)
        fprintf(out, "  %-12s %s\n", cli_verbs[i].name, cli_verbs[i].summary);
    fputs("\nFirst steps\n"
          "  varve put users/alice '{\"name\":\"Alice\",\"age\":30}'\n"
          "  varve get users/alice\n"
          "  varve log users/alice\n"
          "\nCommon options\n",
          out);
    print_options(out, CLI_OPTS_COMMON);
    fputs("      --version               show the version of the program\n", out);
    fputs("\nAt a server (--server or --profile)\n", out);
    print_options(out, CLI_OPTS_LOGIN);
    fputs("\nMoments (--at)\n"
          "  2026-02-01T12:30:00Z, 2026-02-01T14:30+02:00, 2026-02-01 (UTC unless an offset is "
          "given), -5m, -2h,\n"
          "  -1h30m, a VERSION as put and log print it, @SNAPSHOT, now\n"
          "\nEnvironment\n"
          "  VARVE_DATA     the folder, when --data is not given\n"
          "  VARVE_SERVER   the server, when neither --data nor --server nor --profile is given\n"
          "  VARVE_PROFILE  the same with a profile\n"
          "  VARVE_TOKEN    the API token, when no user and no token is given\n"
          "  VARVE_WRITER   who writes, when --writer is not given\n"
          "  NO_COLOR       when set, no colours (there are none anyway unless on a terminal)\n"
          "\nProfiles\n"
          "  ~/.config/varve/profile.yaml has a name for each, and under it what it says:\n"
          "  production:\n"
          "    server: db1.example.org:7878,db2.example.org:7878\n"
          "    ca: /etc/varve/ca.pem\n"
          "    user: alice\n"
          "    password_file: /home/alice/.config/varve/password\n\n",
          out);
    fputs(exit_codes, out);
}

int cli_help(struct cli *c, const struct cli_args *a)
{
    if (a->nargs) {
        const struct cli_verb *v = cli_verb_find(a->arg[0]);
        const char *near = cli_verb_suggest(a->arg[0]);
        if (!v)
            return near ? cli_usage(c, NULL, "there is no verb '%s'; did you mean '%s'?", a->arg[0],
                                    near)
                        : cli_usage(c, NULL, "there is no verb '%s'", a->arg[0]);
        cli_help_verb(c->out, v);
        return CLI_OK;
    }
    help_overview(c->out);
    for (size_t i = 0; cli_has(a, OPT_ALL) && i < cli_verb_count; i++) {
        fputc('\n', c->out);
        cli_help_verb(c->out, &cli_verbs[i]);
    }
    return CLI_OK;
}

static void bash_words(FILE *out, cli_opts options)
{
    const char *sep = "";
    for (size_t i = 0; i < OPT_COUNT; i++)
        if ((options >> i) & 1) {
            fprintf(out, "%s--%s", sep, cli_options[i].name);
            sep = " ";
        }
}

static void complete_bash(FILE *out)
{
    fputs("# bash completion for varve; load it with: source <(varve completion bash)\n"
          "_varve() {\n"
          "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" verb= i "
          "words\n"
          "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "    case \"${COMP_WORDS[i]}\" in\n"
          "      -d | --data | --server | --profile | --user | --deadline) ((i++)) ;;\n"
          "      --password-file | --token-file | --ca | --cert | --cert-key) ((i++)) ;;\n"
          "      -*) ;;\n"
          "      *) verb=\"${COMP_WORDS[i]}\"; break ;;\n"
          "    esac\n"
          "  done\n"
          "  case \"$prev\" in\n"
          "    -d | --data) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n"
          "    -f | --file | --password-file | --token-file | --ca | --cert | --cert-key)\n"
          "      COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
          "    --format) COMPREPLY=($(compgen -W 'ndjson csv' -- \"$cur\")); return ;;\n"
          "    --sync) COMPREPLY=($(compgen -W 'always interval off' -- \"$cur\")); return ;;\n"
          "    --on-error) COMPREPLY=($(compgen -W 'stop skip' -- \"$cur\")); return ;;\n"
          "  esac\n"
          "  case \"$verb\" in\n"
          "    '') words='",
          out);
    for (size_t i = 0; i < cli_verb_count; i++)
        fprintf(out, "%s ", cli_verbs[i].name);
    bash_words(out, CLI_OPTS_COMMON);
    fputs(" --version' ;;\n", out);
    for (size_t i = 0; i < cli_verb_count; i++) {
        fprintf(out, "    %s) words='", cli_verbs[i].name);
        bash_words(out, offered(&cli_verbs[i]));
        if (cli_verbs[i].fn == cli_completion)
            fputs(" bash zsh fish", out);
        if (cli_verbs[i].fn == cli_snapshot)
            fputs(" create list delete", out);
        fputs("' ;;\n", out);
    }
    fputs("  esac\n"
          "  if [[ $verb == import || $verb == export ]] && [[ $cur != -* ]]; then\n"
          "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "  else\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "  fi\n"
          "}\n"
          "complete -F _varve varve\n",
          out);
}

/* Text inside '...' of a shell, where brackets and colons mean something to zsh's _arguments. */
static void print_quoted(FILE *out, const char *text, bool zsh)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (zsh && strchr("[]:\\", *text))
            fprintf(out, "\\%c", *text);
        else if (!zsh && *text == '\\')
            fputs("\\\\", out);
        else
            fputc(*text, out);
    }
}

static bool is_file(size_t opt)
{
    return opt == OPT_FILE || opt == OPT_PASSWORD_FILE || opt == OPT_TOKEN_FILE || opt == OPT_CA ||
           opt == OPT_CERT || opt == OPT_CERT_KEY;
}

static void zsh_options(FILE *out, cli_opts options)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const struct cli_option *o = &cli_options[i];
        if (!((options >> i) & 1))
            continue;
        for (int form = 0; form < (o->letter ? 2 : 1); form++) {
            if (form)
                fprintf(out, " \\\n        '-%c[", o->letter);
            else
                fprintf(out, " \\\n        '--%s[", o->name);
            print_quoted(out, o->help, true);
            fputc(']', out);
            if (o->value)
                fprintf(out, ":%s:%s", o->value,
                        i == OPT_DATA ? "_files -/"
                        : is_file(i)  ? "_files"
                                      : "");
            fputc('\'', out);
        }
    }
}

static void complete_zsh(FILE *out)
{
    fputs("#compdef varve\n# zsh completion for varve; write it to a file _varve in a folder of "
          "$fpath\n"
          "_varve() {\n  local -a verbs\n  verbs=(\n",
          out);
    for (size_t i = 0; i < cli_verb_count; i++) {
        fprintf(out, "    '%s:", cli_verbs[i].name);
        print_quoted(out, cli_verbs[i].summary, true);
        fputs("'\n", out);
    }
    fputs("  )\n  if ((CURRENT == 2)); then\n    _describe verb verbs\n    return\n  fi\n"
          "  local verb=$words[2]\n  shift words\n  ((CURRENT--))\n  case $verb in\n",
          out);
    for (size_t i = 0; i < cli_verb_count; i++) {
        fprintf(out, "    %s)\n      _arguments", cli_verbs[i].name);
        zsh_options(out, offered(&cli_verbs[i]));
        fputs(cli_verbs[i].fn == cli_completion ? " \\\n        '1:shell:(bash zsh fish)'\n"
              : cli_verbs[i].fn == cli_snapshot ? " \\\n        '1:what:(create list delete)'\n"
                                                : " \\\n        '*:argument:_files'\n",
              out);
        fputs("      ;;\n", out);
    }
    fputs("  esac\n}\nif [[ $funcstack[1] == _varve ]]; then\n  _varve \"$@\"\nelse\n  compdef "
          "_varve varve\nfi\n",
          out);
}

static void complete_fish(FILE *out)
{
    fputs("# fish completion for varve; write it to ~/.config/fish/completions/varve.fish\n", out);
    for (size_t i = 0; i < cli_verb_count; i++) {
        fprintf(out, "complete -c varve -f -n __fish_use_subcommand -a %s -d '", cli_verbs[i].name);
        print_quoted(out, cli_verbs[i].summary, false);
        fputs("'\n", out);
    }
    for (size_t v = 0; v < cli_verb_count; v++)
        for (size_t i = 0; i < OPT_COUNT; i++) {
            const struct cli_option *o = &cli_options[i];
            if (!((offered(&cli_verbs[v]) >> i) & 1))
                continue;
            fprintf(out, "complete -c varve -n '__fish_seen_subcommand_from %s' -l %s",
                    cli_verbs[v].name, o->name);
            if (o->letter)
                fprintf(out, " -s %c", o->letter);
            fputs(o->value ? " -r -d '" : " -d '", out);
            print_quoted(out, o->help, false);
            fputs("'\n", out);
        }
    fputs(
        "complete -c varve -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n"
        "complete -c varve -f -n '__fish_seen_subcommand_from snapshot' -a 'create list delete'\n",
        out);
}

bool cli_complete(FILE *out, const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        complete_bash(out);
    else if (strcmp(shell, "zsh") == 0)
        complete_zsh(out);
    else if (strcmp(shell, "fish") == 0)
        complete_fish(out);
    else
        return false;
    return true;
}

int cli_completion(struct cli *c, const struct cli_args *a)
{
    if (!cli_complete(c->out, a->arg[0]))
        return cli_usage(c, a, "'%s' is not bash, zsh or fish", a->arg[0]);
    return CLI_OK;
}
