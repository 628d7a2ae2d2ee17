/* rocks_options.c - how RocksDB is set up: little when empty, bounded when large. */
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>

enum {
    /* Of live rows: each drain asks for every key it brings, in every file that waits in level 0. At 10
     * bits one of a hundred such questions read a block for nothing, at 14 one of a thousand. */
    LIVE_BLOOM_BITS = 14,
    BLOOM_BITS = 10,
    LIVE_BLOCK = 4 << 10,
    PAST_BLOCK = 32 << 10, /* so that zstd sees some sixteen versions of a 2 KiB record at once */
    WHEN_BLOCK = 32 << 10,
    META_BLOCK = 8 << 10,
    CACHE_SHARD = 4 << 20,
    WRITE_BUFFER = 64 << 10, /* memtables stay empty */
    FILE_BYTES = 64 << 20,
    LEVEL_BYTES = 256 << 20,
    ZSTD_LEVEL = 1,
    /* Files of a family that wait in level 0 before they are merged down. A scan of the present merges
     * those of live; past is asked by key with a filter, when lies in order anyway. Of live each drain
     * brings two: its rows, and the mark, which lies apart behind them. */
    LIVE_FILES = 2 * 6,
    OTHER_FILES = 12,
    FILES_TIMES_MAX = 2,
    TIERS = 12,
    SPACE_TIMES_MAX = 100, /* percent: what lies over the largest run of live rows */
    BULK_READAHEAD = 256 << 10,
    CHECKSUM_XXH3 = 4, /* rocksdb::ChecksumType::kXXH3 */
    LOG_LEVEL_FATAL = 4,
    NEVER = 1 << 30,
};

/* A level is rewritten for whatever little comes into it: with drains of 16 MiB each live row was merged
 * 14 times, twice once runs of about the same size are merged with one another instead. The price is
 * room for a second copy of the rows while the largest runs are merged, so it is for small drains. */
bool rocks__tiered(const struct rocks *e)
{
    static const size_t small = (size_t)64 << 20;
    return e->options.drain_bytes && e->options.drain_bytes < small;
}

/* A merge rewrites most of its level whatever came in, so smaller drains are gathered: more files,
 * about the same bytes; but not so many that reads would feel it. */
int rocks__files_to_merge(const struct rocks *e, enum engine_family f)
{
    static const size_t usual = (size_t)128 << 20;
    int files = f == ENGINE_LIVE ? LIVE_FILES : OTHER_FILES;
    if (rocks__tiered(e))
        return TIERS;
    size_t drain = e->options.drain_bytes ? e->options.drain_bytes : usual;
    size_t times = drain >= usual ? 1 : usual / drain;
    return files * (times < FILES_TIMES_MAX ? (int)times : FILES_TIMES_MAX);
}

/* Prefix of a past key: all but its version. */
static char *past_transform(void *state, const char *key, size_t len, size_t *ret_len)
{
    (void)state;
    *ret_len = len - ENGINE_VERSION_BYTES;
    return (char *)(uintptr_t)key;
}

static unsigned char past_in_domain(void *state, const char *key, size_t len)
{
    (void)state, (void)key;
    return len >= ENGINE_VERSION_BYTES;
}

static unsigned char past_in_range(void *state, const char *key, size_t len)
{
    (void)state, (void)key, (void)len;
    return 0; /* not asked any more by this RocksDB */
}

static const char *past_name(void *state)
{
    (void)state;
    return "varve.past.1";
}

static void no_state(void *state)
{
    (void)state;
}

/* What every present read goes through. Its filters and indexes stay with the open files, outside of
 * the cache: a lookup of a missing key is one probe of a filter, and in the cache it was two lookups
 * more (0.45 against 0.8 of a bare RocksDB). Memory: about 2 bytes a key of the open files, of
 * which options.max_open_files bounds the number. */
static void live_table_options(rocksdb_block_based_table_options_t *t)
{
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 0);
    rocksdb_block_based_options_set_filter_policy(
        t, rocksdb_filterpolicy_create_bloom_full(LIVE_BLOOM_BITS));
    rocksdb_block_based_options_set_whole_key_filtering(t, 1);
    rocksdb_block_based_options_set_data_block_index_type(
        t, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_block_based_options_set_data_block_hash_ratio(t, 0.75);
}

static rocksdb_block_based_table_options_t *table_options(const struct rocks *e,
                                                          enum engine_family f)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(t, e->cache);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_checksum(t, CHECKSUM_XXH3);
    rocksdb_block_based_options_set_block_size(t, f == ENGINE_LIVE   ? LIVE_BLOCK
                                                  : f == ENGINE_PAST ? PAST_BLOCK
                                                                     : WHEN_BLOCK);
    if (f == ENGINE_LIVE) {
        live_table_options(t);
        return t;
    }
    /* Indexes and filters count against the cache, so memory is bounded, but go last from it. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    /* In pieces: the filter of a large file is more than a small cache's shard can hold. */
    rocksdb_block_based_options_set_index_type(
        t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_metadata_block_size(t, META_BLOCK);
    rocksdb_block_based_options_set_partition_filters(t, f != ENGINE_WHEN);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(t, 1);
    if (f != ENGINE_WHEN)
        rocksdb_block_based_options_set_filter_policy(
            t, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_whole_key_filtering(t, 0);
    return t;
}

/* Past and when rows are never written twice, so nothing is gained by merging all of them. */
static void tier_options(rocksdb_options_t *o, enum engine_family f)
{
    rocksdb_universal_compaction_options_t *u = rocksdb_universal_compaction_options_create();
    rocksdb_universal_compaction_options_set_max_size_amplification_percent(
        u, f == ENGINE_LIVE ? SPACE_TIMES_MAX : NEVER);
    rocksdb_options_set_compaction_style(o, rocksdb_universal_compaction);
    rocksdb_options_set_universal_compaction_options(o, u);
    rocksdb_universal_compaction_options_destroy(u);
}

static rocksdb_options_t *family_options(const struct rocks *e, enum engine_family f, bool file)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = table_options(e, f);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
    rocksdb_options_set_write_buffer_size(o, WRITE_BUFFER);
    rocksdb_options_set_arena_block_size(o, 4096);
    rocksdb_options_set_max_write_buffer_number(o, 2);
    rocksdb_options_set_target_file_size_base(o, FILE_BYTES);
    rocksdb_options_set_max_bytes_for_level_base(o, LEVEL_BYTES);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 0);
    rocksdb_options_set_level0_file_num_compaction_trigger(o, rocks__files_to_merge(e, f));
    if (rocks__tiered(e))
        tier_options(o, f);
    /* Drains wait by themselves (wait_for_merges); RocksDB would hold up our empty writes instead. */
    rocksdb_options_set_level0_slowdown_writes_trigger(o, NEVER);
    rocksdb_options_set_level0_stop_writes_trigger(o, NEVER);
    rocksdb_options_set_soft_pending_compaction_bytes_limit(o, 0);
    rocksdb_options_set_hard_pending_compaction_bytes_limit(o, 0);
    rocksdb_options_set_compression(o, f == ENGINE_LIVE ? rocksdb_lz4_compression
                                                        : rocksdb_zstd_compression);
    /* Files are made while writers may wait for the drain; merging has the time to do better. */
    rocksdb_options_set_compression_options(o, -14, file ? 1 : ZSTD_LEVEL, 0, 0);
    if (f == ENGINE_PAST)
        rocksdb_options_set_prefix_extractor(
            o, rocksdb_slicetransform_create(NULL, no_state, past_transform, past_in_domain,
                                             past_in_range, past_name));
    return o;
}

void rocks__options_make(struct rocks *e)
{
    /* A shard must hold the largest block with room to spare, or that block is read anew each time.
     */
    int shard_bits = 0;
    while (shard_bits < 6 && e->options.cache_bytes >> (shard_bits + 1) >= CACHE_SHARD)
        shard_bits++;
    rocksdb_lru_cache_options_t *cache = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(cache, e->options.cache_bytes);
    rocksdb_lru_cache_options_set_num_shard_bits(cache, shard_bits);
    e->cache = rocksdb_cache_create_lru_opts(cache);
    rocksdb_lru_cache_options_destroy(cache);
    e->env_options = rocksdb_envoptions_create();
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        e->cf_options[f] = family_options(e, (enum engine_family)f, false);
        e->file_options[f] = family_options(e, (enum engine_family)f, true);
    }
    rocksdb_options_t *o = e->db_options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(o, !e->options.read_only);
    rocksdb_options_set_create_missing_column_families(o, !e->options.read_only);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_max_open_files(o, e->options.max_open_files);
    rocksdb_options_set_max_file_opening_threads(o, 1);
    rocksdb_options_set_max_background_jobs(o, (int)e->options.background_threads + 1);
    rocksdb_options_set_max_manifest_file_size(o, 4 << 20);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    /* Its LOG gets nothing but what RocksDB writes while opening: in Debian's build, with assertions,
     * the next line after one that the disk refused would abort the process. */
    rocksdb_options_set_info_log_level(o, LOG_LEVEL_FATAL);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_max_log_file_size(o, 1 << 20);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_table_cache_numshardbits(o, 2);
    rocksdb_options_set_bytes_per_sync(o, 1 << 20);
    rocksdb_options_compaction_readahead_size(o, BULK_READAHEAD);
    /* Drains look rows up in order: the system's readahead then makes one read of many. A lone get
     * is still read alone. */
    rocksdb_options_set_advise_random_on_open(o, 0);
}

void rocks__options_free(struct rocks *e)
{
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        if (e->cf_options[f])
            rocksdb_options_destroy(e->cf_options[f]);
        if (e->file_options[f])
            rocksdb_options_destroy(e->file_options[f]);
    }
    if (e->db_options)
        rocksdb_options_destroy(e->db_options);
    if (e->env_options)
        rocksdb_envoptions_destroy(e->env_options);
    if (e->cache)
        rocksdb_cache_destroy(e->cache);
}

rocksdb_readoptions_t *rocks__read_options(const struct engine_snapshot *s, enum rocks_read use)
{
    rocksdb_readoptions_t *r = rocksdb_readoptions_create();
    if (s->at)
        rocksdb_readoptions_set_snapshot(r, s->at);
    /* We write none. And with them on, an iterator of this RocksDB that steps into a next file
     * whose first block cannot be read ends without an error (measured on 7.8.3; the sentinel it
     * puts at file ends swallows the status). */
    rocksdb_readoptions_set_ignore_range_deletions(r, 1);
    bool one = use == ROCKS_READ_ONE || use == ROCKS_READ_ONE_CACHE;
    if (one)
        rocksdb_readoptions_set_prefix_same_as_start(r, 1);
    else
        rocksdb_readoptions_set_total_order_seek(r, 1);
    if (use == ROCKS_READ_CACHE || use == ROCKS_READ_ONE_CACHE)
        rocksdb_readoptions_set_read_tier(r, 1);
    if (use == ROCKS_READ_BULK || use == ROCKS_READ_MANY)
        rocksdb_readoptions_set_fill_cache(r, 0);
    if (use == ROCKS_READ_BULK)
        rocksdb_readoptions_set_readahead_size(r, BULK_READAHEAD);
    return r;
}
