#include "node/store/store_internal.h"

/* Whether an earlier proposal of the same group writes the key: then its op is the newest. */
bool store__in_group(struct proposal *list, struct proposal *upto, struct bytes key,
                     struct record *ret)
{
    bool found = false;
    for (struct proposal *p = list; p != upto; p = p->next) {
        struct entry_op op;
        if (p->st != ST_OK || !p->w->entry || p->w->duplicate ||
            !entry_find(BYTES(p->w->entry->data, p->w->entry->len), key, &op))
            continue;
        *ret = (struct record){.version = p->w->version,
                               .kind = op.kind,
                               .type = op.type,
                               .expires_ms = op.expires_ms,
                               .value = op.value};
        found = true;
    }
    return found;
}

enum status store__check_requires(struct view *v, struct proposal *list, struct proposal *p,
                                  uint64_t now_ms)
{
    for (size_t i = 0; i < p->w->n_requires; i++) {
        const struct store_require *r = &p->w->requires[i];
        struct record rec = {0};
        struct engine_pin pin = {0};
        enum status st = ST_OK;
        bool by_group = list && store__in_group(list, p, r->key, &rec);
        if (!by_group)
            st = store__find(v, r->key, VERSION_MAX, &rec, &pin, &p->err);
        if (st != ST_OK && st != ST_NOT_FOUND)
            return st;
        bool present = st == ST_OK && record_alive(&rec, now_ms);
        engine_pin_release(&pin);
        bool same =
            st == ST_OK && rec.kind == RECORD_PUT && version_cmp(rec.version, r->version) == 0;
        bool holds = r->what == STORE_REQUIRE_ABSENT    ? !present
                     : r->what == STORE_REQUIRE_PRESENT ? present
                     : r->what == STORE_REQUIRE_EXACT   ? same
                                                        : present && same;
        if (holds)
            continue;
        static const char *const wanted[] = {"", "absent", "present", "at the version asked for",
                                             "at the version asked for"};
        p->by_group = by_group;
        p->w->failed = i;
        p->w->version = present ? rec.version : VERSION_NONE;
        return err_set(&p->err, ST_PRECONDITION_FAILED, "requirement %zu: the key is not %s", i,
                       wanted[r->what]);
    }
    for (size_t i = 0; i < p->w->n_collections; i++)
        if (atomic_load(&p->w->collections[i]->dropped))
            return err_set(&p->err, ST_CANCELLED, "collection %s was dropped meanwhile",
                           p->w->collections[i]->name);
    return ST_OK;
}
