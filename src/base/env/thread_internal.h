/* thread_internal.h - what a thread that is started takes along (behind.c), and who has how much
 * of the processors (cpus.c). */
#ifndef VARVE_BASE_ENV_THREAD_INTERNAL_H
#define VARVE_BASE_ENV_THREAD_INTERNAL_H

struct thread_family;
struct thread_family *thread__family(void); /* the calling thread's; NULL: none */
/* The calling thread belongs to it from now on; takes NULL. It lives as long as the thread. */
void thread__join_family(struct thread_family *f);
/* Before it ends. */
void thread__leave_family(void);

/* Processors that the control groups in `groups` (/proc/self/cgroup) allow, mounted at `mount`; UINT_MAX:
 * no limit. */
unsigned thread__cpu_limit(const char *groups, const char *mount);

#endif
