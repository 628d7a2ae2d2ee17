/* doc_gen.h - random documents and small helpers for the tests of doc.
 *
 * Owns:     a bson_t that is handed out is the caller's (bson_destroy).
 * Promises: made with libbson alone, so that what is tested does not make its own tests; a seed
 * gives the same document. Never:    names that begin a $-form as the first of a document: Extended
 * JSON cannot tell those from the form. Threads:  one owner of a generator.
 */
#ifndef VARVE_TESTS_UNIT_DOC_DOC_GEN_H
#define VARVE_TESTS_UNIT_DOC_DOC_GEN_H

#include "model/doc/doc.h"

#include <bson/bson.h>

struct gen {
    uint64_t state;
    bool odd_names; /* also names with dots, dollars, slashes, tildes, empty ones */
};

uint64_t gen_next(struct gen *g);
uint64_t gen_below(struct gen *g, uint64_t n);
void gen_document(struct gen *g, bson_t *ret, int depth);
/* A changed copy: fields dropped, added, replaced, moved; arrays cut, grown, edited. */
void gen_changed(struct gen *g, const bson_t *from, bson_t *ret, int depth);
/* Appends one random value of any type. */
void gen_value(struct gen *g, bson_t *to, const char *name, int depth);

struct bytes bson_bytes(const bson_t *b);
/* From JSON, which must be good. */
struct buf doc_of(const char *json);
/* Whether libbson 1.23 can be trusted with a text: $code and $dbPointer in arrays get a name from
 * memory that was never set, and then are lost, kept or refused by chance. */
bool libbson_reads(const char *json);
/* In the given mode; a NUL-terminated string for mem_free. */
char *json_of(struct bytes bson, enum doc_json mode);

#endif
