/* members.h - an admin that changes who belongs to the cluster while everything else goes on, and what
 * is known from outside of who does (plan.every_ms[FAULT_MEMBERS]; else all nodes vote for good).
 *
 * The atlas asks here: whatever configuration may be in force now, or may come to be (one that was
 * asked for and whose outcome is not known), a majority of its voters keeps sound disks.
 *
 * Owns:     the admin's calls, and what was committed. Promises: the same seed, the same bytes.
 * Never:    looks into a node but for its Raft, and that from outside. Threads: one.
 */
#ifndef VARVE_SIM_CLUSTER_MEMBERS_H
#define VARVE_SIM_CLUSTER_MEMBERS_H

#include "sim/cluster/run.h"

void members_start(struct run *r); /* after the nemesis */
void members_free(struct run *r);
void members_node_died(struct run *r, const struct node *n);
bool members_at(const struct run *r, const struct node *n); /* in a call there; NULL: anywhere */
/* A configuration was applied, by whom it was: so it is committed. */
void members_applied(struct run *r, const struct raft_entry *e);
/* The configuration in force does not have it, as far as is known: it is told nothing. */
bool members_out(const struct node *n);
/* A bit for each replica that a node's disks ever had; this is the present one's. */
uint64_t members_slot(const struct node *n);
/* Whether every configuration that may be in force has a majority of voters without those of `mask`,
 * and without those whose disks are gone. */
bool members_spare(const struct run *r, uint64_t mask);
/* Whether a node follows the configuration that is committed where it has got to. */
void members_check(const struct node *n);
/* In health: everybody who is not lost is brought back in. false: it could not be, run_fail was told. */
bool members_settle(struct run *r);

#endif
