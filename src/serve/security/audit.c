#include "base/json.h"
#include "base/log.h"
#include "serve/security/security_internal.h"

#include <stdio.h>

static enum status field(struct buf *b, const char *name, struct bytes text)
{
    if (text.len == 0)
        return ST_OK;
    enum status st = buf_printf(b, ",\"%s\":", name);
    return st == ST_OK ? json_text(b, text) : st;
}

static enum status line(struct buf *b, uint64_t now_ms, const struct security_peer *peer,
                        const struct audit *a)
{
    char time[TIME_TEXT_MAX];
    time_format(now_ms, time);
    enum status st = buf_printf(b, "{\"time\":\"%s\",\"audit\":\"%s\"", time, a->what);
    if (st == ST_OK)
        st = field(b, "user", a->user);
    if (st == ST_OK)
        st = field(b, "verb", a->verb ? BYTES_STR(a->verb) : BYTES_EMPTY);
    if (st == ST_OK)
        st = field(b, "collection", a->collection);
    if (st == ST_OK)
        st = field(b, "peer", peer->address);
    if (st == ST_OK)
        st = field(b, "certificate", peer->certificate);
    if (st == ST_OK)
        st = field(b, "request_id", peer->request_id);
    if (st == ST_OK)
        st = field(b, "reason", a->reason ? BYTES_STR(a->reason) : BYTES_EMPTY);
    return st == ST_OK ? buf_append_u8(b, '}') : st;
}

/* To the program's log. Names may hold any byte: they are made JSON-safe by the log, and cut at NUL,
 * which none may hold. */
static void to_log(const struct security_peer *peer, const struct audit *a)
{
    char user[USER_NAME_MAX + 16], collection[STORE_NAME_MAX + 1], address[64], id[80];
    snprintf(user, sizeof user, "%.*s", (int)a->user.len, (const char *)a->user.data);
    snprintf(collection, sizeof collection, "%.*s", (int)a->collection.len,
             (const char *)a->collection.data);
    snprintf(address, sizeof address, "%.*s", (int)peer->address.len,
             (const char *)peer->address.data);
    snprintf(id, sizeof id, "%.*s", (int)peer->request_id.len, (const char *)peer->request_id.data);
    log_at(LOG_INFO, "audit", a->what, LOG_FSTR("user", user),
           LOG_FSTR("verb", a->verb ? a->verb : "login"), LOG_FSTR("collection", collection),
           LOG_FSTR("peer", address), LOG_FSTR("request_id", id),
           LOG_FSTR("reason", a->reason ? a->reason : ""));
}

void security__audit(struct security *s, const struct security_peer *peer, const struct audit *a)
{
    struct buf b = BUF_INIT;
    if (s->o.audit && line(&b, env_now_ms(s->db.env), peer, a) == ST_OK)
        s->o.audit(s->o.audit_arg, (const char *)b.data, b.len);
    else /* without memory for a line of our own, the log's needs none */
        to_log(peer, a);
    buf_deinit(&b);
}
