/* sim_internal.h - the simulated disk inside.
 *
 * Content. A file is an image: pages of 4 KiB, shared copy-on-write, NULL for zeros, so that
 * zero-filled segments and durable copies cost next to nothing. `now` is what reads see. `durable`
 * is what the last sync left. `ops` are the writes and truncations since, in order; now = durable +
 * all of ops. An op that a failed sync covered is doomed: no later sync makes it durable. Ops
 * synced after a doomed one must survive, and stay in the list behind it, since their order counts
 * when a crash lets the doomed one through.
 *
 * Names. Each folder has entries `now` and `durable`; the disk has one ordered list of name changes
 * not yet synced. A change is one step even when it touches two folders (a rename). doomed and must
 * are as above. A file has one name: putting it somewhere takes it away from where it was.
 *
 * Inodes that nothing names, holds open or may bring back are swept now and then.
 *
 * The simulator's own memory does not come from base/alloc.h: a test that makes allocations fail
 * means the product's. Only a handle does, as in the real env.
 */
#ifndef VARVE_SIM_ENV_INTERNAL_H
#define VARVE_SIM_ENV_INTERNAL_H

#include "base/list.h"
#include "sim/env/sim_env.h"

enum { SIM_PAGE = 4096, SIM_NAME_MAX = 255 };
#define SIM_FILE_MAX ((uint64_t)64 << 30)

struct sim_page {
    uint32_t refs;
    uint8_t data[SIM_PAGE];
};

struct sim_image {
    struct sim_page *
        *pages; /* cap of them; beyond the size all NULL, and the last page's rest is zeros */
    size_t cap;
    uint64_t size;
};

struct sim_op {
    struct list link;
    bool truncate; /* to `off`; else a write of [off, off + len) */
    bool doomed, must;
    uint64_t off, len;
    struct sim_page **pages; /* a long write: the pages it touched, as they were after it */
    uint8_t *bytes;          /* a short one */
};

struct sim_entry {
    char *name;
    struct sim_inode *inode;
};

struct sim_entries {
    struct sim_entry *at; /* by name */
    size_t len, cap;
};

struct sim_inode {
    struct list link; /* of all inodes, in order of birth */
    bool folder, marked;
    struct sim_image now, durable, older; /* older: keeps_older; pages before their last sync */
    struct list ops;
    bool truncated;              /* since the last sync */
    size_t dirty_from, dirty_to; /* pages written since the last sync */
    struct sim_handle *lock;
    unsigned opens;
    bool named; /* now */
    uint8_t *flat;
    bool flat_valid;
    struct sim_entries entries, durable_entries; /* of a folder */
    struct sim_inode *durable_parent;            /* where its durable name is, if it has one */
};

/* A change of names: `child` leaves from_name (if any) and gets to_name (if any). */
struct sim_name_op {
    struct list link;
    struct sim_inode *child, *from, *to;
    char *from_name, *to_name;
    bool doomed, must, touched, survives;
};

struct sim_rng {
    uint64_t state;
};

struct sim_handle {
    struct env_file file;
    struct sim *sim;
    struct sim_inode *inode; /* NULL after a crash */
    struct list link;
    unsigned flags;
    char path[];
};

struct sim {
    struct env env;
    struct sim_options options;
    struct sim_faults faults;
    struct sim_rng env_rng, fault_rng,
        crash_rng; /* apart, so that faults do not change what random() gives */
    uint64_t mono_ns, wall_offset_ms;
    uint64_t ops, ops_at_faults;
    struct list inodes, handles, name_ops;
    struct sim_inode *root;
    unsigned open_files, unnamed; /* inodes that lost their name since the last sweep */
    uint64_t used_bytes;
    char lie_dir[SIM_NAME_MAX]; /* where a write was misdirected last */
    uint64_t lies, syncs_since_lie;
    uint8_t *gather; /* scratch for writes of several parts */
    size_t gather_cap;
};

static inline struct sim *sim_of(struct env *e)
{
    return (struct sim *)(void *)e;
}

void *sim__alloc(size_t size); /* zeroed; the test machine itself out of memory is not simulated */
void *sim__grow(void *p, size_t *cap, size_t want, size_t elem);
uint64_t sim__next(struct sim_rng *r);
uint64_t sim__below(struct sim_rng *r, uint64_t n);

/* sim_image.c */
bool sim__is_zero(const uint8_t *p, size_t len);
void sim__image_deinit(struct sim_image *img);
void sim__image_copy(struct sim_image *to, const struct sim_image *from);
void sim__image_write(struct sim_image *img, uint64_t off, const uint8_t *data, size_t len);
void sim__image_truncate(struct sim_image *img, uint64_t size);
size_t sim__image_read(const struct sim_image *img, uint64_t off, uint8_t *out, size_t len);
void sim__image_flip(struct sim_image *img, uint64_t off, unsigned bit);
uint64_t sim__image_hash(const struct sim_image *img, uint64_t seed);
/* A file's write, remembered as not synced; of its sync, good or bad; of the machine's death. */
void sim__file_write(struct sim_inode *f, uint64_t off, const uint8_t *data, size_t len);
void sim__file_truncate(struct sim_inode *f, uint64_t size);
void sim__file_sync(struct sim_inode *f, bool keeps_older);
void sim__file_sync_failed(struct sim_inode *f);
void sim__file_crash(struct sim_inode *f, struct sim_rng *rng, uint32_t torn_bytes);
void sim__file_flip(struct sim_inode *f, uint64_t off, unsigned bit);
/* The content that no crash can take: durable, and what was synced behind something doomed. */
void sim__file_surely(const struct sim_inode *f, struct sim_image *ret);
uint64_t sim__file_hash(const struct sim_inode *f, uint64_t seed);
void sim__file_deinit(struct sim_inode *f);

/* sim_names.c */
struct sim_place {
    struct sim_inode *parent; /* NULL for the root itself */
    struct sim_inode *inode;  /* NULL when absent */
    char name[SIM_NAME_MAX + 1];
};
struct sim_inode *sim__inode_new(struct sim *s, bool folder);
enum status sim__find(struct sim *s, const char *path, struct sim_place *ret, struct err *err);
void sim__name_add(struct sim *s, const struct sim_place *at, struct sim_inode *child);
void sim__name_remove(struct sim *s, const struct sim_place *at);
void sim__name_move(struct sim *s, const struct sim_place *from, const struct sim_place *to);
void sim__names_sync(struct sim *s, struct sim_inode *folder);
void sim__names_sync_failed(struct sim *s, struct sim_inode *folder);
void sim__names_crash(struct sim *s);
uint64_t sim__names_hash(struct sim *s);
void sim__sweep(struct sim *s);
void sim__disk_free(struct sim *s);

static inline uint64_t sim__space_of(const struct sim_inode *f)
{
    return (f->now.size + SIM_PAGE - 1) / SIM_PAGE * SIM_PAGE;
}

#endif
