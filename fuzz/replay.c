/* replay.c - runs a fuzzer without libFuzzer: every file of a folder, then a fixed number of
 * mutations of them.
 *
 *     fuzz_x FOLDER_OR_FILE [MUTATIONS]
 *
 * The mutations are numbered and depend on the seeds' content and the number alone, so a failure
 * comes back by itself; the input that was running when the process died is written to fuzz_x.crash
 * in the working folder.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

enum { INPUT_MAX = 64 * 1024, MUTATIONS_DEFAULT = 20000, GROWTH_MAX = 64 };

struct input {
    uint8_t *data;
    size_t len;
};

struct corpus {
    struct input *items;
    size_t count, cap;
};

static struct input running;
static char crash_path[256];

static void keep_running_input(void)
{
    if (!running.data)
        return;
    int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && write(fd, running.data, running.len) == (ssize_t)running.len;
    running.data = NULL;
    char text[320];
    int n = snprintf(text, sizeof text, "replay: the input that failed %s %s\n",
                     ok ? "is in" : "could not be written to", crash_path);
    if (n > 0 && write(STDERR_FILENO, text, strnlen(text, sizeof text)) < 0)
        return;
}

static void on_signal(int number)
{
    keep_running_input();
    signal(number, SIG_DFL);
    raise(number);
}

static _Noreturn void die(const char *what, const char *path)
{
    fprintf(stderr, "replay: %s %s: %s\n", what, path, strerror(errno));
    exit(2);
}

static void run(struct input in)
{
    /* An exact copy on the heap, so that AddressSanitizer sees a read one byte past the end. */
    uint8_t *exact = malloc(in.len ? in.len : 1);
    if (!exact)
        die("no memory for", "an input");
    if (in.len)
        memcpy(exact, in.data, in.len);
    running = (struct input){exact, in.len};
    (void)LLVMFuzzerTestOneInput(exact, in.len);
    running.data = NULL;
    free(exact);
}

static void corpus_add(struct corpus *c, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        die("cannot open", path);
    if (c->count == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        c->items = realloc(c->items, c->cap * sizeof *c->items);
    }
    uint8_t *data = malloc(INPUT_MAX);
    if (!c->items || !data)
        die("no memory for", path);
    size_t len = fread(data, 1, INPUT_MAX, f);
    if (ferror(f))
        die("cannot read", path);
    fclose(f);
    c->items[c->count++] = (struct input){data, len};
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void corpus_load(struct corpus *c, const char *path)
{
    struct stat info;
    struct dirent **names;
    if (stat(path, &info) != 0)
        die("cannot find", path);
    if (!S_ISDIR(info.st_mode)) {
        corpus_add(c, path);
        return;
    }
    int n = scandir(path, &names, NULL, by_name);
    if (n < 0)
        die("cannot list", path);
    for (int i = 0; i < n; i++) {
        char file[4096];
        int len = snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (len < 0 || (size_t)len >= sizeof file || stat(file, &info) != 0)
            die("cannot find", names[i]->d_name);
        if (S_ISREG(info.st_mode))
            corpus_add(c, file);
        free(names[i]);
    }
    free(names);
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t n)
{
    return n ? (size_t)(next_random(state) % n) : 0;
}

/* Lengths, terminators and their neighbours live at these values. */
static uint8_t edge_byte(uint64_t *state)
{
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
    return edges[below(state, sizeof edges)];
}

static void remove_run(struct input *in, size_t at, size_t len)
{
    memmove(in->data + at, in->data + at + len, in->len - at - len);
    in->len -= len;
}

static void insert_run(struct input *in, size_t at, const uint8_t *run_data, size_t len)
{
    memmove(in->data + at + len, in->data + at, in->len - at);
    memcpy(in->data + at, run_data, len);
    in->len += len;
}

/* One change. `in->data` has room for GROWTH_MAX bytes more. */
static void mutate(struct input *in, const struct corpus *c, uint64_t *state)
{
    size_t at = below(state, in->len);
    uint8_t piece[8];
    uint64_t v = next_random(state);
    const struct input *other = &c->items[below(state, c->count)];
    size_t from = below(state, other->len), len = below(state, 8) + 1;
    switch (in->len == 0 ? 5 : next_random(state) % 8) {
    case 0:
        in->data[at] ^= (uint8_t)(1U << below(state, 8));
        break;
    case 1:
        in->data[at] = (uint8_t)v;
        break;
    case 2:
        in->data[at] = edge_byte(state);
        break;
    case 3: /* cut the end off */
        in->len = at;
        break;
    case 4:
        remove_run(in, at, len < in->len - at ? len : in->len - at);
        break;
    case 5:
        memcpy(piece, &v, sizeof piece);
        insert_run(in, at, piece, len);
        break;
    case 6: /* splice in a piece of another seed */
        if (len > other->len - from)
            len = other->len - from;
        insert_run(in, at, other->data + from, len);
        break;
    default: /* overwrite with a piece of another seed */
        while (len > other->len - from || len > in->len - at)
            len--;
        memcpy(in->data + at, other->data + from, len);
        break;
    }
}

static void run_mutations(const struct corpus *c, uint64_t count)
{
    static uint8_t room[INPUT_MAX + GROWTH_MAX];
    for (uint64_t i = 0; i < count; i++) {
        uint64_t state = i;
        const struct input *seed = &c->items[below(&state, c->count)];
        struct input in = {room, seed->len};
        memcpy(room, seed->data, seed->len);
        for (size_t changes = below(&state, 8) + 1; changes; changes--)
            mutate(&in, c, &state);
        run(in);
    }
}

static uint64_t mutation_count(int argc, char **argv)
{
    const char *scale = getenv("VARVE_SEEDS");
    double factor = scale && *scale ? strtod(scale, NULL) : 1;
    if (argc > 2)
        return strtoull(argv[2], NULL, 0);
    return factor > 0 && factor <= 1e9 ? (uint64_t)(MUTATIONS_DEFAULT * factor) : MUTATIONS_DEFAULT;
}

static void install_handlers(const char *program)
{
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    const char *slash = strrchr(program, '/');
    (void)snprintf(crash_path, sizeof crash_path, "%s.crash", slash ? slash + 1 : program);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(keep_running_input);
        return;
    }
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        signal(fatal[i], on_signal);
}

int main(int argc, char **argv)
{
    struct corpus c = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER_OR_FILE [MUTATIONS]\n", argv[0]);
        return 2;
    }
    install_handlers(argv[0]);
    if (LLVMFuzzerInitialize)
        (void)LLVMFuzzerInitialize(&argc, &argv);
    corpus_load(&c, argv[1]);
    if (c.count == 0) {
        fprintf(stderr, "replay: no seeds in %s\n", argv[1]);
        return 2;
    }
    for (size_t i = 0; i < c.count; i++)
        run(c.items[i]);
    run((struct input){(uint8_t *)argv[1], 0});
    uint64_t mutations = mutation_count(argc, argv);
    run_mutations(&c, mutations);
    printf("replay: %zu seeds and %llu mutations of them\n", c.count,
           (unsigned long long)mutations);
    for (size_t i = 0; i < c.count; i++)
        free(c.items[i].data);
    free(c.items);
    return 0;
}
