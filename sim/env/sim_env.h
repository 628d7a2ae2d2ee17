/* sim_env.h - a world made of one seed: virtual time, and a disk that fails as real ones do.
 *
 * The disk keeps, for each file, the durable content and the writes since the last sync of that
 * file, and for each folder the durable names and the renames, creations and removals since its
 * last sync_dir.
 *
 * Owns:     every simulated file. Promises: the same seed and calls give the same bytes, faults and
 * times. Never:    sleeps; touches the real disk, clock or random source. Threads: one.
 */
#ifndef VARVE_SIM_ENV_H
#define VARVE_SIM_ENV_H

#include "base/env/env.h"

struct sim_options {
    uint64_t seed;
    uint64_t disk_bytes;     /* capacity, 0 = unlimited; past it writes answer DISK_FULL */
    uint64_t start_ms;       /* wall clock at the start; 0 = 2026-01-01T00:00:00Z */
    uint32_t op_ns;          /* virtual time an operation takes; 0 = 1000 */
    unsigned max_open_files; /* 0 = unlimited; past it open answers TOO_MANY_FILES */
    bool keeps_older;        /* stale reads show pages as they were before their last sync */
};

struct env *sim_env_new(const struct sim_options *o);
void sim_env_free(struct env *e);
/* Another world with what is durable now, and nothing else: what a power cut would surely leave. The
 * first one goes on as if nobody had looked. sim_env_free it. */
struct env *sim_env_durable(struct env *e);

/* What the disk may do wrong from now on; all 0 = nothing. Chances are in parts per million per
 * operation. */
struct sim_faults {
    uint32_t write_eio_ppm, read_eio_ppm, sync_eio_ppm;
    uint32_t write_enospc_ppm;
    bool partial_on_error;   /* a failed write may leave any prefix of itself */
    uint64_t fail_after_ops; /* when nonzero: the nth disk operation from now and all later ones
                                answer IO_ERROR */
    /* Disks that lie, which checksums must find: a read shows one of its pages as the last sync (or
     * with keeps_older the one before) left it; a write lands on another page of the same file. */
    uint32_t stale_read_ppm, misdirect_ppm;
    uint64_t sync_ns; /* what a sync takes, over op_ns */
    uint32_t slow_ppm;
    uint64_t slow_ns; /* an operation takes up to so much more */
};
void sim_set_faults(struct env *e, const struct sim_faults *f);
void sim_set_disk_bytes(struct env *e, uint64_t bytes);
void sim_advance_ms(struct env *e, uint64_t ms);
void sim_set_wall_ms(struct env *e,
                     uint64_t ms); /* jumps the wall clock; the monotonic one goes on */
/* The monotonic clock goes on to `ns`; nothing when it is further already. */
void sim_advance_to_ns(struct env *e, uint64_t ns);
uint64_t sim_ops(struct env *e); /* disk operations so far */
/* How often files of the folder in which a write was last misdirected were synced since, well;
 * UINT64_MAX: none was. While that is little nothing on the disk can tell the lie. */
uint64_t sim_syncs_since_lie(struct env *e);

/* The machine dies: all files are closed (open handles answer CLOSED, locks are gone), and what was
 * not synced is kept, lost or torn. `torn_bytes` is the atomic unit (512 or 4096): of each
 * un-synced write any subset of its units survives, of un-synced names any subset in order. A
 * failed sync leaves its writes un-synced for ever (they may be lost even after a later good sync).
 * After process_only every write survives (kill -9). */
enum sim_crash { SIM_CRASH_POWER, SIM_CRASH_PROCESS_ONLY };
void sim_crash(struct env *e, enum sim_crash how, uint32_t torn_bytes);
/* After a crash: the memory of handles that nobody will close is about to be gone. */
void sim_forget_handles(struct env *e);

/* Flips one bit of the durable content and of what reads see. false when the file has no such byte.
 */
bool sim_flip_bit(struct env *e, const char *path, uint64_t offset, unsigned bit);
/* The content as reads see it, borrowed until the next change; for assertions. */
bool sim_file(struct env *e, const char *path, struct bytes *ret);
/* A hash over all durable content and names: two runs of one seed must agree. */
uint64_t sim_digest(struct env *e);

#endif
