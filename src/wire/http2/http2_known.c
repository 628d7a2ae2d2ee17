/* http2_known.c - headers that come with every request.
 *
 * A peer sends nearly the same header block again and again, and HPACK tells the same buffers for it:
 * what is known by their addresses is neither copied nor looked at again. Each place in a block has a
 * few entries of its own, so that a header with ever new buffers (nghttp2's clients send :path so) can
 * only crowd out those of its own place. Streams borrow the text, so an entry that is full stays for as
 * long as there are streams.
 */
#include "wire/http2/http2_internal.h"

static void learn(const struct h2_conn *c, struct h2_known *k)
{
    nghttp2_vec n = nghttp2_rcbuf_get_buf(k->name), v = nghttp2_rcbuf_get_buf(k->value);
    struct bytes name = BYTES(n.base, n.len), text = BYTES(v.base, v.len);
    if (n.len + v.len > H2_KNOWN_BYTES_MAX)
        return;
    k->rule = h2__rule_of(c->server, name, text);
    if (k->rule.refuses & H2_ALWAYS)
        return; /* a malformed header comes once */
    k->h = WIRE_HEADER(name, text);
    k->size = n.len + v.len + H2_HEADER_OVERHEAD;
    nghttp2_rcbuf_incref(k->name);
    nghttp2_rcbuf_incref(k->value);
    k->full = true;
}

static bool have_room(struct h2_conn *c)
{
    const size_t size = H2_KNOWN_PLACES * sizeof *c->known;
    if (c->known)
        return true;
    c->known = h2__alloc(c, size);
    if (!c->known)
        return false; /* it goes without */
    memset(c->known, 0, size);
    return true;
}

/* The first time only the addresses are noted: a buffer that lives for one request has them as well. */
void h2__known_note(struct h2_conn *c, size_t place, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                    uint8_t flags)
{
    struct h2_known *free_one = NULL;
    c->known_misses++;
    if (flags & NGHTTP2_NV_FLAG_NO_INDEX) /* a secret: it is kept nowhere */
        return;
    if (place >= H2_KNOWN_PLACES || !have_room(c))
        return;
    for (size_t i = 0; i < H2_KNOWN_EACH; i++) {
        struct h2_known *k = &c->known[place].v[i];
        if (k->full)
            continue;
        if (k->name == name && k->value == value) {
            learn(c, k);
            return;
        }
        if (!free_one || free_one->name)
            free_one = k;
    }
    if (free_one)
        *free_one = (struct h2_known){.name = name, .value = value};
}

static void forget(struct h2_known *k)
{
    if (!k->full)
        return;
    nghttp2_rcbuf_decref(k->name);
    nghttp2_rcbuf_decref(k->value);
}

void h2__known_free(struct h2_conn *c)
{
    for (size_t place = 0; c->known && place < H2_KNOWN_PLACES; place++)
        for (size_t i = 0; i < H2_KNOWN_EACH; i++)
            forget(&c->known[place].v[i]);
    h2__free(c, c->known);
    c->known = NULL;
    c->known_misses = 0;
}
