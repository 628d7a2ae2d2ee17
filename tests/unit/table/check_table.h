/* check_table.h - what the tests of a table look at. */
#ifndef VARVE_TESTS_CHECK_TABLE_H
#define VARVE_TESTS_CHECK_TABLE_H

#include "storage/table/table_internal.h"
#include "support/cmocka.h"

void check_version(struct version a, struct version b);
void check_record(const struct record *got, const struct record *want);
/* What a drain is given: every key, whole; copies of those of a file. */
void check_walk(const struct table *t);
/* 14,000 rows of 2,000 bytes each, which differ from round to round. */
struct table *check_filled(struct table_pages *pages, uint64_t round);

#endif
