/* planted.h - bugs that one test build has on purpose, to prove that the simulator would find them.
 *
 * Owns:     in that build, the number of the one bug that this process has. Promises: without the
 * CMake option VARVE_PLANTED_BUGS a PLANTED(...) is the constant false, and nothing of this is in
 * the program (tests/integration/house holds the binaries to that). Never: more than one bug at a
 * time. Threads:  chosen before main, by the environment variable VARVE_PLANTED_BUG; read by any.
 *
 * Two that had been here are no bugs, and were replaced. That half of the copies commit in a group of
 * even size (HALF_IS_MAJORITY) breaks nothing as long as elections need more than half: any half
 * meets any majority (Howard, Malkhi, Spiegelman, OPODIS '16), and reads are confirmed alike. That a
 * change of members waits for an entry of the leader's term (CHANGE_BEFORE_TERM_COMMIT) is needed
 * where changes are by one server at a time; here the voters before a change take part in deciding
 * it, whoever proposes it. LEADER_COUNTS_UNSYNCED makes no difference in a store, whose rounds end
 * with the sync before any answer is heard: it shows in the seeds of Raft alone (sim/raft), where answers
 * are heard meanwhile.
 *
 * They were planted without regard to what the simulator looks for. tools/hunt-planted runs the
 * default swarm of varve-sim against each. docs/testing.md says how to add one.
 */
#ifndef VARVE_BASE_PLANTED_H
#define VARVE_BASE_PLANTED_H

#include <stdbool.h>

#ifdef VARVE_PLANTED_BUGS

/* X(name, what is wrong): tools/hunt-planted reads these lines. */
#define PLANTED_BUGS(X)                                                                            \
    X(VOTE_NOT_PERSISTED, "the vote is missing from the durable hard state")                       \
    X(HARD_STATE_WITH_ENTRIES_ONLY, "term and vote are logged only along with entries")            \
    X(VOTE_BEFORE_SYNC, "a vote leaves before it is durable")                                      \
    X(VOTES_TWICE, "one vote is given to everybody who asks in a term")                            \
    X(LOG_NOT_JUDGED, "a vote is given whatever the candidate's log holds")                        \
    X(LOG_JUDGED_BY_LENGTH, "a candidate's log is judged by its length and not its terms")         \
    X(HALF_ELECTS, "half of the votes are enough to lead")                                         \
    X(HIGHER_TERM_IGNORED, "a leader does not step down when answers have a higher term")          \
    X(OLD_TERM_BY_COUNTING, "an entry of an earlier term is committed by counting copies")         \
    X(HALF_COMMITS, "half of the copies, rounded down, are enough to commit")                      \
    X(ACK_BEFORE_SYNC, "a follower acknowledges entries before they are durable")                  \
    X(LEADER_COUNTS_UNSYNCED, "the leader counts its own copy before it is durable")               \
    X(SYNC_SKIPPED, "the log is not synced and said to be")                                        \
    X(COMMIT_UNVERIFIED, "a follower believes a commit index beyond what it compared")             \
    X(STALE_APPEND_TRUNCATES, "an append that comes late cuts off what came after it")             \
    X(READ_WITHOUT_QUORUM, "a ReadIndex round counts before anybody answered")                     \
    X(READ_SHARES_OLD_ROUND, "a read joins the round that began before it came")                   \
    X(READ_ID_REUSED, "a follower asks under a number that it used before")                        \
    X(READ_BEFORE_TERM_COMMIT, "a new leader answers reads before it knows what is committed")     \
    X(READ_AFTER_PAUSE, "a leader that heard a quorum lately answers reads by itself")             \
    X(READ_BEFORE_APPLIED, "a read is answered before its index is applied")                       \
    X(LEADER_SKIPS_BARRIER, "who thinks that it leads reads without asking anybody")               \
    X(ANSWER_BEFORE_COMMIT, "a leader answers a write when it is proposed")                        \
    X(LEADS_BEFORE_APPLIED, "a new leader checks requirements before all is applied")              \
    X(LATCHES_FORGOTTEN, "requirements do not wait for entries that are under way")                \
    X(FORWARDED_UNCHECKED, "requirements of writes from other nodes are not checked")              \
    X(FORWARD_TAKEN_TWICE, "a forwarded write that is delivered twice is done twice")              \
    X(UNKNOWN_TRIED_AGAIN, "a write whose leader was lost is sent to the next one too")            \
    X(CLOCK_NOT_CARRIED_OVER, "a new leader's clock does not heed the versions in its log")        \
    X(MARK_ONE_AHEAD, "the engine's mark claims one entry more than was drained")                  \
    X(MARK_ONE_BEHIND, "the engine's mark claims one entry less than was drained")                 \
    X(LOG_GIVEN_UP_EARLY, "the log gives up what is applied and not drained yet")                  \
    X(FROZEN_BEFORE_ACTIVE, "reads look into the frozen table before the active one")              \
    X(CACHE_KEEPS_DELETED, "a delete leaves the cached value")                                     \
    X(WATCH_LOSES_REST_OF_BATCH, "changes resumed inside a batch go on behind it")                 \
    X(ROT_ACCEPTED, "a record of the log whose payload does not match its sum is taken")           \
    X(ROT_TAKEN_FOR_TAIL, "rot in the middle of the log is cut off as if it were a tail")          \
    X(CODEC_LOSES_REJECT, "a refused append arrives as an acknowledged one")                       \
    X(LEARNER_COUNTED, "a learner's copy counts for a commit")                                     \
    X(JOINT_LEFT_EARLY, "a joint configuration is decided by the new voters alone")                \
    X(CHANGE_WHILE_CHANGING, "a change starts while the last one is not committed")                \
    X(MEMBERS_FORGOTTEN, "a drain does not keep who belongs to the cluster")                       \
    X(SNAPSHOT_OVER_NEWER, "a snapshot is installed over what is applied already")                 \
    X(COMPACTED_ONE_TOO_FAR, "compaction forgets the term of the entry that it ends with")         \
    X(TRANSFER_TO_LAGGING, "leadership is handed to a voter that lacks some of the log")           \
    X(QUOTA_LEAKS, "the last entry of a commit never gives its quota back")                        \
    X(WIPED_DISK_WITH_OLD_ID, "who runs the nodes gives an empty disk to an old number")

enum planted {
    PLANTED_NONE,
#define X(name, what) PLANTED_##name,
    PLANTED_BUGS(X)
#undef X
};
extern enum planted planted_bug;

#define PLANTED(name) ((bool)__builtin_expect(planted_bug == PLANTED_##name, 0))

#else
#define PLANTED(name) false
#endif

#endif
