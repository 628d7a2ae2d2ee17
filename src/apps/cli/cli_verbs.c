/* The table of verbs: dispatch, help, completion and the man page all read it. A new verb is one
 * row here and one function. */
#include "apps/cli/cli.h"

#define O(id) CLI_OPT(id)

const struct cli_verb cli_verbs[] = {
    {"put", "write a record", "COLLECTION/KEY [VALUE | -]",
     "VALUE is a JSON document (MongoDB Extended JSON), '-' reads it from standard input. --raw "
     "takes VALUE as\n"
     "bytes, --file takes a file's bytes. Prints the version that was written; makes the folder "
     "and the\n"
     "collection when there is none.",
     "varve put users/alice '{\"name\":\"Alice\",\"age\":30}'\n"
     "varve put users/alice --raw 'just text'\n"
     "varve put photos/alice.jpg --file alice.jpg\n"
     "varve put sessions/42 '{\"user\":\"alice\"}' --ttl 10m\n"
     "varve put users/bob '{\"name\":\"Bob\"}' --if-absent\n"
     "echo '{\"name\":\"Carol\"}' | varve put users/carol -\n",
     O(RAW) | O(DOC) | O(FILE) | O(TTL) | O(IF_ABSENT) | O(IF_VERSION) | O(WRITER) | O(SYNC) |
         O(ESCAPES),
     1, 2, CLI_MAKES, cli_put},
    {"get", "show a record, now or at any time", "COLLECTION/KEY",
     "Prints the document, or the bytes as they are. --json wraps it with its version, time and "
     "writer. Exit\n"
     "code 1 when there is no such record.",
     "varve get users/alice\n"
     "varve get users/alice --at 2026-02-01T00:00:00Z\n"
     "varve get users/alice --at -5m\n"
     "varve get users/alice --at 018f3a2b4c5d0001\n"
     "varve get users/alice --at @before-the-move --pretty\n"
     "varve get photos/alice.jpg > alice.jpg\n",
     O(AT) | O(PRETTY) | O(CANONICAL) | O(ESCAPES), 1, 1, CLI_READS, cli_get},
    {"delete", "delete a record; its past stays readable", "COLLECTION/KEY", NULL,
     "varve delete users/alice\n"
     "varve delete users/alice --if-version 018f3a2b4c5d0001\n",
     O(IF_VERSION) | O(WRITER) | O(SYNC) | O(ESCAPES), 1, 1, CLI_WRITES, cli_delete},
    {"scan", "list records in the order of their keys", "COLLECTION[/PREFIX]",
     "Keys are compared as bytes. With --json each record is a line "
     "{\"key\":...,\"version\":...,\"value\":...}.",
     "varve scan users\n"
     "varve scan users/ --prefix a --limit 10 --json\n"
     "varve scan users --from b --to d --reverse\n"
     "varve scan users --keys-only --at @before-the-move\n",
     O(PREFIX) | O(FROM) | O(TO) | O(LIMIT) | O(REVERSE) | O(KEYS_ONLY) | O(AT) | O(CANONICAL) |
         O(ESCAPES),
     1, 1, CLI_READS, cli_scan},
    {"log", "list the versions of a record, newest first", "COLLECTION/KEY", NULL,
     "varve log users/alice\n"
     "varve log users/alice --json --limit 5\n"
     "varve log users/alice --values\n",
     O(LIMIT) | O(VALUES) | O(ESCAPES), 1, 1, CLI_READS, cli_log},
    {"diff", "show what changed between two versions of a document", "COLLECTION/KEY FROM [TO]",
     "FROM and TO are moments as --at takes them; TO is the present when left out.",
     "varve diff users/alice 018f3a2b4c5d0001 018f3a2b4c600000\n"
     "varve diff users/alice -1h\n"
     "varve diff users/alice @before-the-move now --patch\n",
     O(PATCH) | O(ESCAPES), 2, 3, CLI_READS, cli_diff},
    {"restore", "write what a record once was as its newest version", "COLLECTION/KEY --at WHEN",
     "Where the record did not exist at that time this deletes it, and says so (\"kind\" with "
     "--json).",
     "varve restore users/alice --at -1d\n"
     "varve restore users/alice --at 018f3a2b4c5d0001\n",
     O(AT) | O(WRITER) | O(SYNC) | O(ESCAPES), 1, 1, CLI_WRITES, cli_restore},
    {"snapshot", "name a moment, so that vacuum leaves it whole",
     "create NAME [--at WHEN] | list | delete NAME", NULL,
     "varve snapshot create before-the-move\n"
     "varve snapshot create last-week --at -7d\n"
     "varve snapshot list --json\n"
     "varve snapshot delete last-week\n",
     O(AT), 1, 2, CLI_WRITES, cli_snapshot},
    {"changes", "list every put and delete in the order they were made", "[--since TOKEN]",
     "Without --since from the beginning. Each row has a token; going on from the last one misses "
     "nothing and\n"
     "repeats nothing; where there is no row, there is the token alone. The command's own records "
     "(_varve.*)\n"
     "are left out unless --all is given. At a server --follow goes on with what comes, as watch "
     "does.",
     "varve changes --limit 10\n"
     "varve changes --collection users --values --json\n"
     "varve changes --since TOKEN --json\n"
     "varve changes --server localhost:7878 --since now --follow\n",
     O(SINCE) | O(COLLECTION) | O(PREFIX) | O(VALUES) | O(LIMIT) | O(FOLLOW) | O(ALL) |
         O(CANONICAL) | O(ESCAPES),
     0, 0, CLI_READS, cli_changes},
    {"watch", "list changes, then wait for more", "[--since TOKEN] [--timeout DURATION]",
     "In a folder only writes of this very process can still come, as one process owns it: to hear "
     "of others, watch\n"
     "at a server (--server). A watch there that is cut off goes on where it was. Ends at Ctrl-C, "
     "or when nothing came\n"
     "for --timeout.",
     "varve watch --server localhost:7878 --since now\n"
     "varve watch --since TOKEN --timeout 10s\n"
     "varve watch --collection users --json\n",
     O(SINCE) | O(COLLECTION) | O(PREFIX) | O(VALUES) | O(TIMEOUT) | O(LIMIT) | O(ALL) |
         O(CANONICAL) | O(ESCAPES),
     0, 0, CLI_READS, cli_watch},
    {"import", "read documents from NDJSON or CSV", "COLLECTION FILE|- [--key FIELD]",
     "NDJSON: one JSON document a line. CSV: RFC 4180 with a heading; values are strings unless "
     "--infer is given;\n"
     "an empty field is left out, \"\" is an empty string. The key is the field named by --key (a "
     "dotted path in\n"
     "NDJSON); without --key it is _key, which is then not kept in the document, so that what "
     "export wrote comes\n"
     "back as it was. How far the import is, is stored with the rows themselves (in the "
     "collection\n"
     "_varve.imports), so --resume after a crash or Ctrl-C neither loses nor repeats a row.",
     "varve import packages data.ndjson --key Package\n"
     "varve import packages data.ndjson --key Package --resume\n"
     "varve import people people.csv --key id --infer --on-error skip\n"
     "zcat dump.ndjson.gz | varve import users -\n",
     O(KEY) | O(DROP_KEY) | O(FORMAT) | O(BATCH) | O(RESUME) | O(ON_ERROR) | O(CHANGED_ONLY) |
         O(INFER) | O(PROGRESS) | O(WRITER) | O(SYNC),
     2, 2, CLI_MAKES, cli_import},
    {"export", "write a collection as NDJSON or CSV", "COLLECTION [FILE]",
     "NDJSON carries the key as the field _key (or --key FIELD, which a document may already "
     "have); a raw value\n"
     "is {\"_key\":...,\"_raw\":...}, a document that has such fields itself "
     "{\"_key\":...,\"_doc\":{...}}: import\n"
     "reads all of them back. CSV has one column per top-level field; nested values are JSON text; "
     "raw values\n"
     "and keys that are not text cannot be written as CSV. An interrupted export to FILE leaves "
     "FILE.varve-export\n"
     "beside it, with which --resume continues behind the last whole row, at the same moment.",
     "varve export users users.ndjson\n"
     "varve export users --format csv --at -1d > yesterday.csv\n"
     "varve export packages packages.ndjson --key Package --resume\n",
     O(KEY) | O(FORMAT) | O(AT) | O(RESUME) | O(CANONICAL) | O(PROGRESS), 1, 2, CLI_READS,
     cli_export},
    {"collections", "list the collections", "", NULL,
     "varve collections\n"
     "varve collections --json --all\n",
     O(ALL), 0, 0, CLI_READS, cli_collections},
    {"drop", "remove a collection from the present; its past stays readable", "COLLECTION", NULL,
     "varve drop users\n", O(WRITER) | O(SYNC), 1, 1, CLI_WRITES, cli_drop},
    {"retention", "show or set how long superseded versions stay",
     "COLLECTION [--max-age D] [--max-count N]",
     "0 is no limit. It takes effect at the next vacuum; what a named snapshot sees always stays.",
     "varve retention users\n"
     "varve retention users --max-age 30d --max-count 100\n"
     "varve retention users --max-age 0 --max-count 0\n",
     O(MAX_AGE) | O(MAX_COUNT), 1, 1, CLI_WRITES, cli_retention},
    {"vacuum", "remove expired records and versions past their retention", "[COLLECTION]", NULL,
     "varve vacuum\n"
     "varve vacuum users --json\n",
     O(PROGRESS), 0, 1, CLI_WRITES, cli_vacuum},
    {"verify", "check every checksum, and every row against the others", "",
     "Exit code 4 when anything was found; each finding names its file, offset and range. A folder "
     "that is too\n"
     "damaged to be opened is looked at all the same.",
     "varve verify\n"
     "varve verify --json\n",
     O(PROGRESS), 0, 0, CLI_READS, cli_verify},
    {"stats", "show counters and sizes", "", NULL,
     "varve stats\n"
     "varve stats --json\n",
     0, 0, 0, CLI_READS, cli_stats},
    {"checkpoint", "drain memory into the engine and recycle the log", "", NULL,
     "varve checkpoint\n", 0, 0, 0, CLI_WRITES, cli_checkpoint},
    {"compact", "merge the engine's files", "", NULL, "varve compact\n", 0, 0, 0, CLI_WRITES,
     cli_compact},
    {"serve", "serve the folder over gRPC and HTTP", "[--config FILE] [--SETTING VALUE]...",
     "Serves until SIGTERM or Ctrl-C, then drains and checkpoints. Every setting can stand in the "
     "file (YAML), in\n"
     "the environment (VARVE_TLS_CERT) and in a flag (--tls-cert); the later wins. SIGHUP loads "
     "them again.\n"
     "'varve serve --help' lists them. Other addresses than loopback need TLS and authentication, "
     "or --insecure.",
     "varve serve --data my-data\n"
     "varve serve --listen 127.0.0.1:7900 --log-access\n"
     "varve serve --config /etc/varve.yaml\n"
     "varve serve --listen :7878 --tls-cert cert.pem --tls-key key.pem --auth\n",
     0, 0, SIZE_MAX, CLI_RAW, cli_serve},
    {"config", "check or print the settings of the server",
     "check | print [--config FILE] [--SETTING VALUE]...",
     "Takes the flags of serve, and the environment. print shows what would run, and where each "
     "value that is not\n"
     "the default came from.",
     "varve config check --config /etc/varve.yaml\n"
     "varve config print --listen 127.0.0.1:7900\n",
     0, 0, SIZE_MAX, CLI_RAW, cli_config},
    {"bench", "put a server under load and measure it", "WORKLOAD [--OPTION VALUE]...",
     "Asks a server that runs ('varve serve'), over gRPC or HTTP, from one thread. 'varve bench "
     "load' "
     "writes the keys\n"
     "that other workloads ask for: A to F of YCSB, get, put, insert, rmw, scan, batch. A closed "
     "loop "
     "waits for each\n"
     "answer; with --rate requests fall due at fixed times, and a latency counts from then. Prints "
     "rate, latencies\n"
     "(also corrected for what a closed loop leaves out), errors by kind, and a checksum. 'varve "
     "bench "
     "--help' lists\n"
     "workloads and options. Exit code 5 when a request failed.",
     "varve bench load --keys 1000000\n"
     "varve bench get --keys 1000000 --connections 16 --in-flight 64\n"
     "varve bench A --keys 1000000 --rate 20000 --duration 30s\n"
     "varve bench put --keys 1000000 --sync always --json\n"
     "varve bench B --server db.example.com:7878 --tls --token-file token\n",
     0, 0, SIZE_MAX, CLI_RAW, cli_bench},
    {"user", "the server's users: who they are and what they may",
     "add | grant | password | remove | list [NAME] [ROLE:PATTERN]...",
     "Roles are read, write and admin, each with those before it; a pattern is a collection's name "
     "in which * stands\n"
     "for any run of bytes and ? for one. 'none:PATTERN' takes a grant away. The password is "
     "asked for, or is\n"
     "the first line of standard input. With --certificate the user has no password: NAME is the "
     "subject of a client\n"
     "certificate, or its CN. A server that runs has the folder to itself: stop it first.",
     "varve user add alice 'write:app-*' 'read:*'\n"
     "varve user add root 'admin:*' < password-file\n"
     "varve user add importer --certificate 'write:*'\n"
     "varve user grant alice 'none:app-*'\n"
     "varve user list --json\n",
     O(CERTIFICATE) | O(WRITER) | O(SYNC), 1, SIZE_MAX, CLI_FOLDER, cli_user},
    {"token", "the server's API tokens", "create | revoke | list [NAME | ID] [ROLE:PATTERN]...",
     "A token is shown once, when it is made; what is kept is its hash.",
     "varve token create ci 'read:*' --ttl 90d\n"
     "varve token list\n"
     "varve token revoke 0123456789abcdef\n",
     O(TTL) | O(WRITER) | O(SYNC), 1, SIZE_MAX, CLI_FOLDER, cli_token},
    {"shell", "type verbs one after the other, with the folder open", "",
     "Words are split as in a shell: '...' is taken as it is, \"...\" knows \\\" and \\\\, and "
     "outside of quotes\n"
     "a backslash takes the next character. A word that begins with { is a JSON document and needs "
     "no quotes.\n"
     "'#' begins a comment. From a pipe, the exit code is that of the first command that failed, "
     "if any.",
     "varve shell --data my-data\n"
     "echo 'get users/alice' | varve shell\n",
     0, 0, 0, CLI_WRITES, cli_shell},
    {"sim", "simulate whole clusters under faults, from one seed", "[--seed N | --minutes M]...",
     "Runs varve-sim, which lies beside this program where Varve was built. It makes one number "
     "into "
     "a cluster,\n"
     "its clients and everything that goes wrong, and checks what the clients saw; the same number "
     "gives the same\n"
     "run. Without a word it lists its options. Its exit code: 0 nothing found, 1 a seed failed, 2 "
     "wrong use.",
     "varve sim --seed 7 --trace\n"
     "varve sim --minutes 10 --jobs 2\n",
     0, 0, SIZE_MAX, CLI_RAW, cli_sim},
    {"completion", "print the completion script of a shell", "bash | zsh | fish", NULL,
     "source <(varve completion bash)\n"
     "varve completion zsh > ~/.zfunc/_varve\n"
     "varve completion fish > ~/.config/fish/completions/varve.fish\n",
     0, 1, 1, CLI_PURE, cli_completion},
    {"help", "show help on a verb", "[VERB]", NULL,
     "varve help\n"
     "varve help import\n"
     "varve help --all\n",
     O(ALL), 0, 1, CLI_PURE, cli_help},
};
const size_t cli_verb_count = sizeof cli_verbs / sizeof cli_verbs[0];
