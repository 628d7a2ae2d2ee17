/* admin_long.c - Verify and Vacuum: minutes of work on the pool, told as it goes.
 *
 * The call's fiber must speak while the work runs, so a second fiber waits for the pool. What the
 * work has to say it leaves in `long_job`, where the call's fiber finds it four times a second.
 */
#include "serve/grpc/admin.h"

#include "base/env/thread.h"
#include "serve/reactor/reactor.h"

enum { LOOK_NS = 250 * 1000 * 1000, FINDINGS_BYTES = 1024 * 1024 };

struct long_job {
    struct call *c;
    bool vacuum;
    struct bytes collection;
    _Atomic bool cancel;
    _Atomic uint64_t done, total;
    struct env_mutex lock; /* of what follows */
    struct buf findings;   /* le32 length and an encoded VerifyResponse, again and again */
    uint64_t found, left_out;
    /* Set when `over` is. */
    struct store_vacuum_result result;
    enum status st;
    struct err err;
    struct env_event over;
};

static bool progress(void *arg, uint64_t done, uint64_t total)
{
    struct long_job *j = arg;
    atomic_store_explicit(&j->done, done, memory_order_relaxed);
    atomic_store_explicit(&j->total, total, memory_order_relaxed);
    return !atomic_load_explicit(&j->cancel, memory_order_relaxed) &&
           !atomic_load_explicit(request_stop_flag(call_request(j->c)), memory_order_relaxed);
}

static enum status keep_finding(struct long_job *j, const struct store_finding *f)
{
    Varve__V1__VerifyResponse m = VARVE__V1__VERIFY_RESPONSE__INIT;
    Varve__V1__Finding finding = VARVE__V1__FINDING__INIT;
    finding.file = (char *)(uintptr_t)f->file;
    finding.offset = f->offset;
    finding.range = f->range;
    finding.text = (char *)(uintptr_t)f->text;
    m.event_case = VARVE__V1__VERIFY_RESPONSE__EVENT_FINDING;
    m.finding = &finding;
    size_t n = protobuf_c_message_get_packed_size(&m.base);
    if (n + 4 > FINDINGS_BYTES - j->findings.len)
        return ST_OVERLOADED;
    enum status st = buf_reserve(&j->findings, n + 4);
    if (st == ST_OK)
        st = buf_append_le32(&j->findings, (uint32_t)n);
    return st == ST_OK ? pb_encode(&m.base, &j->findings) : st;
}

static void report(void *arg, const struct store_finding *f)
{
    struct long_job *j = arg;
    env_mutex_lock(&j->lock);
    j->found++;
    if (keep_finding(j, f) != ST_OK)
        j->left_out++;
    env_mutex_unlock(&j->lock);
}

static void verify(void *arg)
{
    struct long_job *j = arg;
    j->st = store_verify(j->c->db.store, report, progress, j, &j->err);
}

/* A vacuum does by itself what it can behind the others. */
static void work(void *arg)
{
    struct long_job *j = arg;
    if (j->vacuum)
        j->st = command_vacuum(&j->c->db, j->collection, progress, j, &j->result, &j->err);
    else
        env_run_behind("varve-verify", NULL, verify, j);
}

static void second_fiber(void *arg)
{
    struct long_job *j = arg;
    enum status st = work_run(j->c->door->work, WORK_CARE, work, j, &j->err);
    if (st != ST_OK)
        j->st = st;
    env_event_set(&j->over);
}

static enum status send_findings(struct long_job *j)
{
    struct buf taken;
    enum status st = ST_OK;
    uint32_t n;
    struct bytes message;
    env_mutex_lock(&j->lock);
    taken = j->findings;
    j->findings = BUF_INIT;
    env_mutex_unlock(&j->lock);
    struct reader r = reader_of(buf_bytes(&taken));
    while (st == ST_OK && read_le32(&r, &n) && read_bytes(&r, n, &message))
        st = rpc_send(j->c->rpc, message);
    buf_deinit(&taken);
    return st;
}

static enum status send_progress(struct long_job *j)
{
    Varve__V1__Progress p = VARVE__V1__PROGRESS__INIT;
    Varve__V1__VerifyResponse verify = VARVE__V1__VERIFY_RESPONSE__INIT;
    Varve__V1__VacuumResponse vacuum = VARVE__V1__VACUUM_RESPONSE__INIT;
    p.done = atomic_load_explicit(&j->done, memory_order_relaxed);
    p.total = atomic_load_explicit(&j->total, memory_order_relaxed);
    verify.event_case = VARVE__V1__VERIFY_RESPONSE__EVENT_PROGRESS;
    verify.progress = &p;
    vacuum.event_case = VARVE__V1__VACUUM_RESPONSE__EVENT_PROGRESS;
    vacuum.progress = &p;
    return call_send(j->c, j->vacuum ? &vacuum.base : &verify.base);
}

static enum status send_result(struct long_job *j)
{
    Varve__V1__VerifyResponse verify = VARVE__V1__VERIFY_RESPONSE__INIT;
    Varve__V1__VerifyResult verified = VARVE__V1__VERIFY_RESULT__INIT;
    Varve__V1__VacuumResponse vacuum = VARVE__V1__VACUUM_RESPONSE__INIT;
    Varve__V1__VacuumResult vacuumed = VARVE__V1__VACUUM_RESULT__INIT;
    verified.findings = j->found;
    verified.left_out = j->left_out;
    verify.event_case = VARVE__V1__VERIFY_RESPONSE__EVENT_RESULT;
    verify.result = &verified;
    vacuumed.rows_seen = j->result.rows_seen;
    vacuumed.versions_removed = j->result.versions_removed;
    vacuumed.bytes_removed = j->result.bytes_removed;
    vacuumed.expired = j->result.expired;
    vacuum.event_case = VARVE__V1__VACUUM_RESPONSE__EVENT_RESULT;
    vacuum.result = &vacuumed;
    enum status st = call_send(j->c, j->vacuum ? &vacuum.base : &verify.base);
    return st == ST_OK ? call_end(j->c) : st;
}

/* Speaks until the work is over; whatever ends the talk ends the work too. */
static enum status talk(struct long_job *j)
{
    enum status st = send_progress(j);
    uint64_t told = 0;
    while (!env_wait(&j->over, st == ST_OK ? LOOK_NS : UINT64_MAX)) {
        uint64_t done = atomic_load_explicit(&j->done, memory_order_relaxed);
        st = request_stop(call_request(j->c));
        if (st == ST_OK)
            st = send_findings(j);
        if (st == ST_OK && done != told)
            st = send_progress(j);
        told = done;
        if (st != ST_OK)
            atomic_store_explicit(&j->cancel, true, memory_order_relaxed);
    }
    return st;
}

static enum status run(struct long_job *j)
{
    struct call *c = j->c;
    env_mutex_init(&j->lock);
    env_event_init(&j->over);
    err_init(&j->err);
    enum status st = reactor_spawn(reactor_current(), second_fiber, j, &c->err);
    if (st == ST_OK && (st = talk(j)) == ST_OK) {
        bool whole = j->st == ST_OK || (!j->vacuum && j->st == ST_CORRUPT && j->found > 0);
        st = send_findings(j);
        if (!whole)
            c->err = j->err;
        if (st == ST_OK)
            st = whole ? send_result(j) : j->st;
    }
    buf_deinit(&j->findings);
    env_mutex_deinit(&j->lock);
    return st;
}

enum status admin_verify(struct call *c, const void *request)
{
    struct long_job j = {.c = c};
    enum status st = call_allow(c, BYTES_EMPTY);
    (void)request;
    return st == ST_OK ? run(&j) : st;
}

enum status admin_vacuum(struct call *c, const void *request)
{
    const Varve__V1__VacuumRequest *m = request;
    struct long_job j = {.c = c, .vacuum = true};
    if (m->collection[0])
        j.collection = text_bytes(m->collection);
    enum status st = call_allow(c, text_bytes(m->collection));
    return st == ST_OK ? run(&j) : st;
}
