/* Rows in batches, and with each batch the place behind its last row. */
#include "apps/cli/cli_import_stage.h"
#include "apps/cli/cli_out.h"
#include "base/alloc.h"
#include "base/hash.h"
#include "model/doc/doc.h"
#include <string.h>

enum {
    BATCH_BYTES = 8 * 1024 * 1024, /* staged rows; with one largest row on top a batch stays below
                                      the library's 32 MiB */
    ARENA_BYTES = 1024 * 1024,
};

static int no_memory(struct import *im)
{
    return cli_error(im->c, CLI_FAILED, "out of memory");
}

bool cli_import_stage_init(struct import *im)
{
    size_t slots = 16;
    while (slots < im->batch_max * 2)
        slots *= 2;
    for (size_t i = 0; i < 2; i++) {
        arena_init(&im->stages[i].arena, ARENA_BYTES);
        im->stages[i].puts = mem_alloc(im->batch_max * sizeof(struct db_put));
    }
    im->stage = &im->stages[0];
    im->seen_mask = slots - 1;
    im->seen = mem_zalloc(slots * sizeof *im->seen);
    if (im->changed_only) {
        im->keys = mem_alloc(im->batch_max * sizeof *im->keys);
        im->unchanged = mem_alloc(im->batch_max * sizeof *im->unchanged);
    }
    return im->stages[0].puts && im->stages[1].puts && im->seen &&
           (!im->changed_only || (im->keys && im->unchanged));
}

void cli_import_stage_deinit(struct import *im)
{
    for (size_t i = 0; i < 2; i++) {
        mem_free(im->stages[i].puts);
        buf_deinit(&im->stages[i].place);
        arena_deinit(&im->stages[i].arena);
    }
    mem_free(im->keys);
    mem_free(im->unchanged);
    mem_free(im->seen);
}

static void stage_clear(struct import *im)
{
    arena_reset(&im->stage->arena);
    buf_clear(&im->stage->place);
    im->stage->n = im->stage->bytes = 0;
    memset(im->seen, 0, (im->seen_mask + 1) * sizeof *im->seen);
}

/* A batch names a key once. Two keys with one hash only make a batch end early. */
static bool note_key(struct import *im, const struct buf *key)
{
    uint64_t hash = hash_xxh64(key->data, key->len, 0) | 1;
    size_t i = (size_t)(hash >> 1) & im->seen_mask;
    for (; im->seen[i]; i = (i + 1) & im->seen_mask)
        if (im->seen[i] == hash)
            return false;
    im->seen[i] = hash;
    return true;
}

/* ---- writing ---- */

static void note_unchanged(void *arg, size_t i, const struct db_row *row)
{
    struct import *im = arg;
    const struct db_put *p = &im->stage->puts[i];
    im->unchanged[i] =
        row && row->type == p->type &&
        (bytes_eq(row->value, p->data) || (p->type == VARVE_DOC && doc_equal(row->value, p->data)));
}

/* Takes out of the stage what is stored already. */
static varve_status drop_unchanged(struct import *im)
{
    struct import_stage *s = im->stage;
    size_t kept = 0;
    if (s->n == 0)
        return VARVE_OK;
    for (size_t i = 0; i < s->n; i++)
        im->keys[i] = s->puts[i].key;
    varve_status st =
        im->c->db->read->get_many(im->c->db, im->collection, im->keys, s->n, note_unchanged, im);
    if (st != VARVE_OK)
        return st;
    for (size_t i = 0; i < s->n; i++)
        if (!im->unchanged[i])
            s->puts[kept++] = s->puts[i];
    im->state.unchanged += s->n - kept;
    s->n = kept;
    return VARVE_OK;
}

static varve_status write_place(struct import *im)
{
    struct import_stage *s = im->stage;
    im->state.rows += s->n;
    s->state = im->state;
    if (!im->id.known)
        return VARVE_OK;
    if (cli_import_encode(&im->state, &im->id, im->path, im->rows.key_field, im->rows.csv,
                          &s->place) != ST_OK)
        return VARVE_NO_MEMORY;
    im->mark =
        (struct db_put){CLI_IMPORTS, buf_bytes(&im->state_key), buf_bytes(&s->place), VARVE_DOC};
    return VARVE_OK;
}

static int failed(struct import *im, varve_status st)
{
    char n[CLI_NUMBER_TEXT_MAX];
    cli_progress_end(&im->progress);
    int code = st == VARVE_NO_MEMORY /* some of it was wanted here, without a call of the library */
                   ? cli_error(im->c, CLI_FAILED, "import: out of memory")
                   : cli_fail(im->c, st, st == VARVE_DISK_FULL ? "disk full" : "import");
    cli_count_format(im->in.rows, n);
    fprintf(im->c->err, "%s row%s %s imported.%s\n", n, im->in.rows == 1 ? "" : "s",
            im->in.rows == 1 ? "is" : "are", im->id.known ? " --resume goes on behind them." : "");
    return code;
}

int cli_import_settle(struct import *im)
{
    struct import_stage *s = im->under_way;
    if (!s)
        return CLI_OK;
    im->under_way = NULL;
    varve_status st = im->c->db->write->settle(im->c->db);
    if (st != VARVE_OK)
        return failed(im, st);
    im->in = s->state;
    return CLI_OK;
}

int cli_import_flush(struct import *im, bool done)
{
    struct import_stage *s = im->stage;
    struct db *db = im->c->db;
    int code = cli_import_settle(im);
    if (code != CLI_OK)
        return code;
    im->state.done = done;
    varve_status st = im->changed_only ? drop_unchanged(im) : VARVE_OK;
    if (st == VARVE_OK)
        st = write_place(im);
    if (st == VARVE_OK && (s->n || im->id.known))
        st = db->write->commit(db, s->puts, s->n, im->id.known ? &im->mark : NULL,
                               &im->mark_version, &im->o);
    if (st != VARVE_OK)
        return failed(im, st);
    im->under_way = s;
    im->stage = s == &im->stages[0] ? &im->stages[1] : &im->stages[0];
    stage_clear(im);
    return CLI_OK;
}

int cli_import_stage(struct import *im, const struct cli_row *row)
{
    bool again = !note_key(im, &row->key);
    if (again || im->stage->n == im->batch_max || im->stage->bytes > BATCH_BYTES) {
        int code = cli_import_flush(im, false);
        if (code != CLI_OK)
            return code;
        (void)note_key(im, &row->key); /* the stage is empty: it cannot be there */
    }
    struct import_stage *s = im->stage;
    const void *value = row->value.len ? (const void *)row->value.data : "";
    const uint8_t *key = arena_memdup(&s->arena, row->key.data, row->key.len);
    const uint8_t *data = arena_memdup(&s->arena, value, row->value.len ? row->value.len : 1);
    if (!key || !data)
        return no_memory(im);
    s->puts[s->n++] = (struct db_put){im->collection, BYTES(key, row->key.len),
                                      BYTES(data, row->value.len), row->type};
    s->bytes += row->key.len + row->value.len;
    return CLI_OK;
}
