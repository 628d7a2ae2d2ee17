/* wal_write.c - the bytes of a group on their way to its segment.
 *
 * A small group is one write. A larger one goes in pieces, and the disk is told to begin with each:
 * it works while the next is laid out, and what is laid out is still in the processor's cache when the
 * system copies it. The first piece, which has the group's header, is written last: until then nothing
 * of the group means anything to whoever reads the log (the header's place has no sound header of this
 * use of the segment, or zeros), so a group cut short here is none, like one whose only write was.
 */
#include "storage/wal/wal_internal.h"

#include "base/buggify.h"
#include "base/hash.h"

/* Payloads up to this many bytes are copied beside their headers: one long write beats many short
 * pieces. */
enum { COPY_MAX = 2048 };
/* A piece ends with the record that reaches its limit. The first of several is short: nothing is done
 * meanwhile when it is written. */
enum { FIRST_OF = 4 };
#define PIECE_OVER ((size_t)(WAL_RECORD_HEADER + COPY_MAX))
_Static_assert(WAL__PARTS >= 2 * (2 * (WAL__PIECE / COPY_MAX + 1) + 1), "the parts of two pieces");

struct pieces {
    struct wal *w;
    struct wal__seg *seg;
    size_t limit;
    uint64_t at;       /* where the piece at hand goes */
    uint64_t gathered; /* its bytes so far */
    uint64_t behind;   /* the disk was told to begin up to here */
    uint8_t *p, *from; /* what is copied, and from where on it is in no part yet */
    uint8_t *second;   /* where the first piece ends: room for those behind it */
    size_t first_parts, parts;
    bool several;
};

static uint64_t page_down(uint64_t offset)
{
    return offset / WAL_SEG_PAGE * WAL_SEG_PAGE;
}

enum status wal__write_reserve(struct wal *w, uint64_t length, struct err *err)
{
    size_t pieces = WAL__PIECE + WAL__PIECE / FIRST_OF + 2 * PIECE_OVER;
    size_t room = WAL_GROUP_HEADER + (length < pieces ? (size_t)length : pieces) + WAL_ALIGN;
    buf_clear(&w->scratch);
    if (buf_reserve(&w->scratch, room) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "log: buffer for a group");
    return ST_OK;
}

/* Whatever was copied and is in no part yet becomes one. */
static void end_part(struct pieces *o)
{
    if (o->p != o->from)
        o->w->parts[o->parts++] = BYTES(o->from, (size_t)(o->p - o->from));
    o->from = o->p;
    ASSERT(o->parts <= WAL__PARTS);
}

static enum status write_piece(struct pieces *o, struct err *err)
{
    struct wal *w = o->w;
    end_part(o);
    enum status st =
        env_pwritev(o->seg->file, o->at, w->parts + o->first_parts, o->parts - o->first_parts, err);
    o->at += o->gathered;
    /* Only whole pages: the rest of the last is yet to come. */
    if (st == ST_OK && page_down(o->at) > o->behind) {
        env_write_behind(o->seg->file, o->behind, page_down(o->at) - o->behind);
        o->behind = page_down(o->at);
    }
    return st;
}

/* The piece at hand is full. The first only stays where it is. */
static enum status next_piece(struct pieces *o, struct err *err)
{
    enum status st = ST_OK;
    if (o->several) {
        st = write_piece(o, err);
    } else {
        end_part(o);
        o->several = true;
        o->first_parts = o->parts;
        o->at += o->gathered;
        o->behind = page_down(o->at + WAL_SEG_PAGE - 1);
        o->limit *= FIRST_OF;
        o->second = o->p;
    }
    o->parts = o->first_parts;
    o->gathered = 0;
    o->p = o->from = o->second;
    return st;
}

static void add_record(struct pieces *o, const struct wal_record *r, uint32_t *headers_crc)
{
    size_t len = r->payload.len;
    wal__record_encode(r, crc32c(0, r->payload.data, len), headers_crc, o->p);
    o->p += WAL_RECORD_HEADER;
    o->gathered += WAL_RECORD_HEADER + len;
    if (len > COPY_MAX) {
        end_part(o);
        o->w->parts[o->parts++] = r->payload;
    } else if (len > 0) {
        memcpy(o->p, r->payload.data, len);
        o->p += len;
    }
}

enum status wal__write_group(struct wal *w, struct wal__seg *seg, const struct wal_record *r,
                             size_t n, struct wal_group_header *g, bool *ret_several,
                             struct err *err)
{
    size_t piece = BUGGIFY("wal: a group goes in small pieces") ? 500 : w->piece_bytes;
    struct pieces o = {
        .w = w,
        .seg = seg,
        .limit = wal__group_bytes(g) > piece ? piece / FIRST_OF : piece,
        .at = seg->end,
        .gathered = WAL_GROUP_HEADER,
        .p = w->scratch.data + WAL_GROUP_HEADER,
        .from = w->scratch.data,
    };
    enum status st = ST_OK;
    g->records_crc = 0;
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        if (o.gathered >= o.limit)
            st = next_piece(&o, err);
        if (st == ST_OK)
            add_record(&o, &r[i], &g->records_crc);
    }
    if (st != ST_OK)
        return st;
    ASSERT((size_t)(o.p - w->scratch.data) + WAL_ALIGN <= w->scratch.cap);
    size_t pad = (size_t)(wal__align(g->length) - g->length);
    memset(o.p, 0, pad);
    o.p += pad;
    o.gathered += pad;
    if (o.several)
        st = write_piece(&o, err);
    else
        end_part(&o);
    if (st != ST_OK)
        return st;
    wal__group_encode(g, w->scratch.data);
    *ret_several = o.several;
    return env_pwritev(seg->file, seg->end, w->parts, o.several ? o.first_parts : o.parts, err);
}
