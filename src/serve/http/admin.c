/* admin.c - collections, retention, snapshots, figures, and care that may take minutes. */
#include "serve/http/http_internal.h"

#include "base/env/thread.h"

#include <inttypes.h>

/* ---- lists of names ---- */

struct names_job {
    struct http_call *c;
    struct command_page page;
    struct command_page_end end;
    bool snapshots;
    struct buf out, token;
    enum status st;
};

static int take_name(void *arg, const struct command_row *row, struct err *err)
{
    struct names_job *j = arg;
    enum status st = j->end.rows++ ? json_put(&j->out, ",\n") : ST_OK;
    if (st == ST_OK)
        st = json_put(&j->out, "{\"name\":");
    if (st == ST_OK)
        st = json_bytes(&j->out, row->key);
    if (st == ST_OK)
        st = buf_append_u8(&j->out, ',');
    if (st == ST_OK)
        st = version_json(&j->out, "version", row->rec.version);
    if (st == ST_OK)
        st = buf_append_u8(&j->out, '}');
    return st == ST_OK ? 1 : -(int)err_set(err, st, "no memory for the answer");
}

static void names_on_pool(void *arg)
{
    struct names_job *j = arg;
    struct http_call *c = j->c;
    struct command_page_end end;
    enum status st = json_put(&j->out, "{\"items\":[");
    if (st == ST_OK)
        st = j->snapshots
                 ? command_snapshots_page(&c->db, &j->page, take_name, j, &end, &j->token, &c->err)
                 : command_collections_page(&c->db, &j->page, take_name, j, &end, &j->token,
                                            &c->err);
    if (st == ST_OK)
        st = json_put(&j->out, "],\"next\":");
    if (st == ST_OK)
        st = end.more ? json_text(&j->out, buf_bytes(&j->token)) : json_put(&j->out, "null");
    j->st = st == ST_OK ? json_put(&j->out, "}\n") : st;
}

static enum status names(struct http_call *c, enum command_verb verb)
{
    struct names_job j = {.c = c, .snapshots = verb == COMMAND_SNAPSHOTS};
    uint64_t limit = 0;
    enum status st = http__allow(c, verb, BYTES_EMPTY);
    if (st == ST_OK)
        st = arg_number(c, PARAM_LIMIT, COMMAND_PAGE_ROWS_MAX, &limit);
    j.page.max_rows = (uint32_t)limit;
    if (call_has(c, PARAM_PAGE))
        j.page.token = c->query.value[PARAM_PAGE];
    if (st == ST_OK)
        st = http__work(c, WORK_READ, names_on_pool, &j);
    if (st == ST_OK)
        st = j.st;
    if (st == ST_OK) {
        call_cache(c, false);
        st = http__respond(c, 200, MEDIA_JSON, buf_bytes(&j.out));
    }
    buf_deinit(&j.out);
    buf_deinit(&j.token);
    return st;
}

enum status http_collections(struct http_call *c)
{
    return names(c, COMMAND_COLLECTIONS);
}

enum status http_snapshots(struct http_call *c)
{
    return names(c, COMMAND_SNAPSHOTS);
}

/* ---- one collection, one snapshot: on the pool, since each is a write or asks the disk ---- */

struct one_job {
    struct http_call *c;
    struct command_options options;
    struct collection_settings settings;
    struct command_at at;
    struct version version;
    enum status st;
};

static enum status run(struct one_job *j, void (*fn)(void *arg))
{
    enum status st = http__work(j->c, WORK_READ, fn, j);
    return st == ST_OK ? j->st : st;
}

static void drop_now(void *arg)
{
    struct one_job *j = arg;
    struct http_call *c = j->c;
    j->st = command_collection_drop(&c->db, c->names.collection, &j->options, &c->err);
}

enum status http_collection_drop(struct http_call *c)
{
    struct one_job j = {.c = c};
    enum status st = http__allow(c, COMMAND_COLLECTION_DROP, c->names.collection);
    if (st == ST_OK)
        st = arg_write(c, &j.options);
    if (st == ST_OK && !call_has(c, PARAM_CONFIRM))
        st = call_refuse(c, 428, "confirm",
                         "say the name of the collection once more: ?confirm=NAME");
    if (st == ST_OK && !bytes_eq(c->query.value[PARAM_CONFIRM], c->names.collection))
        st = call_refuse(c, 400, "confirm", "it is another name than that of the collection");
    if (st == ST_OK)
        st = run(&j, drop_now);
    return st == ST_OK ? http__respond(c, 204, MEDIA_NONE, BYTES_EMPTY) : st;
}

static enum status respond_retention(struct http_call *c, const struct collection_settings *v)
{
    struct buf b = BUF_INIT;
    enum status st = v->max_age_ms ? buf_printf(&b, "{\"max_age\":\"%" PRIu64 "ms\"", v->max_age_ms)
                                   : json_put(&b, "{\"max_age\":null");
    if (st == ST_OK)
        st = buf_printf(&b, ",\"max_count\":%" PRIu64 "}\n", v->max_count);
    if (st == ST_OK)
        st = http__respond(c, 200, MEDIA_JSON, buf_bytes(&b));
    buf_deinit(&b);
    return st;
}

static void retention_get_now(void *arg)
{
    struct one_job *j = arg;
    struct http_call *c = j->c;
    j->st = command_retention_get(&c->db, c->names.collection, &j->settings, &c->err);
}

enum status http_retention_get(struct http_call *c)
{
    struct one_job j = {.c = c};
    enum status st = http__allow(c, COMMAND_RETENTION_GET, c->names.collection);
    if (st == ST_OK)
        st = run(&j, retention_get_now);
    return st == ST_OK ? respond_retention(c, &j.settings) : st;
}

static void retention_put_now(void *arg)
{
    struct one_job *j = arg;
    struct http_call *c = j->c;
    j->st = command_retention_set(&c->db, c->names.collection, &j->settings, &c->err);
}

enum status http_retention_put(struct http_call *c)
{
    struct one_job j = {.c = c};
    struct bytes body;
    enum http_media m;
    enum status st = http__allow(c, COMMAND_RETENTION_SET, c->names.collection);
    if (st == ST_OK)
        st = call_content(c, &m);
    if (st == ST_OK)
        st = exchange_body(c->x, HTTP_IN_PLACE, &body, &c->err);
    if (st == ST_OK)
        st = retention_in_decode(body, call_arena(c), &j.settings, &c->err);
    if (st == ST_OK)
        st = run(&j, retention_put_now);
    return st == ST_OK ? respond_retention(c, &j.settings) : st;
}

static void snapshot_put_now(void *arg)
{
    struct one_job *j = arg;
    struct http_call *c = j->c;
    j->st = command_snapshot_create(&c->db, c->names.name, &j->at, &j->version, &c->err);
}

enum status http_snapshot_put(struct http_call *c)
{
    struct one_job j = {.c = c};
    struct buf b = BUF_INIT;
    bool fixed;
    enum status st = http__allow(c, COMMAND_SNAPSHOT_CREATE, BYTES_EMPTY);
    if (st == ST_OK)
        st = arg_moment(c, PARAM_AT, &j.at, &fixed);
    if (st == ST_OK)
        st = run(&j, snapshot_put_now);
    if (st != ST_OK)
        return st;
    st = json_put(&b, "{\"name\":");
    if (st == ST_OK)
        st = json_bytes(&b, c->names.name);
    if (st == ST_OK)
        st = buf_append_u8(&b, ',');
    if (st == ST_OK)
        st = version_json(&b, "version", j.version);
    if (st == ST_OK)
        st = json_put(&b, "}\n");
    if (st == ST_OK)
        st = http__respond(c, 201, MEDIA_JSON, buf_bytes(&b));
    buf_deinit(&b);
    return st;
}

static void snapshot_delete_now(void *arg)
{
    struct one_job *j = arg;
    struct http_call *c = j->c;
    j->st = command_snapshot_delete(&c->db, c->names.name, &c->err);
}

enum status http_snapshot_delete(struct http_call *c)
{
    struct one_job j = {.c = c};
    enum status st = http__allow(c, COMMAND_SNAPSHOT_DELETE, BYTES_EMPTY);
    if (st == ST_OK)
        st = run(&j, snapshot_delete_now);
    return st == ST_OK ? http__respond(c, 204, MEDIA_NONE, BYTES_EMPTY) : st;
}

/* ---- figures ---- */

static enum status stats_json(struct buf *b, const struct store_stats *s)
{
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {
        {"collections", s->collections},
        {"live_rows", s->engine.live_rows},
        {"past_rows", s->engine.past_rows},
        {"live_bytes", s->engine.live_bytes},
        {"past_bytes", s->engine.past_bytes},
        {"table_versions", s->table_versions},
        {"table_bytes", s->table_bytes},
        {"filter_bytes", s->filter_bytes},
        {"writes", s->writes},
        {"commits", s->commits},
        {"groups", s->groups},
        {"checkpoints", s->checkpoints},
        {"applied_index", s->applied_index},
        {"persisted_index", s->persisted_index},
        {"watchers", s->watchers},
    };
    enum status st = buf_append_u8(b, '{');
    for (size_t i = 0; st == ST_OK && i < sizeof rows / sizeof rows[0]; i++)
        st = buf_printf(b, "\"%s\":%" PRIu64 ",", rows[i].name, rows[i].v);
    if (st == ST_OK)
        st = version_json(b, "newest", s->newest);
    return st == ST_OK ? buf_printf(b, ",\"poisoned\":%s}\n", s->poisoned ? "true" : "false") : st;
}

enum status http_stats(struct http_call *c)
{
    struct store_stats s;
    struct buf b = BUF_INIT;
    enum status st = http__allow(c, COMMAND_STATS, BYTES_EMPTY);
    if (st != ST_OK)
        return st;
    store_stats(c->db.store, &s);
    st = stats_json(&b, &s);
    if (st == ST_OK)
        st = http__respond(c, 200, MEDIA_JSON, buf_bytes(&b));
    buf_deinit(&b);
    return st;
}

/* ---- care ---- */

struct care_job {
    struct http_call *c;
    struct store_vacuum_result vacuum;
    struct buf out;
    uint64_t findings;
    enum status st;
};

static bool goes_on(void *arg, uint64_t done, uint64_t total)
{
    struct care_job *j = arg;
    (void)done;
    (void)total;
    return !atomic_load_explicit(request_stop_flag(&j->c->x->req), memory_order_relaxed);
}

static enum status care(struct care_job *j, void (*fn)(void *arg))
{
    struct http_call *c = j->c;
    c->x->req.deadline_ns = UINT64_MAX; /* minutes, maybe: it ends when the client goes */
    enum status st = http__work(c, WORK_CARE, fn, j);
    if (st == ST_OK)
        st = j->st;
    if (st == ST_OK)
        st = http__respond(c, 200, MEDIA_JSON, buf_bytes(&j->out));
    buf_deinit(&j->out);
    return st;
}

static void checkpoint_now(void *arg)
{
    struct care_job *j = arg;
    struct http_call *c = j->c;
    uint64_t start = env_mono_ns(c->db.env);
    j->st = store_checkpoint(c->db.store, &c->err);
    if (j->st == ST_OK)
        j->st = buf_printf(&j->out, "{\"ms\":%" PRIu64 "}\n",
                           (env_mono_ns(c->db.env) - start) / 1000000);
}

enum status http_checkpoint(struct http_call *c)
{
    struct care_job j = {.c = c};
    enum status st = http__allow(c, COMMAND_CHECKPOINT, BYTES_EMPTY);
    return st == ST_OK ? care(&j, checkpoint_now) : st;
}

static void vacuum_now(void *arg)
{
    struct care_job *j = arg;
    struct http_call *c = j->c;
    struct bytes all = {NULL, 0};
    j->st = command_vacuum(&c->db,
                           call_has(c, PARAM_COLLECTION) ? c->query.value[PARAM_COLLECTION] : all,
                           goes_on, j, &j->vacuum, &c->err);
    if (j->st == ST_OK)
        j->st = buf_printf(&j->out,
                           "{\"rows_seen\":%" PRIu64 ",\"versions_removed\":%" PRIu64
                           ",\"bytes_removed\":%" PRIu64 ",\"expired\":%" PRIu64 "}\n",
                           j->vacuum.rows_seen, j->vacuum.versions_removed, j->vacuum.bytes_removed,
                           j->vacuum.expired);
}

enum status http_vacuum(struct http_call *c)
{
    struct care_job j = {.c = c};
    enum status st =
        http__allow(c, COMMAND_VACUUM,
                    call_has(c, PARAM_COLLECTION) ? c->query.value[PARAM_COLLECTION] : BYTES_EMPTY);
    return st == ST_OK ? care(&j, vacuum_now) : st;
}

enum { FINDINGS_TOLD = 1000 };

static void hear_finding(void *arg, const struct store_finding *f)
{
    struct care_job *j = arg;
    if (j->findings++ >= FINDINGS_TOLD || j->st != ST_OK)
        return;
    enum status st = j->findings > 1 ? json_put(&j->out, ",\n") : ST_OK;
    if (st == ST_OK)
        st = json_put(&j->out, "{\"text\":");
    if (st == ST_OK)
        st = json_text(&j->out, BYTES_STR(f->text));
    if (st == ST_OK)
        st = json_put(&j->out, ",\"file\":");
    if (st == ST_OK)
        st = json_text(&j->out, BYTES_STR(f->file ? f->file : ""));
    if (st == ST_OK)
        st = buf_printf(&j->out, ",\"offset\":%" PRIu64 ",\"range\":%" PRIu64 "}", f->offset,
                        f->range);
    j->st = st;
}

static void verify(void *arg)
{
    struct care_job *j = arg;
    struct http_call *c = j->c;
    j->st = json_put(&j->out, "{\"items\":[");
    enum status st = store_verify(c->db.store, hear_finding, goes_on, j, &c->err);
    if (j->st != ST_OK)
        return;
    j->st = st == ST_CORRUPT ? ST_OK : st; /* what was found is the answer */
    if (j->st == ST_OK)
        j->st = buf_printf(&j->out, "],\"ok\":%s,\"findings\":%" PRIu64 "}\n",
                           st == ST_OK ? "true" : "false", j->findings);
}

static void verify_now(void *arg)
{
    env_run_behind("varve-verify", NULL, verify, arg);
}

enum status http_verify(struct http_call *c)
{
    struct care_job j = {.c = c};
    enum status st = http__allow(c, COMMAND_VERIFY, BYTES_EMPTY);
    return st == ST_OK ? care(&j, verify_now) : st;
}

/* ---- probes and what is for people ---- */

enum status http_metrics(struct http_call *c)
{
    struct buf b = BUF_INIT;
    struct security_stats s;
    const struct http_door_options *o = &c->door->o;
    enum status st = http__allow(c, COMMAND_STATS, BYTES_EMPTY);
    if (st == ST_OK)
        st = command_metrics(&c->db, &b, &c->err);
    if (st == ST_OK && o->metrics)
        st = o->metrics(o->metrics_arg, &b);
    security_stats(o->gate, &s);
    const struct {
        const char *name, *help;
        uint64_t v;
    } rows[] = {
        {"varve_logins_total", "Logins that had to be checked against their record.", s.logins},
        {"varve_logins_remembered_total", "Logins answered from memory.", s.remembered_hits},
        {"varve_logins_refused_total", "Logins with wrong credentials.", s.refused_logins},
        {"varve_logins_limited_total", "Logins refused for too many failures.", s.limited_logins},
        {"varve_denied_total", "Calls refused for lack of a role.", s.denied},
    };
    for (size_t i = 0; st == ST_OK && i < sizeof rows / sizeof rows[0]; i++)
        st = buf_printf(&b, "# HELP %s %s\n# TYPE %s counter\n%s %" PRIu64 "\n", rows[i].name,
                        rows[i].help, rows[i].name, rows[i].name, rows[i].v);
    if (st == ST_OK)
        st = buf_printf(&b,
                        "# HELP varve_change_streams Listeners of /v1/changes.\n"
                        "# TYPE varve_change_streams gauge\nvarve_change_streams %u\n",
                        (unsigned)atomic_load_explicit(&c->door->streams, memory_order_relaxed));
    if (st == ST_OK)
        st = http__respond(c, 200, MEDIA_METRICS, buf_bytes(&b));
    buf_deinit(&b);
    return st;
}

enum status http_livez(struct http_call *c)
{
    return http__respond(c, 200, MEDIA_TEXT, BYTES_LIT("alive\n"));
}

/* Why not, for the type of the problem too. */
static enum status ready(struct http_call *c)
{
    struct store_stats s;
    const struct http_door_options *o = &c->door->o;
    store_stats(c->db.store, &s);
    if (s.poisoned)
        return err_set(&c->err, ST_POISONED, "a sync has failed: writes are refused");
    if (atomic_load_explicit(&c->door->stop, memory_order_relaxed))
        return err_set(&c->err, ST_CLOSED, "the server stops");
    if (!o->ready || o->ready(o->ready_arg, &c->err))
        return ST_OK;
    return c->err.status ? c->err.status : err_set(&c->err, ST_CLOSED, "not ready");
}

enum status http_readyz(struct http_call *c)
{
    enum status st = ready(c);
    if (!st)
        return http__respond(c, 200, MEDIA_TEXT, BYTES_LIT("ready\n"));
    c->http_status = 503;
    return st;
}

enum status http_root(struct http_call *c)
{
    return http__respond(
        c, 200, MEDIA_TEXT,
        BYTES_LIT("varve: a database that keeps every version\n\n"
                  "  curl -X PUT localhost:7878/v1/users/alice -H 'content-type: application/json' "
                  "-d '{\"name\":\"Alice\"}'\n"
                  "  curl localhost:7878/v1/users/alice\n"
                  "  curl localhost:7878/v1/users/alice/history\n"
                  "  curl localhost:7878/v1/users\n\n"
                  "/openapi.json says all there is; gRPC is spoken on the same port.\n"));
}

enum status http_openapi_get(struct http_call *c)
{
    call_cache(c, false);
    return http__respond(c, 200, MEDIA_JSON, buf_bytes(&c->door->openapi));
}
