/* Folders: reopening after every kind of write, with close, without it and after kill -9; who may
 * open them, and how. */
#include "embed_util.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every kind of write. What it left is checked by `check_every_kind`. */
static void write_every_kind(varve *db, varve_version *ret_old)
{
    varve_batch *b = varve_batch_new();
    varve_version v = {0, 0};
    varve_retention r = {.max_age_ms = 5, .max_count = 7};
    varve_status st = varve_put(db, "c", "k", 1, VARVE_RAW, "old", 3, NULL, ret_old);
    st = st ? st : varve_put(db, "c", "k", 1, VARVE_RAW, "new", 3, NULL, &v);
    st = st ? st : varve_put(db, "c", "doc", 3, VARVE_JSON, "{\"a\":1}", 7, NULL, NULL);
    st = st ? st : varve_put(db, "c", "gone", 4, VARVE_RAW, "x", 1, NULL, NULL);
    st = st ? st : varve_delete(db, "c", "gone", 4, NULL, NULL);
    st = st ? st : varve_batch_put(b, "batch", "a", 1, VARVE_RAW, "1", 1, 0);
    st = st ? st : varve_batch_put(b, "batch2", "b", 1, VARVE_RAW, "2", 1, 3600000);
    st = st ? st : varve_commit(db, b, NULL, NULL, NULL);
    st = st ? st
            : varve_compare_and_set(db, "cas", "k", 1, (varve_version){0, 0}, VARVE_RAW, "set", 3,
                                    NULL, NULL);
    varve_at at = at_version(*ret_old);
    st = st ? st : varve_restore(db, "c", "k", 1, &at, NULL, NULL);
    st = st ? st : varve_snapshot_create(db, "snap", &at, NULL);
    st = st ? st : varve_snapshot_create(db, "dead", NULL, NULL);
    st = st ? st : varve_snapshot_delete(db, "dead");
    st = st ? st : varve_retention_set(db, "cas", &r);
    st = st ? st : varve_put(db, "dropped", "k", 1, VARVE_RAW, "d", 1, NULL, NULL);
    st = st ? st : varve_collection_drop(db, "dropped", NULL);
    varve_batch_free(b);
    if (st != VARVE_OK) {
        fprintf(stderr, "writing: %s: %s\n", varve_status_name(st), varve_last_error());
        _exit(3);
    }
}

static void check_every_kind(struct world *w)
{
    varve_at snap = at_snapshot("snap");
    varve_retention r;
    expect(w, "c", "k", NULL, "old");
    expect(w, "c", "k", &snap, "old");
    expect(w, "c", "gone", NULL, NULL);
    expect(w, "batch", "a", NULL, "1");
    expect(w, "batch2", "b", NULL, "2");
    assert_true(varve_value_expires_ms(w->v) > clock_ms());
    expect(w, "cas", "k", NULL, "set");
    expect(w, "dropped", "k", NULL, NULL);
    assert_ok(varve_get(w->db, "c", "doc", 3, NULL, w->v));
    assert_int_equal(varve_value_type(w->v), VARVE_DOC);
    assert_ok(varve_retention_get(w->db, "cas", &r));
    assert_true(r.max_age_ms == 5 && r.max_count == 7);
    varve_iter *it;
    assert_ok(varve_history(w->db, "c", "k", 1, 0, &it));
    static const char *const versions[] = {"old", "new", "old"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(varve_iter_next(it), 1);
        assert_true(bytes_are(varve_iter_value(it), versions[i]));
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    assert_ok(varve_snapshots(w->db, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    assert_ok(varve_changes(w->db, NULL, NULL, &it));
    int n = 0;
    while (varve_iter_next(it) == 1)
        n++;
    varve_iter_close(it);
    assert_int_equal(n, 10);
}

static void keeps_everything_over_reopening(void **state)
{
    struct world *w = *state;
    varve_version old;
    db_open(w);
    write_every_kind(w->db, &old);
    check_every_kind(w);
    for (int i = 0; i < 3; i++) {
        db_reopen(w);
        check_every_kind(w);
    }
    db_end(w);
}

/* ---- children: this program again, since a fork of one that has threads (RocksDB's) is good for
 * nothing but exec ---- */

enum { CHILD_STDOUT = 1 };

/* What a child does: argv is "child", what, folder, engine, sync, a number. It reports on its
 * standard output. */
static int child_main(char **argv)
{
    varve_options o = {.size = sizeof(o),
                       .sync = (varve_sync)atoi(argv[5]),
                       .segment_bytes = 1 << 20,
                       .engine = argv[4]};
    const char *what = argv[2];
    varve *db;
    varve_version old;
    if (strcmp(what, "many") == 0)
        o.table_bytes = 256 * 1024; /* checkpoints fall among the writes */
    varve_status st = varve_open(argv[3], &o, &db);
    if (strcmp(what, "locked") == 0)
        return st == VARVE_LOCKED && strstr(varve_last_error(), argv[3]) ? 0 : 1;
    if (st != VARVE_OK) {
        fprintf(stderr, "child: %s\n", varve_last_error());
        return 2;
    }
    if (strcmp(what, "one") == 0)
        _exit(varve_put(db, "c", "k", 1, VARVE_RAW, "crashed", 7, NULL, NULL) == VARVE_OK ? 0 : 3);
    if (strncmp(what, "kinds", 5) == 0) {
        write_every_kind(db, &old);
        if (write(CHILD_STDOUT, "x", 1) != 1)
            _exit(4);
        while (strcmp(what, "kinds-wait") == 0)
            pause();
        _exit(0);
    }
    varve_batch *b = varve_batch_new();
    char fill[600] = {0};
    for (uint64_t i = strtoull(argv[6], NULL, 10) + 1;; i++) {
        varve_batch_clear(b);
        memcpy(fill, &i, sizeof(i));
        if (varve_batch_put(b, "c", "first", 5, VARVE_RAW, fill, sizeof(fill), 0) ||
            varve_batch_put(b, "d", "second", 6, VARVE_RAW, fill, sizeof(fill), 0) ||
            varve_batch_put(b, "c", &i, sizeof(i), VARVE_RAW, fill, sizeof(fill), 0) ||
            varve_commit(db, b, NULL, NULL, NULL) ||
            write(CHILD_STDOUT, &i, sizeof(i)) != sizeof(i))
            _exit(3);
    }
}

static pid_t child(struct world *w, const char *what, varve_sync sync, uint64_t number,
                   int *ret_said)
{
    int said[2];
    char sync_text[12], number_text[24];
    snprintf(sync_text, sizeof(sync_text), "%d", (int)sync);
    snprintf(number_text, sizeof(number_text), "%llu", (unsigned long long)number);
    assert_int_equal(pipe(said), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(said[1], CHILD_STDOUT);
        close(said[0]);
        close(said[1]);
        execl("/proc/self/exe", "test_embed_folder", "child", what, w->folder, w->engine, sync_text,
              number_text, (char *)NULL);
        _exit(127);
    }
    close(said[1]);
    *ret_said = said[0];
    return pid;
}

static int ended(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* The child writes and is gone without closing: by itself, or by kill -9 while it waits. */
static void keeps_everything_without_a_close(void **state)
{
    struct world *w = *state;
    for (int sync = VARVE_SYNC_ALWAYS; sync <= VARVE_SYNC_OFF; sync++) {
        for (int killed = 0; killed < 2; killed++) {
            int said;
            char c;
            snprintf(w->folder, sizeof(w->folder), "%.400s/%d%d", w->dir, sync, killed);
            pid_t pid = child(w, killed ? "kinds-wait" : "kinds", (varve_sync)sync, 0, &said);
            assert_int_equal(read(said, &c, 1), 1);
            close(said);
            if (killed)
                assert_int_equal(kill(pid, SIGKILL), 0);
            int status = ended(pid);
            assert_true(killed ? WIFSIGNALED(status)
                               : WIFEXITED(status) && WEXITSTATUS(status) == 0);
            db_open(w); /* the lock died with the child */
            check_every_kind(w);
            db_end(w);
        }
    }
}

/* kill -9 in the midst of writing, again and again: what was acknowledged is there, a batch is
 * never halved. */
static void survives_kill_in_the_midst(void **state)
{
    struct world *w = *state;
    struct test_rng r;
    test_rng_init(&r, 11);
    uint64_t acknowledged = 0;
    for (uint64_t round = 0; round < seeds_scaled(4); round++) {
        int said;
        pid_t pid = child(w, "many", VARVE_SYNC_OFF, acknowledged, &said);
        uint64_t want = acknowledged + test_rng_between(&r, 1, 250), got;
        while (acknowledged < want && read(said, &got, sizeof(got)) == sizeof(got))
            acknowledged = got;
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(said, &got, sizeof(got)) == sizeof(got))
            acknowledged = got;
        close(said);
        assert_true(WIFSIGNALED(ended(pid)));
        assert_true(acknowledged >= want);

        db_open(w);
        uint64_t first, second;
        assert_ok(varve_get(w->db, "c", "first", 5, NULL, w->v));
        memcpy(&first, varve_value_bytes(w->v).data, sizeof(first));
        assert_ok(varve_get(w->db, "d", "second", 6, NULL, w->v));
        memcpy(&second, varve_value_bytes(w->v).data, sizeof(second));
        assert_int_equal(first, second);
        assert_true(first >= acknowledged && first <= acknowledged + 1);
        for (uint64_t i = 1; i <= first; i++)
            assert_ok(varve_get(w->db, "c", &i, sizeof(i), NULL, w->v));
        acknowledged = first;
        db_verify(w);
        db_close(w);
    }
    db_open(w);
    db_end(w);
}

static void one_process_at_a_time(void **state)
{
    struct world *w = *state;
    varve *second;
    db_open(w);
    put(w, "c", "k", "1");
    assert_fails(varve_open(w->folder, &w->o, &second), VARVE_LOCKED,
                 "varve serve"); /* this process, again */
    int said, status = ended(child(w, "locked", VARVE_SYNC_OFF, 0, &said));
    close(said);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    put(w, "c", "k", "2");
    db_reopen(w);
    expect(w, "c", "k", NULL, "2");
    db_end(w);
}

static void opens_read_only(void **state)
{
    struct world *w = *state;
    varve_iter *it;
    db_open(w);
    varve_version first = put(w, "c", "k", "1");
    put(w, "c", "k", "2");
    db_close(w);
    w->o.read_only = true;
    db_open(w);
    varve_at at = at_version(first);
    expect(w, "c", "k", NULL, "2");
    expect(w, "c", "k", &at, "1");
    assert_ok(varve_scan(w->db, "c", NULL, &it));
    assert_int_equal(varve_iter_next(it), 1);
    varve_iter_close(it);
    assert_ok(varve_changes(w->db, NULL, NULL, &it));
    assert_int_equal(varve_iter_next(it), 1);
    varve_iter_close(it);
    assert_fails(varve_put(w->db, "c", "k", 1, VARVE_RAW, "3", 1, NULL, NULL), VARVE_READ_ONLY,
                 "read-only");
    assert_fails(varve_put(w->db, "new", "k", 1, VARVE_RAW, "3", 1, NULL, NULL), VARVE_READ_ONLY,
                 "read-only");
    assert_fails(varve_delete(w->db, "c", "k", 1, NULL, NULL), VARVE_READ_ONLY, "read-only");
    assert_fails(varve_checkpoint(w->db), VARVE_READ_ONLY, "read-only");
    assert_fails(varve_vacuum(w->db, NULL, NULL, NULL, NULL), VARVE_READ_ONLY, "read-only");
    assert_fails(varve_snapshot_create(w->db, "s", NULL, NULL), VARVE_READ_ONLY, "read-only");
    db_verify(w);
    db_close(w);
    /* What a crash left in the log is read too. */
    int said, status = ended(child(w, "one", VARVE_SYNC_OFF, 0, &said));
    close(said);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    db_open(w);
    expect(w, "c", "k", NULL, "crashed");
    db_close(w);
    w->o.read_only = false;
    db_open(w);
    expect(w, "c", "k", NULL, "crashed");
    db_end(w);
}

/* A child that was forked while the folder was open has no part in it: closing ends the lock. */
static void a_forked_child_does_not_keep_the_lock(void **state)
{
    struct world *w = *state;
    db_open(w);
    put(w, "c", "k", "1");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pause();
        _exit(0);
    }
    db_close(w);
    varve_status again = varve_open(w->folder, &w->o, &w->db);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(again, VARVE_OK);
    db_end(w);
}

static void tells_what_is_wrong_with_a_folder(void **state)
{
    struct world *w = *state;
    varve *db;
    w->o.must_exist = true;
    assert_fails(varve_open(w->folder, &w->o, &db), VARVE_NOT_FOUND, w->folder);
    assert_int_equal(access(w->folder, F_OK), -1);
    assert_fails(varve_open(w->dir, &w->o, &db), VARVE_NOT_FOUND, "no database");
    w->o.must_exist = false;
    w->o.read_only = true;
    assert_fails(varve_open(w->folder, &w->o, &db), VARVE_NOT_FOUND, w->folder);
    assert_int_equal(access(w->folder, F_OK), -1);
    w->o.read_only = false;
    /* Folders above are made too. */
    snprintf(w->folder, sizeof(w->folder), "%.400s/a/b", w->dir);
    db_open(w);
    put(w, "c", "k", "1");
    db_close(w);
    w->o.must_exist = true;
    /* Another engine than it was made with. */
    varve_options other = w->o;
    other.engine = strcmp(w->engine, "mem") == 0 ? "rocks" : "mem";
    assert_fails(varve_open(w->folder, &other, &db), VARVE_INVALID_ARGUMENT, w->engine);
    /* A newer format; a garbled one. */
    char path[TEMP_DIR_MAX + 32], saved[512];
    snprintf(path, sizeof(path), "%s/VARVE", w->folder);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    ssize_t len = read(fd, saved, sizeof(saved));
    assert_true(len > 0);
    static const char newer[] = "varve\nformat 99\nsomething else\n";
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, newer, sizeof(newer) - 1, 0), sizeof(newer) - 1);
    assert_fails(varve_open(w->folder, &w->o, &db), VARVE_FORMAT_NEWER, "99");
    assert_int_equal(ftruncate(fd, 0), 0);
    saved[len - 3] ^= 1;
    assert_int_equal(pwrite(fd, saved, (size_t)len, 0), len);
    assert_fails(varve_open(w->folder, &w->o, &db), VARVE_CORRUPT, "VARVE");
    saved[len - 3] ^= 1;
    assert_int_equal(pwrite(fd, saved, (size_t)len, 0), len);
    close(fd);
    db_open(w);
    expect(w, "c", "k", NULL, "1");
    db_end(w);
    /* A file where the folder should be. */
    snprintf(path, sizeof(path), "%s/file", w->dir);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    w->o.must_exist = false;
    assert_int_not_equal(varve_open(path, &w->o, &db), VARVE_OK);
}

static void a_relative_name_stays_where_it_was(void **state)
{
    struct world *w = *state;
    char absolute[sizeof(w->folder)];
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(here >= 0);
    memcpy(absolute, w->folder, sizeof(absolute));
    snprintf(w->folder, sizeof(w->folder), "./db");
    w->o.segment_bytes = 64 * 1024;
    assert_int_equal(chdir(w->dir), 0);
    db_open(w);
    assert_int_equal(mkdir("elsewhere", 0700), 0);
    assert_int_equal(chdir("elsewhere"), 0);
    char value[1000] = "";
    memset(value, 'v', sizeof(value) - 1);
    for (int i = 0; i < 300; i++) /* more than the segments that were made at the opening */
        put(w, "c", "k", value);
    assert_ok(varve_checkpoint(w->db));
    put(w, "c", "k", "last");
    db_close(w);
    assert_int_equal(access("db", F_OK), -1);
    memcpy(w->folder, absolute, sizeof(absolute));
    db_open(w);
    expect(w, "c", "k", NULL, "last");
    assert_int_equal(fchdir(here), 0);
    close(here);
    db_end(w);
}

static void checks_each_option(void **state)
{
    struct world *w = *state;
    varve *db;
    char writer[257];
    memset(writer, 'w', 256);
    writer[256] = 0;
    const varve_options good = w->o;
    varve_options o = good;
    o.size = 0;
    assert_fails(varve_open(w->folder, &o, &db), VARVE_INVALID_ARGUMENT, "options.size");
    o = good;
    o.sync = (varve_sync)9;
    assert_fails(varve_open(w->folder, &o, &db), VARVE_INVALID_ARGUMENT, "option sync");
    o = good;
    o.engine = "layers";
    assert_fails(varve_open(w->folder, &o, &db), VARVE_INVALID_ARGUMENT, "option engine");
    o = good;
    o.table_bytes = 1;
    assert_fails(varve_open(w->folder, &o, &db), VARVE_INVALID_ARGUMENT, "option table_bytes");
    o = good;
    o.segment_bytes = 1;
    assert_fails(varve_open(w->folder, &o, &db), VARVE_INVALID_ARGUMENT, "option segment_bytes");
    o.segment_bytes = SIZE_MAX;
    assert_fails(varve_open(w->folder, &o, &db), VARVE_INVALID_ARGUMENT, "option segment_bytes");
    o.segment_bytes = (size_t)32 << 30;
    assert_fails(varve_open(w->folder, &o, &db), VARVE_INVALID_ARGUMENT, "32 GiB");
    o = good;
    o.writer = writer;
    assert_fails(varve_open(w->folder, &o, &db), VARVE_TOO_LARGE, "writer");
    assert_int_equal(access(w->folder, F_OK), -1); /* nothing was made for them */
    /* The least of each, and no cache. */
    w->o.table_bytes = 64 * 1024;
    w->o.segment_bytes = 64 * 1024;
    w->o.log_bytes = 256 * 1024;
    w->o.cache_bytes = SIZE_MAX;
    w->o.checkpoint_interval_ms = UINT32_MAX;
    w->o.sync_interval_ms = 10;
    w->o.sync = VARVE_SYNC_INTERVAL;
    db_open(w);
    char key[16];
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "%d", i % 1000);
        put(w, "c", key, key);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        expect(w, "c", key, NULL, key);
    }
    varve_stats s = {.size = sizeof(s)};
    assert_ok(varve_get_stats(w->db, &s));
    assert_int_equal(s.cache_hits, 0);
    assert_true(s.checkpoints > 0);
    db_end(w);
}

static void count_finding(void *arg, const varve_finding *f)
{
    assert_true(strlen(f->text) > 0);
    ++*(int *)arg;
}

/* Flips a bit of every place in the log's first segment where the text is. */
static void rot_log(const struct world *w, const char *text)
{
    static char bytes[1 << 20];
    char path[600];
    snprintf(path, sizeof(path), "%s/log/00000000.seg", w->folder);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, bytes, sizeof(bytes));
    int hits = 0;
    for (ssize_t i = 0; i + (ssize_t)strlen(text) <= n; i++) {
        if (memcmp(bytes + i, text, strlen(text)) != 0)
            continue;
        char bad = (char)(bytes[i] ^ 1);
        assert_int_equal(pwrite(fd, &bad, 1, i), 1);
        hits++;
    }
    assert_true(hits > 0);
    assert_int_equal(close(fd), 0);
}

static void verifies_a_folder_that_nobody_has_open(void **state)
{
    struct world *w = *state;
    int found = 0;
    varve *db;
    db_open(w);
    put(w, "c", "rotten-1", "v");
    put(w, "c", "between", "v");
    put(w, "c", "rotten-2", "v");
    if (strcmp(w->engine, "rocks") != 0) {
        db_end(w);
        return;
    }
    assert_int_equal(varve_verify_dir(w->folder, count_finding, NULL, &found), VARVE_LOCKED);
    db_close(w);
    assert_ok(varve_verify_dir(w->folder, count_finding, NULL, &found));
    assert_int_equal(found, 0);
    assert_int_equal(varve_verify_dir("/nonexistent/folder", NULL, NULL, NULL), VARVE_NOT_FOUND);
    rot_log(w, "rotten-");
    assert_int_equal(varve_open(w->folder, &w->o, &db), VARVE_CORRUPT);
    assert_int_equal(varve_verify_dir(w->folder, count_finding, NULL, &found), VARVE_CORRUPT);
    assert_int_equal(found, 2);
    rot_log(w, "sotten-"); /* and back */
    assert_ok(varve_verify_dir(w->folder, NULL, NULL, NULL));
    db_open(w);
    db_end(w);
}

static bool clean(const char *what, varve_status st)
{
    if (st == VARVE_OK && !*varve_last_error())
        return true;
    print_message("%s: %s: \"%s\"\n", what, varve_status_name(st), varve_last_error());
    return false;
}

static void *fail_nowhere(void *arg)
{
    struct world *w = arg;
    bool all = clean("open anew", varve_open(w->folder, &w->o, &w->db)) &&
               clean("put", varve_put(w->db, "c", "k", 1, VARVE_RAW, "v", 1, NULL, NULL)) &&
               clean("get", varve_get(w->db, "c", "k", 1, NULL, w->v)) &&
               clean("close", varve_close(w->db)) &&
               clean("open again", varve_open(w->folder, &w->o, &w->db)) &&
               clean("get again", varve_get(w->db, "c", "k", 1, NULL, w->v)) &&
               clean("verify", varve_verify(w->db, NULL, NULL, NULL)) &&
               clean("checkpoint", varve_checkpoint(w->db)) &&
               clean("close again", varve_close(w->db));
    return all ? w : NULL;
}

static void leaves_no_error_behind_where_none_was(void **state)
{
    pthread_t t; /* its own last error; this thread's is of other tests */
    void *all;
    assert_int_equal(pthread_create(&t, NULL, fail_nowhere, *state), 0);
    assert_int_equal(pthread_join(t, &all), 0);
    assert_non_null(all);
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "child") == 0)
        return child_main(argv);

    const struct CMUnitTest tests[] = {
        WORLD_TEST(keeps_everything_over_reopening),
        WORLD_TEST(keeps_everything_without_a_close),
        WORLD_TEST(survives_kill_in_the_midst),
        WORLD_TEST(one_process_at_a_time),
        WORLD_TEST(opens_read_only),
        WORLD_TEST(a_forked_child_does_not_keep_the_lock),
        WORLD_TEST(tells_what_is_wrong_with_a_folder),
        WORLD_TEST(a_relative_name_stays_where_it_was),
        WORLD_TEST(checks_each_option),
        WORLD_TEST(verifies_a_folder_that_nobody_has_open),
        WORLD_TEST(leaves_no_error_behind_where_none_was),
    };
    return RUN_ON(tests, "mem", "rocks");
}
