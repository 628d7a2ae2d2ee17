#include "node/range/replica_internal.h"

#include "base/buggify.h"
#include "base/planted.h"

/* The open updates as records of one group of the log, which is there as a whole or not at all:
 * entries (one at an index that is there already voids that and all behind it), then the hard state,
 * whose commit index may speak of them. Mended entries go into their old places before. */

static enum status reserve(struct replicas *rs, size_t n, size_t confs)
{
    if (n > rs->cap_records) {
        size_t cap = rs->cap_records ? rs->cap_records : 64;
        while (cap < n)
            cap *= 2;
        struct wal_record *v = mem_realloc(rs->records, cap * sizeof *v);
        if (!v)
            return ST_NO_MEMORY;
        rs->records = v;
        rs->cap_records = cap;
    }
    if (confs > rs->cap_conf_room) {
        void *v = mem_realloc(rs->conf_room, confs * sizeof *rs->conf_room);
        if (!v)
            return ST_NO_MEMORY;
        rs->conf_room = v;
        rs->cap_conf_room = confs;
    }
    return ST_OK;
}

static size_t count_confs(const struct raft_entry *e, size_t n)
{
    size_t confs = 0;
    for (size_t i = 0; i < n; i++)
        confs += e[i].kind == RAFT_ENTRY_CONF;
    return confs;
}

static size_t put_entries(struct replicas *rs, const struct replica *r, const struct raft_entry *e,
                          size_t n, size_t at, size_t *confs)
{
    for (size_t i = 0; i < n; i++) {
        bool conf = e[i].kind == RAFT_ENTRY_CONF;
        replica_record_of(&e[i], r->range, conf ? rs->conf_room[*confs] : NULL,
                          &rs->records[at + i]);
        *confs += conf;
    }
    return at + n;
}

/* The hard state goes with every append of a group of several, so that recovery knows what is
 * committed. */
static bool wants_hard(const struct replica__open *o)
{
    if (PLANTED(HARD_STATE_WITH_ENTRIES_ONLY) && o->u.n_entries == 0)
        return false;
    return o->u.hard_changed || (o->u.n_entries > 0 && !o->r->alone);
}

static size_t put_update(struct replicas *rs, struct replica__open *o, size_t at, size_t *confs)
{
    const struct raft_update *u = &o->u;
    at = put_entries(rs, o->r, u->entries, u->n_entries, at, confs);
    if (wants_hard(o)) {
        replica_hard_encode(&u->hard, o->hard);
        rs->records[at++] = (struct wal_record){.range = o->r->range,
                                                .term = u->hard.term,
                                                .index = u->hard.commit,
                                                .kind = WAL_HARD_STATE,
                                                .payload = BYTES(o->hard, sizeof o->hard)};
    }
    return at;
}

/* Durable when it returns; done again, should the append behind it fail, it does no harm. A place that
 * is damaged beyond its payload cannot be mended, now or later: trying on would keep the node silent
 * for ever, so it ends, and opening says what is wrong with the log. */
static enum status mend(struct replicas *rs, const struct replica__open *o, struct err *err)
{
    uint8_t room[REPLICA_CONF_BYTES_MAX];
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < o->u.n_repaired; i++) {
        struct wal_record rec;
        replica_record_of(&o->u.repaired[i], o->r->range, room, &rec);
        st = wal_repair(rs->wal, &rec, err);
    }
    if (st == ST_CORRUPT) {
        PROBE("range: a log cannot be mended");
        rs->broken = ST_POISONED;
    }
    return st;
}

static enum status sync_log(struct replicas *rs, struct err *err)
{
    const struct replicas_calls *c = &rs->o.calls;
    uint64_t t0 = c->mono_ns(c->arg);
    enum status st = wal_sync(rs->wal, err);
    c->synced(c->arg, c->mono_ns(c->arg) - t0);
    if (st != ST_OK) /* it is in the log, and whether it is on the disk nobody knows */
        rs->broken = ST_POISONED;
    return st;
}

enum status replicas__log(struct replicas *rs, bool sync, struct err *err)
{
    size_t n = 0, confs = 0, entries = 0;
    for (size_t i = 0; i < rs->n_open; i++) {
        const struct raft_update *u = &rs->open[i].u;
        n += u->n_entries + 1;
        entries += u->n_entries;
        if (!rs->open[i].r->alone)
            confs += count_confs(u->entries, u->n_entries);
    }
    if (reserve(rs, n, confs) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for log records");
    n = confs = 0;
    for (size_t i = 0; i < rs->n_open; i++)
        n = put_update(rs, &rs->open[i], n, &confs);
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < rs->n_open; i++)
        st = mend(rs, &rs->open[i], err);
    if (st != ST_OK || n == 0)
        return st;
    struct wal_pos end;
    st = wal_append(rs->wal, rs->records, n, &end, err);
    if (st == ST_POISONED)
        rs->broken = ST_POISONED;
    if (st != ST_OK)
        return st;
    rs->o.calls.logged(rs->o.calls.arg, entries);
    return sync && !PLANTED(SYNC_SKIPPED) ? sync_log(rs, err) : ST_OK;
}
